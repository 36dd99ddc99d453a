"""What is wrong with a step as its check or action sees it: parameters, verdicts, risk, approval, way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from common import expressions
from common.expressions import ExpressionError
from common.yaml import Document, Finding, Path, Severity, nearest
from runbooks.actions.base import Action
from runbooks.checks.base import Check
from runbooks.fields import Input, holds_secret, is_secret, texts_in
from runbooks.steps import HARMLESS, RISKS, UNDOABLE, ActionStep, CheckStep, Step

Checks = Mapping[str, Check[Any]]
Actions = Mapping[str, Action[Any]]
# Names in expressions whose values nobody outside chose.
_SAFE_NAMES = ("now",)
_SAFE_PATHS = {
    ("service", "slug"),
    ("service", "tier"),
    ("incident", "key"),
    ("incident", "started_at"),
    ("incident", "onset"),
    ("run", "id"),
    ("run", "started_at"),
}


def provider_findings(
    document: Document, path: Path, step: Step, *, inputs: Mapping[str, Input], checks: Checks, actions: Actions
) -> list[Finding]:
    """Findings about the check or action that a step calls; none for other kinds."""
    if isinstance(step, CheckStep):
        return list(_Provider(document, path, inputs, step.names()).check(step, checks, actions))
    if isinstance(step, ActionStep):
        return list(_Provider(document, path, inputs, step.names()).action(step, checks, actions))
    return []


def verification_findings(document: Document, steps: list[tuple[Path, Step]], *, actions: Actions) -> list[Finding]:
    """RB060: something of medium or high risk is changed, but no step verifies that it helped."""
    phases = document.data.get("phases") if isinstance(document.data, dict) else None
    if isinstance(phases, dict) and phases.get("verify"):
        return []
    for path, step in steps:
        if not isinstance(step, ActionStep) or path[:2] != ("phases", "remediate"):
            continue
        risk = step.effective_risk(actions[step.action].risk) if step.action in actions else step.risk
        if risk in RISKS[1:]:
            line, column = document.position((*path, "action"))
            message = f"`{step.id}` changes something of {risk} risk, but phase verify has no step."
            return [Finding(document.file, line, column, "RB060", "warning", message, "Add a check that it helped.")]
    return []


class _Provider:
    def __init__(self, document: Document, path: Path, inputs: Mapping[str, Input], names: frozenset[str]) -> None:
        self.document, self.path, self.inputs, self.names = document, path, inputs, names

    def _at(
        self,
        field: tuple[str | int, ...],
        code: str,
        message: str,
        fix: str,
        severity: Severity = "error",
        *,
        at_key: bool = False,
    ) -> Finding:
        path = (*self.path, *field)
        line, column = self.document.key_position(path) if at_key else self.document.position(path)
        return Finding(self.document.file, line, column, code, severity, message, fix)

    def check(self, step: CheckStep, checks: Checks, actions: Actions) -> Iterator[Finding]:
        provider = checks.get(step.check)
        if provider is None:
            if step.check in actions:
                message, fix = f"`{step.check}` changes things; a check only reads.", f"Write `action: {step.check}`."
            else:
                message, fix = f"There is no check `{step.check}`.", nearest(step.check, list(checks))
            yield self._at(("check",), "RB040", message, fix)
            return
        if step.pass_if is None and step.fail_if is None and not provider.gives_verdict:
            message = f"`{step.check}` measures, but does not judge."
            yield self._at(("check",), "RB043", message, "Add `pass_if` or `fail_if`, e.g. `fail_if: value > 0.05`.")
        if step.min_samples is not None and not provider.gives_samples:
            message = f"`{step.check}` reports no number of samples."
            yield self._at(("min_samples",), "RB044", message, "Remove `min_samples`.")
        if step.max_age is not None and not provider.gives_age:
            message = f"`{step.check}` reports no time of observation."
            yield self._at(("max_age",), "RB044", message, "Remove `max_age`.")
        yield from self._params(("with",), step.with_, provider, at_provider="check")

    def action(self, step: ActionStep, checks: Checks, actions: Actions) -> Iterator[Finding]:
        provider = actions.get(step.action)
        if provider is None:
            if step.action in checks:
                message, fix = f"`{step.action}` is a check and changes nothing.", f"Write `check: {step.action}`."
            else:
                message, fix = f"There is no action `{step.action}`.", nearest(step.action, list(actions))
            yield self._at(("action",), "RB045", message, fix)
            return
        harmless = provider.effect_class in HARMLESS
        if self.path[0] == "finally" and not harmless:
            message = f"`{step.action}` changes the world (class {provider.effect_class})."
            yield self._at(("action",), "RB032", message, "`finally` only tells people; move it to remediate.")
        elif self.path[:2] != ("phases", "remediate") and self.path[0] != "finally" and not harmless:
            message = f"`{step.action}` changes the world (class {provider.effect_class})."
            yield self._at(("action",), "RB045", message, "Move it to phase remediate.")
        if step.attempts is not None and step.attempts > 1 and provider.effect_class in ("probe", "once"):
            message = f"`{step.action}` must not be sent twice (class {provider.effect_class})."
            yield self._at(("attempts",), "RB038", message, "Write `attempts: 1`.")
        yield from self._risk(step, provider)
        yield from self._way_back(step, provider, actions)
        yield from self._params(("with",), step.with_, provider, at_provider="action")

    def _risk(self, step: ActionStep, provider: Action[Any]) -> Iterator[Finding]:
        if step.risk is not None and RISKS.index(step.risk) < RISKS.index(provider.risk):
            message = f"`{step.action}` is at least of {provider.risk} risk."
            yield self._at(("risk",), "RB046", message, f"Write `risk: {provider.risk}`, or leave it out.")
        risk = step.effective_risk(provider.risk)
        if risk == "high" and step.approval is None:
            message = f"`{step.id}` is of high risk and asks nobody."
            yield self._at(("action",), "RB047", message, "Add `approval: {from: [role:oncall]}`.")
        if risk in RISKS[1:] and step.lock is None and provider.effect_class not in HARMLESS:
            message = f"`{step.id}` is of {risk} risk and holds no lock, so two runs may act at once."
            fix = 'Add `lock: "service:{{ inputs.service }}"`.'
            yield self._at(("action",), "RB050", message, fix, "warning")

    def _way_back(self, step: ActionStep, provider: Action[Any], actions: Actions) -> Iterator[Finding]:
        if step.undo is None:
            if step.irreversible is None and provider.effect_class not in HARMLESS:
                message = f"`{step.id}` changes something and names no way back."
                fix = "Add `undo`, or `irreversible:` with the reason why there is none."
                yield self._at(("action",), "RB059", message, fix, "warning")
            return
        undo = actions.get(step.undo.action)
        at = ("undo", "action")
        if undo is None:
            message = f"There is no action `{step.undo.action}`."
            yield self._at(at, "RB051", message, nearest(step.undo.action, list(actions)))
            return
        if step.undo.auto and undo.effect_class not in UNDOABLE:
            message = (
                f"`{step.undo.action}` is of class {undo.effect_class}; only set and keyed are undone without asking."
            )
            yield self._at(at, "RB051", message, "Write `auto: false`.")
        yield from self._params(("undo", "with"), step.undo.with_, undo, at_provider="undo")

    # Parameters.

    def _params(
        self, field: tuple[str, ...], given: dict[str, Any], provider: Check[Any] | Action[Any], *, at_provider: str
    ) -> Iterator[Finding]:
        """RB042 for what the provider's own model refuses; what is only known at run time is taken as given."""
        model, name = provider.params, provider.name
        open_fields = {key for key, value in given.items() if _is_open(value)}
        try:
            model.model_validate(deepcopy(given))
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                where = fault["loc"]
                key = str(where[0]) if where else ""
                if fault["type"] == "extra_forbidden":
                    fix = nearest(key, list(model.model_fields))
                    yield self._at((*field, key), "RB042", f"`{name}` has no parameter `{key}`.", fix, at_key=True)
                elif fault["type"] == "missing":
                    place = field if given else (at_provider if at_provider != "undo" else "undo",)
                    message = f"`{name}` needs the parameter `{key}`."
                    yield self._at(place, "RB042", message, f"Add `{key}: …` under `with`.")
                elif key not in open_fields and (where or not open_fields):
                    message = f"`{name}`: {'`' + key + '`: ' if key else ''}{_plain(fault['msg'])}."
                    yield self._at((*field, *where), "RB042", message, _example(provider, key))
        for key, value in given.items():
            known = model.model_fields.get(key)
            extra = known.json_schema_extra if known is not None else None
            if isinstance(extra, dict) and extra.get("code"):
                yield from self._code((*field, key), value)

    def _code(self, field: tuple[str | int, ...], value: Any) -> Iterator[Finding]:
        """RB041 and RB056: only checked values become part of a query."""
        if holds_secret(value):
            message = "A secret would become part of a query, and so be shown."
            yield self._at(field, "RB056", message, "Put it into the connection.")
            return
        for path, source in texts_in(value, field):
            try:
                used = expressions.compile_text(source, self.names).names_used
            except ExpressionError:
                # Told where expressions are checked.
                continue
            for name in used:
                if name[0] == "inputs" and len(name) > 1 and self._is_sensitive(name[1]):
                    message = f"`inputs.{name[1]}` is sensitive and would become part of a query, and so be shown."
                    yield self._at(path, "RB056", message, "Put it into the connection.")
                elif not self._is_safe(name):
                    dotted = ".".join(name)
                    message = f"`{dotted}` is foreign text and would become part of a query."
                    fix = "Use an input with a `pattern` or `enum`, or a number."
                    yield self._at(path, "RB041", message, fix)

    def _is_sensitive(self, name: str) -> bool:
        return name in self.inputs and self.inputs[name].sensitive

    def _is_safe(self, name: tuple[str, ...]) -> bool:
        if name[0] == "inputs" and len(name) > 1:
            declared = self.inputs.get(name[1])
            # An unknown input has its own finding.
            return declared is None or declared.is_closed
        return name[0] in _SAFE_NAMES or name[:2] in _SAFE_PATHS


def _is_open(value: Any) -> bool:
    """Whether the value is only known at run time: it holds an expression or a secret."""
    return is_secret(value) or any("{{" in text for _, text in texts_in(value, ()))


def _example(provider: Check[Any] | Action[Any], key: str) -> str:
    """What to write instead: the parameter as the provider's own example has it, else where it is described."""
    if key in provider.example:
        return f"For example `{key}: {provider.example[key]}`."
    return f"The guide says what `{provider.name}` takes."


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:200].rstrip(".")
