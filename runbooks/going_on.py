"""Going on from a step of a run that has ended: a new run of the same revision that takes over what came before it.

The ended run stays as it was; its evidence is cited, nothing of it is repeated (Rundeck's oldest wish).
"""

from __future__ import annotations

from typing import Any

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common.errors import Conflict
from runbooks import ledger, runs, sealing, transitions
from runbooks.fields import PHASES
from runbooks.models import Effect, Run, StepRun

# What a row carries over: its answer and what it rests on, not its leases, timers and locks.
_ANSWER = (
    "state",
    "verdict",
    "reason",
    "summary",
    "item_value",
    "params",
    "params_digest",
    "value",
    "result",
    "samples",
    "observed_at",
    "evidence_id",
    "overridden_by",
    "attempts",
    "t0",
    "started_at",
    "settled_at",
)


def before(run: Run, step: StepRun) -> list[StepRun]:
    """The rows that a run going on from this step takes over: what had its verdict before it."""
    earlier = run.steps.filter(position__lt=step.position, phase__in=PHASES, state="settled")
    return list(earlier.exclude(step=step.step))


def may_go_on(run: Run, step: StepRun, effects: list[Effect]) -> bool:
    """Whether a new run can begin here: the old one has ended, and this is no action that may have been applied.

    `effects` are the step's own, so that a page with many steps reads them once.
    """
    if run.is_open or run.is_act or run.is_plan or step.phase not in PHASES:
        return False
    return not any(effect.state in ("confirmed", *ledger.DOUBTFUL) for effect in effects)


def from_step(run: Run, step: StepRun, *, given: dict[str, Any], actor: Actor) -> Run:
    """Start a run of the same revision at this step; `given` are inputs that differ from the old run's.

    Raises Conflict where there is nothing to go on from or another run holds the key, Invalid with `fields` for inputs.
    """
    permissions.require(actor, Permission.RUN, run.team)
    if not may_go_on(run, step, list(step.effects.all())):
        raise Conflict(
            "It cannot go on from this step: the run is still open, or the action was applied.",
            fix="In an open run, run the step again. An action that was applied is repeated by Act now.",
        )
    runbook = run.runbook
    # As it was written when that run started, whatever was published since.
    runbook.current = run.revision
    shown = {name: value for name, value in run.inputs.items() if value is not None}
    changed = sorted(name for name, value in given.items() if shown.get(name) != value)
    said = f", with {', '.join(changed)} changed" if changed else ""
    started = runs.start(
        runbook,
        given=shown | sealing.unseal(run) | given,
        actor=actor,
        team=run.team,
        incident=run.incident,
        told=f"{actor.label} goes on from «{step.name}» of the run that ended {run.state}{said}.",
        prepare=lambda new: _take_over(new, run, step),
    )
    if started.run is None or started.decision in ("joined", "skipped"):
        raise Conflict("Another run is at work for the same.", fix="Wait for its end, or cancel it first.")
    return started.run


def _take_over(new: Run, old: Run, step: StepRun) -> None:
    """The rows before the step with their answers; the phase at work is the step's."""
    mine = {(row.step, row.item): row for row in new.steps.all()}
    for row in before(old, step):
        answer = {name: getattr(row, name) for name in _ANSWER}
        known = mine.get((row.step, row.item))
        if known is not None:
            StepRun.objects.filter(pk=known.pk).update(**answer)
            continue
        shape = {name: getattr(row, name) for name in ("position", "kind", "provider", "phase", "name")}
        StepRun.objects.create(run=new, step=row.step, item=row.item, **shape, **answer)
    reached = PHASES[: PHASES.index(step.phase)]
    new.phase = step.phase
    new.phase_verdicts = {phase: old.phase_verdicts[phase] for phase in reached if phase in old.phase_verdicts}
    Run.objects.filter(pk=new.pk).update(phase=new.phase, phase_verdicts=new.phase_verdicts)
    transitions.event(
        new, "R1", now=new.created_at, state=new.state, text=f"takes over what run {old.uuid} found before {step.step}"
    )
