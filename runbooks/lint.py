"""What is wrong with a runbook beyond its shape: references, expressions, limits across fields, and good advice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from common import expressions
from common.expressions import Expression, ExpressionError, Text
from common.yaml import Document, Finding, Path, Severity, nearest
from runbooks.fields import ALERT_PARTS, DAY, HOUR, MINUTE, PHASES, RUN_NAMES, Authored, Input, texts_in, written
from runbooks.inputs import pattern, read_value
from runbooks.lint_providers import Actions, Checks, provider_findings, verification_findings
from runbooks.lint_sensitive import sensitive_findings
from runbooks.spec import MAX_STEPS, RunbookSpec
from runbooks.steps import ActionStep, CheckStep, ManualStep, RunbookStep, Step, WaitStep

Place = tuple[Path, Step]
# What stands under the names of an expression; a name that is not here may hold anything.
PARTS_OF_STEP = {"verdict", "value", "result", "reason", "items"}
PARTS: dict[str, set[str]] = {
    "alert": set(ALERT_PARTS),
    "service": {"slug", "title", "tier"},
    "run": {"id", "started_at", "phase", "outcome"},
    "incident": {"key", "title", "severity", "started_at", "onset"},
    "diagnosis": {"top", "confidence", "ranked"},
    "sample": {"k", "n"},
}
LONGEST_WAIT, LONGEST_WATCH = 7 * DAY, 13 * DAY
LONGEST_APPROVAL, LONGEST_BACKOFF = 7 * DAY, HOUR
MOST_SAMPLES = 2_000
# A run must outlive its watches by this much, so that their verdict is still heard.
AFTER_WATCH = 10 * MINUTE
# What to do about an expression whose own error does not say it.
_WHAT_MAY_STAND = "The guide lists what may be written, under Expressions."
# Codes of expressions that have their own; the rest are RB057.
_FIELD_CODES = {"if": "RB035", "foreach": "RB036"}
# `inputs.name`, `inputs['name']`; nothing after it means that any of them may be used.
_INPUT_USED = re.compile(r"""\binputs\b(?:\.|\[\s*['"])?(\w*)""")


class Linter:
    """Goes through one parsed runbook and notes findings; knows every step id, also of steps that did not parse."""

    def __init__(
        self,
        spec: RunbookSpec,
        document: Document,
        *,
        checks: Checks,
        actions: Actions,
        principals: set[str] | None,
        providers: bool,
    ) -> None:
        self.spec, self.document = spec, document
        self.checks, self.actions, self.principals = checks, actions, principals
        self.providers = providers
        self.findings: list[Finding] = []
        self.all_steps = list(_raw_steps(document.data))
        self.all_ids = [step_id for _, _, step_id in self.all_steps]

    def note(
        self, path: Path, code: str, message: str, fix: str, *, severity: Severity = "error", at_key: bool = False
    ) -> None:
        """Add a finding at that path."""
        line, column = self.document.key_position(path) if at_key else self.document.position(path)
        self.findings.append(Finding(self.document.file, line, column, code, severity, message, fix))

    def run(self) -> list[Finding]:
        """Every finding."""
        self._top()
        self._inputs()
        self._hypotheses()
        self._ids()
        for path, step in places(self.spec):
            self._step(path, step)
        self._outputs()
        self._advice()
        self.findings += sensitive_findings(self.document, self.spec, places(self.spec))
        self.findings += verification_findings(self.document, places(self.spec), actions=self.actions)
        return self.findings

    # The top of the file.

    def _top(self) -> None:
        spec = self.spec
        stem, dot, ending = self.document.file.rpartition("/")[2].rpartition(".")
        if dot and ending in ("yaml", "yml") and stem != spec.id:
            self.note(
                ("id",), "RB002", f"The id is `{spec.id}`, but the file is `{stem}.{ending}`.", "Make them equal."
            )
        self._principal(("owner",), spec.owner)
        for index, trigger in enumerate(spec.triggers):
            path: Path = ("triggers", index, "alert")
            found = self._expression(path, trigger.alert, frozenset({"alert"}), code="RB010")
            if found is not None and not found.is_boolean:
                self.note(path, "RB010", "A trigger must be true or false.", "Compare: `alert.labels.kind == 'x'`.")
        if spec.concurrency is not None:
            self._text(("concurrency", "key"), spec.concurrency.key, frozenset({"inputs", "alert"}), code="RB016")
        longest = max(
            (step.watch.for_ for _, step in places(spec) if isinstance(step, CheckStep) and step.watch), default=0
        )
        if longest and spec.deadline < longest + AFTER_WATCH:
            message = "The deadline ends before the longest watch and ten minutes are over."
            self.note(("deadline",), "RB017", message, f"Write at least {written(longest + AFTER_WATCH)}.")
        if not self.all_ids:
            self.note(("phases",), "RB030", "There is no step in any phase.", "Add a check.", at_key=True)
        if len(self.all_ids) > MAX_STEPS:
            self.note(
                ("phases",), "RB079", f"There are more than {MAX_STEPS} steps.", "Split the runbook.", at_key=True
            )

    def _inputs(self) -> None:
        for name, definition in self.spec.inputs.items():
            self._input(("inputs", name), definition)
            if definition.from_ is not None:
                self._from(("inputs", name, "from"), definition.from_.split("."))

    def _from(self, path: Path, parts: list[str]) -> None:
        if parts[0] != "alert" or len(parts) < 2 or not all(parts):
            message = f"`from` reads the alert, so `{'.'.join(parts)}` leads nowhere."
            self.note(path, "RB015", message, "Start with `alert.`, e.g. alert.labels.service.")
        elif parts[1] not in ALERT_PARTS:
            message = f"An alert has no part `{parts[1]}`."
            self.note(path, "RB015", message, nearest(parts[1], list(ALERT_PARTS)))

    def _input(self, path: Path, definition: Input) -> None:
        if definition.pattern is not None:
            try:
                pattern(definition.pattern)
            except ValueError as error:
                self.note((*path, "pattern"), "RB013", f"The pattern is not RE2: {error}.", "RE2 knows no look-around.")
                return
            if definition.type != "string":
                message = f"A pattern fits text, not a {definition.type}."
                self.note((*path, "pattern"), "RB013", message, "Use `min` and `max`, or `type: string`.")
                return
        if definition.min is not None and definition.max is not None and definition.min > definition.max:
            self.note((*path, "min"), "RB014", "`min` is more than `max`.", "Swap them.")
        elif definition.type in ("boolean", "datetime") and (definition.min, definition.max) != (None, None):
            at = "max" if definition.min is None else "min"
            self.note((*path, at), "RB014", f"A {definition.type} has no `min` or `max`.", "Remove it.")
        for index, value in enumerate(definition.enum or []):
            self._value((*path, "enum", index), definition.model_copy(update={"enum": None}), value)
        if definition.default is not None:
            self._value((*path, "default"), definition, definition.default)

    def _value(self, path: Path, definition: Input, value: Any) -> None:
        try:
            read_value(definition, value)
        except ValueError as error:
            self.note(
                path, "RB012", f"The {path[-1] if path[-1] == 'default' else 'value'} {error}.", "Give one that fits."
            )

    def _hypotheses(self) -> None:
        phases = {step_id: phase for phase, _, step_id in self.all_steps}
        for name, hypothesis in self.spec.hypotheses.items():
            path: Path = ("hypotheses", name)
            if name == "unknown":
                self.note(path, "RB020", "`unknown` always exists.", "Choose another name.", at_key=True)
            for step_id, points in hypothesis.evidence.items():
                at: Path = (*path, "evidence", step_id)
                if step_id not in phases:
                    self.note(
                        at, "RB020", f"There is no step `{step_id}`.", nearest(step_id, self.all_ids), at_key=True
                    )
                elif phases[step_id] not in PHASES[:3]:
                    message = (
                        f"Step `{step_id}` is in {phases[step_id]}; evidence comes from check, measure and triage."
                    )
                    self.note(at, "RB022", message, "Cite a step of those phases.", at_key=True)
                for verdict, number in points.items():
                    if not -6 <= number <= 6:
                        message = f"{number} points are outside -6 to 6."
                        self.note((*at, verdict), "RB021", message, "Each point doubles; 6 already means 64 times.")

    def _ids(self) -> None:
        first: dict[str, Path] = {}
        for _, path, step_id in self.all_steps:
            if step_id in first:
                line = self.document.position((*first[step_id], "id"))[0]
                message = f"The step id `{step_id}` is used on line {line} already."
                self.note((*path, "id"), "RB031", message, "Give each step its own id.")
            first.setdefault(step_id, path)

    # Steps.

    def _tries(self, path: Path, step: Step) -> None:
        if not step.backoff.delay <= step.backoff.max <= LONGEST_BACKOFF:
            message = f"The pause grows from `delay` to `max`, which is at most {written(LONGEST_BACKOFF)}."
            self.note((*path, "backoff"), "RB038", message, "Write e.g. `{delay: 2s, factor: 2, max: 30s}`.")
        if (step.attempts or 1) > 1 and not isinstance(step, CheckStep | ActionStep):
            message = "Only checks and actions are tried again; a runbook tries its own steps."
            self.note((*path, "attempts"), "RB038", message, "Remove it.", at_key=True)

    def _step(self, path: Path, step: Step) -> None:
        for part in step.authored():
            self._authored(path, step, part)
        if step.timeout is not None and not 1 <= step.timeout <= step.longest_timeout:
            limit = written(step.longest_timeout)
            self.note((*path, "timeout"), "RB037", f"A {step.kind} step has at most {limit}.", f"Write 1s to {limit}.")
        self._tries(path, step)
        if step.foreach is not None and (
            isinstance(step, ManualStep | WaitStep) or (isinstance(step, CheckStep) and step.watch)
        ):
            message = "`foreach` cannot be used on manual, wait or watched steps."
            self.note((*path, "foreach"), "RB036", message, "Remove it.", at_key=True)
        if path[0] == "finally":
            self._last_step(path, step)
        if isinstance(step, CheckStep):
            self._watch(path, step)
        elif isinstance(step, ActionStep):
            self._action(path, step)
        elif isinstance(step, ManualStep):
            self._manual(path, step)
        elif isinstance(step, WaitStep) and not 1 <= step.wait <= LONGEST_WAIT:
            self.note(
                (*path, "wait"), "RB052", "A wait lasts 1s to 7d.", "Make it shorter; for days of looking use watch."
            )
        elif isinstance(step, RunbookStep) and step.runbook == self.spec.id:
            self.note((*path, "runbook"), "RB053", "A runbook cannot run itself.", "Name another runbook.")
        if self.providers:
            self.findings += provider_findings(
                self.document, path, step, inputs=self.spec.inputs, checks=self.checks, actions=self.actions
            )

    def _authored(self, path: Path, step: Step, part: Authored) -> None:
        at = (*path, *part.path)
        names = step.names_of(part)
        code = _FIELD_CODES.get(str(part.path[0]), "RB057")
        if part.is_text:
            self._text(at, part.source, names, code=code, before=path)
            return
        found = self._expression(at, part.source, names, code=code, before=path)
        if found is None:
            return
        if part.path == ("if",) and found.is_constant:
            self._constant(at, found)

    def _constant(self, path: Path, found: Expression) -> None:
        value = found.evaluate({})
        what = (
            "always runs"
            if value is True
            else "never runs"
            if value is False
            else "always fails: it is not true or false"
        )
        self.note(path, "RB019", f"`if` is constant, so the step {what}.", "Remove it, or compare.", severity="warning")

    def _last_step(self, path: Path, step: Step) -> None:
        if not isinstance(step, ActionStep):
            self.note((*path, step.kind), "RB032", "`finally` holds actions only.", "Move the step.", at_key=True)
            return
        if step.approval is not None:
            self.note((*path, "approval"), "RB032", "An action in `finally` asks nobody.", "Remove it.", at_key=True)

    def _watch(self, path: Path, step: CheckStep) -> None:
        watch = step.watch
        if watch is None:
            return
        at = (*path, "watch")
        if watch.every < 1:
            self.note((*at, "every"), "RB054", "`every` must be at least 1s.", "Write e.g. 5m.")
        elif watch.for_ > LONGEST_WATCH:
            self.note((*at, "for"), "RB054", "A watch lasts at most 13d.", "Make it shorter.")
        elif not 1 <= watch.samples <= MOST_SAMPLES:
            message = f"This watch has {watch.samples:,} samples; 1 to {MOST_SAMPLES:,} are possible."
            self.note(at, "RB054", message, "Change `every` or `for`.", at_key=True)

    def _action(self, path: Path, step: ActionStep) -> None:
        if step.approval is not None:
            at = (*path, "approval")
            if not step.approval.from_:
                self.note((*at, "from"), "RB048", "Nobody is asked: `from` is empty.", "Write `from: [role:oncall]`.")
            for index, principal in enumerate(step.approval.from_):
                self._principal((*at, "from", index), principal)
            if not 1 <= step.approval.timeout <= LONGEST_APPROVAL:
                limit = written(LONGEST_APPROVAL)
                self.note((*at, "timeout"), "RB048", f"People have at most {limit}.", f"Write 1s to {limit}.")
            self._escalation((*at, "escalate"), step, step.approval.timeout)
        plain = {
            earlier.id
            for _, earlier in places(self.spec)
            if isinstance(earlier, CheckStep) and not earlier.watch and not earlier.foreach
        }
        for index, step_id in enumerate(step.recheck):
            if step_id not in plain or not self._is_earlier(step_id, path):
                message = f"`{step_id}` is not an earlier check without watch and foreach."
                self.note((*path, "recheck", index), "RB049", message, nearest(step_id, sorted(plain)))

    def _manual(self, path: Path, step: ManualStep) -> None:
        if step.assign is not None:
            self._principal((*path, "assign"), step.assign)
        for name, definition in step.fields.items():
            self._input((*path, "fields", name), definition)
        self._escalation((*path, "escalate"), step, step.timeout_seconds)

    def _escalation(self, path: Path, step: Step, timeout: int) -> None:
        levels = (
            step.escalate if isinstance(step, ManualStep) else getattr(getattr(step, "approval", None), "escalate", [])
        )
        for index, level in enumerate(levels):
            if level.after >= timeout:
                message = "This escalation comes after the time is over."
                self.note((*path, index, "after"), "RB048", message, "Make `after` shorter than `timeout`.")
            self._principal((*path, index, "to"), level.to)

    def _principal(self, path: Path, principal: str) -> None:
        if self.principals is not None and principal not in self.principals:
            known = sorted(self.principals)
            self.note(path, "RB005", f"There is no `{principal}` in this team.", nearest(principal, known))

    # Expressions.

    def _expression(
        self, path: Path, source: str, names: frozenset[str], *, code: str, before: Path | None = None
    ) -> Expression | None:
        try:
            found = expressions.compile(source, names=names)
            _compute_constants([found])
            self._names(path, found.names_used, before, code)
            return found
        except ExpressionError as error:
            self.note(path, code, error.sentence, error.fix or _WHAT_MAY_STAND)
            return None

    def _text(
        self, path: Path, source: str, names: frozenset[str], *, code: str, before: Path | None = None
    ) -> Text | None:
        try:
            found = expressions.compile_text(source, names)
            _compute_constants(found.expressions)
            self._names(path, found.names_used, before, code)
            return found
        except ExpressionError as error:
            self.note(path, code, error.sentence, error.fix or _WHAT_MAY_STAND)
            return None

    def _names(self, path: Path, used: list[tuple[str, ...]], before: Path | None, code: str) -> None:
        for name in used:
            if name[0] == "inputs" and len(name) > 1:
                if name[1] not in _keys(self.document.data, "inputs"):
                    known = list(_keys(self.document.data, "inputs"))
                    self.note(path, code, f"There is no input `{name[1]}`.", nearest(name[1], known))
            elif name[0] == "steps":
                self._step_name(path, name, before)
            elif name[0] in PARTS and len(name) > 1 and name[1] not in PARTS[name[0]]:
                message = f"`{name[0]}` has no part `{name[1]}`."
                self.note(path, code, message, nearest(name[1], sorted(PARTS[name[0]])))

    def _step_name(self, path: Path, name: tuple[str, ...], before: Path | None) -> None:
        if len(name) < 2:
            self.note(path, "RB055", "A step is named by its id, not looked up.", "Write `steps.<id>.verdict`.")
        elif name[1] not in self.all_ids:
            self.note(path, "RB055", f"There is no step `{name[1]}`.", nearest(name[1], self.all_ids))
        elif before is not None and not self._is_earlier(name[1], before, itself="undo" in path[len(before) :]):
            self.note(path, "RB055", f"Step `{name[1]}` does not come earlier.", "Mention steps above this one only.")
        elif len(name) > 2 and name[2] not in PARTS_OF_STEP:
            fix = nearest(name[2], sorted(PARTS_OF_STEP))
            self.note(path, "RB057", f"A step has no part `{name[2]}`; look in `result`.", fix)

    def _is_earlier(self, step_id: str, path: Path, *, itself: bool = False) -> bool:
        """Whether a step has ended before the one at `path` begins; what takes it back also comes after `itself`."""
        for _, other, other_id in self.all_steps:
            if other == path:
                return itself and other_id == step_id
            if other_id == step_id:
                return True
        return True

    def _outputs(self) -> None:
        for name, source in self.spec.outputs.items():
            self._expression(("outputs", name), source, RUN_NAMES, code="RB033")

    # Advice.

    def _advice(self) -> None:
        # Read from the text, so that an input used in a part that could not be parsed is not called unused.
        authored = " ".join(text for _, text in texts_in(self.document.data, ()))
        used = set(_INPUT_USED.findall(authored))
        for name, definition in self.spec.inputs.items():
            # `service` binds a run to its service, which every check reads.
            if name not in used and "" not in used and name != "service":
                message = f"The input `{name}` is used nowhere."
                what = "Remove it." if definition.is_required else "Use it, or remove it."
                self.note(("inputs", name), "RB018", message, what, severity="warning", at_key=True)


def _compute_constants(found: list[Expression]) -> None:
    """What uses no name is computed now: one that can only fail, such as `'a' * 9`, is no rule. ExpressionError."""
    for expression in found:
        if expression.is_constant:
            expression.evaluate({})


def places(spec: RunbookSpec) -> list[Place]:
    """Every step with its path in the file, `finally` last."""
    found: list[Place] = [
        (("phases", phase, index), step) for phase in PHASES for index, step in enumerate(spec.phases.of(phase))
    ]
    return [*found, *((("finally", index), step) for index, step in enumerate(spec.finally_))]


def _raw_steps(data: Any) -> Iterator[tuple[str, Path, str]]:
    """Phase, path and id of every step as written, in order, whether or not it can be parsed."""
    phases = _keys(data, "phases")
    for phase in PHASES:
        written_steps = phases.get(phase)
        for index, step in enumerate(written_steps if isinstance(written_steps, list) else []):
            if isinstance(step, dict) and isinstance(step.get("id"), str):
                yield phase, ("phases", phase, index), step["id"]
    last = data.get("finally") if isinstance(data, dict) else None
    for index, step in enumerate(last if isinstance(last, list) else []):
        if isinstance(step, dict) and isinstance(step.get("id"), str):
            yield "finally", ("finally", index), step["id"]


def _keys(data: Any, field: str) -> dict[str, Any]:
    value = data.get(field) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}
