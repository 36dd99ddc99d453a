"""A run's rows as the plan sees them (planning.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common import statements
from runbooks import children, reading
from runbooks.definitions import UNDO_PREFIX, Definition
from runbooks.models import OPEN_RUN_STATES, Effect, Run, StepRun
from runbooks.planning import UNDO, RunState, StepState
from runbooks.steps import HARMLESS

# The rows of a run by step id and item.
Rows = Mapping[tuple[str, int], StepRun]


def of(run: Run, steps: list[StepRun]) -> RunState:
    """The picture of a run that the caller has locked. The ledger is read only where it decides: when it stops."""
    definitions = _definitions(run, steps)
    effects = _effects(run, steps) if run.state == "stopping" else {}
    known = _Known(
        effects,
        _ranks(effects),
        children.states_of(steps),
        children.changed_something(steps) if run.state == "stopping" else set(),
    )
    return RunState(
        state=run.state,
        phase=run.phase,
        ends_as=run.ends_as,
        stopped_early=bool(run.stop_reason),
        outcome=run.outcome,
        # Without hypotheses there is nothing to settle.
        frozen=run.diagnosis_frozen or definitions is None or not reading.spec_of(run).causes,
        unreadable=definitions is None,
        steps=tuple(_state(step, definitions[step.step] if definitions else None, known) for step in steps),
    )


def _definitions(run: Run, steps: list[StepRun]) -> dict[str, Definition] | None:
    """The definitions by step id. A run that cannot be read waits (Unreadable), but it can be ended: then None."""
    try:
        return {step.step: reading.step_of(run, step) for step in steps}
    except reading.Unreadable:
        if run.state == "stopping" or run.ends_as:
            return None
        raise


@dataclass(frozen=True)
class _Known:
    """What other tables say: effects and their order by row, the states of children and who acted by row's key."""

    effects: dict[tuple[str, int], Effect]
    undone: dict[tuple[str, int], int]
    children: dict[int, str]
    acted: set[int]


def _state(step: StepRun, definition: Definition | None, known: _Known) -> StepState:
    effect = known.effects.get((step.step, step.item))
    child = known.children.get(step.pk, "")
    said = effect.state if effect and effect.generation == step.generation else _by_hand(step)
    return StepState(
        id=step.step,
        item=step.item,
        kind=step.kind,
        phase=step.phase,
        state=step.state,
        verdict=step.verdict,
        mentions=frozenset(definition.mentioned) if definition else frozenset(),
        reads_diagnosis=definition is not None and definition.asks_diagnosis,
        effect="confirmed" if step.pk in known.acted else said,
        child_open=child in OPEN_RUN_STATES,
        child_ended=bool(child) and child not in OPEN_RUN_STATES,
        auto=definition is not None and definition.auto,
        undoes=known.undone.get((step.step.removeprefix(UNDO_PREFIX), step.item), 0) if step.phase == UNDO else 0,
    )


def _by_hand(step: StepRun) -> str:
    """What a person says to have done elsewhere has changed something too (proposing.propose); nobody takes it back."""
    return "confirmed" if step.kind == "action" and (step.verdict, step.reason) == ("pass", "done") else ""


_in_order = statements.Written(
    lambda run: (
        Effect.objects.filter(step_run__run=run, step_run__kind="action")
        .exclude(effect_class__in=HARMLESS)
        .order_by("generation")
    )
)


def _effects(run: Run, steps: list[StepRun]) -> dict[tuple[str, int], Effect]:
    """The last effect of each row that changes something in the world."""
    actions = {step.pk: (step.step, step.item) for step in steps if step.kind == "action"}
    if not actions:
        return {}
    return {actions[row.step_run_id]: row for row in _in_order(run.pk)}


def _ranks(effects: dict[tuple[str, int], Effect]) -> dict[tuple[str, int], int]:
    """Confirmed effects, numbered from 1 in the order in which they were confirmed."""
    confirmed = [
        (row.ended_at, row.pk, key) for key, row in effects.items() if row.state == "confirmed" and row.ended_at
    ]
    return {key: number for number, (_, _, key) in enumerate(sorted(confirmed), start=1)}
