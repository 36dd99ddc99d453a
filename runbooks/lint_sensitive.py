"""Where sensitive inputs and stored secrets may stand: in the parameters of checks, actions and other runbooks only."""

from __future__ import annotations

from collections.abc import Iterator

from catalog.team_secrets import NAME
from common import expressions
from common.expressions import ExpressionError
from common.yaml import Document, Finding, Path
from runbooks.fields import RUN_NAMES, Authored, Input, secrets_in
from runbooks.spec import RunbookSpec
from runbooks.steps import ActionStep, ManualStep, RunbookStep, Step

# A text that reads a sensitive input is rendered once more right before the call, so it may read nothing else that
# could have changed by then.
_UNCHANGING = ("inputs", "item")


def sensitive_findings(document: Document, spec: RunbookSpec, steps: list[tuple[Path, Step]]) -> list[Finding]:
    """RB015 for sensitive inputs that could be read somewhere; RB042 and RB056 for secrets that cannot be used."""
    return [
        Finding(document.file, *document.position(path), code, "error", message, fix)
        for path, code, message, fix in _Sensitive(spec).faults(steps)
    ]


Fault = tuple[Path, str, str, str]


class _Sensitive:
    def __init__(self, spec: RunbookSpec) -> None:
        self.spec = spec
        self.names = {name for name, declared in spec.inputs.items() if declared.sensitive}

    def faults(self, steps: list[tuple[Path, Step]]) -> Iterator[Fault]:
        for name in sorted(self.names):
            yield from self._declared(("inputs", name), self.spec.inputs[name])
        if self.spec.concurrency is not None:
            yield from self._shown(("concurrency", "key"), Authored((), self.spec.concurrency.key, is_text=True))
        for name, source in self.spec.outputs.items():
            yield from self._shown(("outputs", name), Authored((), source, is_text=False))
        for path, step in steps:
            yield from self._step(path, step)

    def _declared(self, path: Path, declared: Input) -> Iterator[Fault]:
        if declared.type != "string":
            message = f"A sensitive {declared.type} cannot be hidden in what is shown."
            yield (*path, "type"), "RB015", message, "Write `type: string`."
        for field, value in (("default", declared.default), ("enum", declared.enum)):
            if value is not None:
                message = f"A sensitive value in `{field}` could be read by all who read the runbook."
                yield (*path, field), "RB015", message, "Keep it as a secret of the team: `{secret: name}`."
        if declared.from_ is not None:
            message = "What an alert says is kept and shown, so it cannot be sensitive."
            yield (*path, "from"), "RB015", message, "Remove `from` or `sensitive`."

    def _step(self, path: Path, step: Step) -> Iterator[Fault]:
        for part in step.authored():
            if "with" in part.path[:2]:
                yield from self._mixed((*path, *part.path), step, part)
            else:
                yield from self._shown((*path, *part.path), part, step.names_of(part))
        if isinstance(step, ManualStep):
            for name, declared in step.fields.items():
                if declared.sensitive:
                    message = "An answer is kept as evidence, so it cannot be sensitive."
                    at = (*path, "fields", name, "sensitive")
                    yield at, "RB015", message, "Ask for it as an input of the runbook."
        yield from self._secrets(path, step)

    def _secrets(self, path: Path, step: Step) -> Iterator[Fault]:
        undo = step.undo if isinstance(step, ActionStep) else None
        found = [*secrets_in(getattr(step, "with_", {}), (*path, "with"))]
        found += secrets_in(undo.with_, (*path, "undo", "with")) if undo is not None else []
        for at, secret in found:
            if not isinstance(secret, str) or not NAME.fullmatch(secret):
                yield at, "RB042", "`secret` names a stored secret.", "Small letters, digits, `-` and `_` only."
            elif isinstance(step, RunbookStep):
                message = "A secret is given to a check or action only, not to another runbook."
                yield at, "RB056", message, "Name the secret in the other runbook."

    def _shown(self, path: Path, part: Authored, names: frozenset[str] = RUN_NAMES) -> Iterator[Fault]:
        """Whatever this gives is shown, kept or decides something that is."""
        for used in self._used(part, names):
            if self._is_sensitive(used):
                where = str(path[-1])
                message = f"`inputs.{used[1]}` is sensitive and cannot be used in `{where}`."
                yield path, "RB015", message, "It can be used in `with`; decide by something that may be shown."

    def _mixed(self, path: Path, step: Step, part: Authored) -> Iterator[Fault]:
        used = self._used(part, step.names_of(part))
        sensitive = next((name for name in used if self._is_sensitive(name)), None)
        other = next((name for name in used if name[0] not in _UNCHANGING), None)
        if sensitive is not None and other is not None:
            message = f"`inputs.{sensitive[1]}` is sensitive and stands beside `{other[0]}`, which can change."
            yield path, "RB015", message, "Use inputs and `item` only in a text that holds it."

    def _used(self, part: Authored, names: frozenset[str]) -> list[tuple[str, ...]]:
        if not self.names:
            return []
        try:
            if part.is_text:
                return expressions.compile_text(part.source, names).names_used
            return expressions.compile(part.source, names=names).names_used
        except ExpressionError:
            # Told where expressions are checked.
            return []

    def _is_sensitive(self, name: tuple[str, ...]) -> bool:
        return name[0] == "inputs" and len(name) > 1 and name[1] in self.names
