"""A step of a runbook as the engine uses it: compiled, with every default filled in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from common import expressions
from common.expressions import Expression
from runbooks.actions import ACTIONS
from runbooks.diagnosis import Hypothesis
from runbooks.fields import HIDDEN, RUN_NAMES, Approval, Input, Watch, texts_in
from runbooks.planning import FINALLY, UNDO
from runbooks.spec import RunbookSpec
from runbooks.steps import ActionStep, CheckStep, ManualStep, RunbookStep, Step, WaitStep
from runbooks.verdicts import Rules

# What takes an action back is named for it; no id in a runbook has a dash.
UNDO_PREFIX = "undo-"
# A step of `finally` has at most this long.
LAST_SECONDS = 300
_SIGNS = {">=": "≥", "<=": "≤"}


class Definition:
    """One step with its phase. Rendering raises ExpressionError; nothing here touches the database."""

    def __init__(self, step: Step, phase: str) -> None:
        self.step = step
        self.phase = phase
        self.id = step.id
        self.kind = step.kind
        self.name = step.title
        self.provider = step.provider
        self.pin = step.pin
        self.timeout = step.timeout_seconds
        self.if_ = step.if_
        self.foreach = step.foreach
        self.runbook = step.runbook if isinstance(step, RunbookStep) else ""
        self.assign = step.assign if isinstance(step, ManualStep) else None
        self.watch: Watch | None = step.watch if isinstance(step, CheckStep) else None
        # Every sample of a watch is a look: together they share the error probability.
        self.looks = (step.looks or (step.watch.samples if step.watch else 1)) if isinstance(step, CheckStep) else 1
        self.fields: dict[str, Input] = step.fields if isinstance(step, ManualStep) else {}
        self.approval: Approval | None = step.approval if isinstance(step, ActionStep) else None
        self.recheck: list[str] = step.recheck if isinstance(step, ActionStep) else []
        levels = self.approval.escalate if self.approval else step.escalate if isinstance(step, ManualStep) else []
        self.escalations = sorted(levels, key=lambda level: level.after)
        self.wait_seconds = step.wait if isinstance(step, WaitStep) else 0
        # Only of a step that takes an action back: it goes without asking.
        self.auto = False

    @cached_property
    def attempts(self) -> int:
        """How many tries there are in all."""
        known = isinstance(self.step, ActionStep) and self.provider in ACTIONS
        return self.step.tries(ACTIONS.get(self.provider).effect_class if known else "read")

    @cached_property
    def risk(self) -> str:
        """An action's risk: as written, never below what the action itself claims."""
        if not isinstance(self.step, ActionStep):
            return "low"
        floor = ACTIONS.get(self.provider).risk if self.provider in ACTIONS else "high"
        return self.step.effective_risk(floor)

    @cached_property
    def mentioned(self) -> set[str]:
        """Ids of the steps it mentions."""
        return self.step.references()

    @cached_property
    def asks_diagnosis(self) -> bool:
        """Whether it reads the diagnosis, and therefore waits for all before it."""
        return any("diagnosis" in part.source for part in self.step.authored())

    @cached_property
    def rules(self) -> Rules:
        """The part that decides: pass_if, fail_if and what goes before them."""
        step = self.step
        if isinstance(step, CheckStep):
            names = {"value", "result", "samples", "age"} | ({"sample"} if step.watch else set())
            return Rules(
                pass_if=self._condition(step.pass_if, names),
                fail_if=self._condition(step.fail_if, names),
                no_data=step.no_data,
                min_samples=step.min_samples,
                max_age=step.max_age,
            )
        if isinstance(step, ManualStep):
            return Rules(
                pass_if=self._condition(step.pass_if, {"result"}), fail_if=self._condition(step.fail_if, {"result"})
            )
        return Rules()

    def _condition(self, source: str | None, extra: set[str]) -> Expression | None:
        return None if source is None else expressions.compile(source, names=self.step.names() | extra)

    def condition(self) -> Expression | None:
        """The compiled `if`."""
        return None if self.if_ is None else expressions.compile(self.if_, names=RUN_NAMES)

    def elements(self) -> Expression | None:
        """The compiled `foreach`."""
        return None if self.foreach is None else expressions.compile(self.foreach, names=RUN_NAMES)

    def sample_names(self, k: int) -> dict[str, Any]:
        """What the rules of a watch may read of its sample k."""
        return {"sample": {"k": k, "n": self.watch.samples}} if self.watch else {}

    def limits(self, names: Mapping[str, Any]) -> list[tuple[float, str]]:
        """The numbers that the rules compare the value with, each once, in words; not what only a sample can tell."""
        found: dict[float, str] = {}
        known = self.step.names() | {"value", "result", "samples", "age", "sample"}
        for word in ("pass", "fail"):
            source = getattr(self.step, f"{word}_if", None)
            try:
                sides = expressions.bounds(source, names=known, on="value") if source else []
                told = [(sign, side.evaluate(names)) for sign, side in sides]
            except expressions.ExpressionError:
                continue
            for sign, value in told:
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found.setdefault(float(value), f"{word} {_SIGNS.get(sign, sign)} {value:g}")
        return list(found.items())

    def policy(self, verdict: str) -> str:
        """What a verdict does to the run: continue, stop or ask."""
        return self.step.policy(verdict)

    @property
    def with_(self) -> dict[str, Any]:
        """The parameters as they were written."""
        return getattr(self.step, "with_", {})

    def render_with(self, context: Mapping[str, Any], *, hidden: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The parameters, rendered once; HIDDEN stands for each text that reads one of the `hidden` inputs."""
        rendered = self._render(self.with_, context, hidden)
        assert isinstance(rendered, dict)
        return rendered

    def _render(self, value: Any, context: Mapping[str, Any], hidden: frozenset[str] = frozenset()) -> Any:
        if isinstance(value, str):
            return HIDDEN if self.reads_any(value, hidden) else self.render(value, context)
        if isinstance(value, dict):
            return {key: self._render(item, context, hidden) for key, item in value.items()}
        if isinstance(value, list):
            return [self._render(item, context, hidden) for item in value]
        return value

    def render(self, text: str, context: Mapping[str, Any]) -> Any:
        """One text of this step."""
        return expressions.compile_text(text, self.step.names()).render(context)

    def reads_any(self, value: Any, inputs: frozenset[str]) -> bool:
        """Whether a text somewhere inside mentions one of these inputs by its name."""
        if not inputs:
            return False
        used = (
            path
            for _, source in texts_in(value, ())
            for path in expressions.compile_text(source, self.step.names()).names_used
        )
        return any(path[0] == "inputs" and path[1:2] and path[1] in inputs for path in used)

    def render_lock(self, context: Mapping[str, Any]) -> str:
        """The lock's name; empty when none is written."""
        lock = self.step.lock if isinstance(self.step, ActionStep) else None
        return str(self._render(lock, context))[:200] if lock else ""

    def render_manual(self, context: Mapping[str, Any]) -> str:
        """The instruction as Markdown; inserted values are escaped, since alert text is foreign."""
        if not isinstance(self.step, ManualStep):
            return ""
        text = expressions.compile_text(self.step.manual, self.step.names())
        return str(text.render(context, escape=expressions.as_markdown))

    def render_message(self, context: Mapping[str, Any]) -> str:
        """The approval's own words."""
        return "" if self.approval is None else str(self._render(self.approval.message, context))

    def pause_before(self, attempt: int, *, seed: str) -> float:
        """Seconds before a further attempt: delay · factor^(n-2) up to max, ±20 % by a jitter that tests can repeat."""
        backoff = self.step.backoff
        base = min(backoff.max, backoff.delay * backoff.factor ** max(0, attempt - 2))
        share = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big") / 2**32
        return float(base * (0.8 + 0.4 * share))


class Book:
    """A runbook ready to run."""

    def __init__(self, spec: RunbookSpec) -> None:
        self.spec = spec
        self.owner = spec.owner
        self.definitions = [Definition(step, phase) for phase, step in spec.steps()]
        # Ids of the runbooks that it runs as steps.
        self.runs = {definition.runbook for definition in self.definitions if definition.runbook}
        # Names of the inputs that nobody may read.
        self.sensitive = frozenset(name for name, declared in spec.inputs.items() if declared.sensitive)
        self.definitions += [_last(step) for step in spec.finally_]
        undone = [_undo(step) for _, step in spec.steps() if isinstance(step, ActionStep) and step.undo]
        self.by_id = {definition.id: definition for definition in (*self.definitions, *undone)}
        self.causes = [
            Hypothesis(
                key,
                cause.title,
                cause.prior,
                {step: {str(v): float(p) for v, p in points.items()} for step, points in cause.evidence.items()},
            )
            for key, cause in spec.hypotheses.items()
        ]

    def definition(self, step_id: str) -> Definition:
        """The step of that id, also of one that takes an action back. Raises KeyError."""
        return self.by_id[step_id]

    def undo_of(self, step_id: str) -> Definition | None:
        """What takes that action back, where its runbook says how."""
        return self.by_id.get(f"{UNDO_PREFIX}{step_id}")

    @cached_property
    def triggers(self) -> list[Expression]:
        """The compiled triggers."""
        return [expressions.compile(trigger.alert, names={"alert"}) for trigger in self.spec.triggers]


def _last(step: Step) -> Definition:
    """A step of `finally`: it never keeps a run from its end for long."""
    definition = Definition(step, FINALLY)
    definition.timeout = min(definition.timeout, LAST_SECONDS)
    return definition


def _undo(step: ActionStep) -> Definition:
    """What takes an action back, as a step of its own: under the same lock, asking nobody."""
    assert step.undo is not None
    change: dict[str, Any] = {
        "id": f"{UNDO_PREFIX}{step.id}",
        "name": f"Undo: {step.title}",
        "action": step.undo.action,
        "with_": step.undo.with_,
        "if_": None,
        "approval": None,
        "recheck": [],
        "undo": None,
        "attempts": None,
        "timeout": None,
        "pin": "always",
    }
    definition = Definition(step.model_copy(update=change), UNDO)
    definition.auto = step.undo.auto
    # Its rows are made with their elements, one for each that was changed.
    definition.foreach = None
    return definition
