"""Ending a run: cancel what may be cancelled, wait for what was sent, take back, tidy up (R4, R5, S18 to S20)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Max

from catalog.actors import ENGINE, Actor
from common import background, statements
from incidents import lifecycle, notices
from runbooks import aftermath, children, locks, outputs, planning, reading, transitions
from runbooks.models import Effect, Run, StepRun
from runbooks.picture import Rows
from runbooks.steps import HARMLESS

OUTCOMES = {
    "resolved": "the verification passed",
    "not_resolved": "the verification found the problem still there",
    "unverified": "something was changed, but the verification could not tell",
    "no_action": "nothing was changed",
    "aborted": "it stopped before the verification",
}
# How far a run has come: written once where the engine goes no further with it, and with its end.
PLACE = ("phase", "phase_verdicts", "outcome")

_changed = statements.Written(
    lambda run: (
        Effect.objects.filter(step_run__run=run, state="confirmed")
        .exclude(effect_class__in=HARMLESS)
        .select_related("step_run")
        .order_by("ended_at", "pk")
    )
)
_findings = statements.Written(
    lambda run: (
        StepRun.objects.filter(run=run, verdict="fail")
        .order_by("position", "item")
        .values_list("summary", flat=True)[:5]
    )
)


def begin(run: Run, *, reason: str, now: datetime, actor: Actor = ENGINE, ends: str = "finished") -> None:
    """R4: from now on nothing new is started; open steps are asked to end. `ends` is the state it will end in."""
    # One that is queued never held its key, so it ends without passing through a state that does.
    through = "queued" if run.state == "queued" else "stopping"
    changes = {"state": through, "ends_as": ends, "stop_reason": reason[:300]}
    was = ("queued", "active", "paused")
    if not transitions.go_run(run, "R4", was=was, now=now, told="stopping", actor=actor, text=reason, **changes):
        return
    run.steps.exclude(state__in=planning.TERMINAL).exclude(phase__in=planning.ENDINGS).update(cancel_requested=True)


def make(move: planning.Move, run: Run, rows: Rows, *, now: datetime) -> bool:
    """Make one of the moves of a run that is ending; False when nothing came of it."""
    match move:
        case planning.Cancel(step=step):
            return _cancel(run, rows[step.id, step.item], now=now)
        case planning.GiveUp(step=step):
            return _give_up_unknown(run, rows[step.id, step.item], now=now)
        case planning.Conclude(outcome=outcome):
            _conclude(run, outcome, now=now)
        case planning.GoOn(phase=phase):
            run.phase = phase
        case planning.End():
            _end(run, now=now)
        case _:
            raise AssertionError(f"{move} is not a move of an ending run")
    return True


def _cancel(run: Run, step: StepRun, *, now: datetime) -> bool:
    """S18, S19: a raised fence makes a late result evidence only."""
    name = "S19" if step.state == "leased" else "S18"
    changes: dict[str, Any] = {"state": "cancelled", "fence": step.fence + 1, "settled_at": now}
    changes |= {"blocked_on": "", "due_at": None, "lease_until": None}
    if not transitions.go(run, step, name, was=(step.state,), now=now, **changes):
        return False
    transitions.withdraw_request(step, now=now)
    locks.release(step)
    return True


def _give_up_unknown(run: Run, step: StepRun, *, now: datetime) -> bool:
    """S20: nobody said whether it happened; the incident keeps an open question that blocks resolving it."""
    moved = transitions.go(
        run,
        step,
        "S20",
        was=(step.state,),
        now=now,
        text="effect_unknown",
        state="settled",
        blocked_on="",
        verdict="error",
        reason="effect_unknown",
        fence=step.fence + 1,
        settled_at=now,
        due_at=None,
    )
    if not moved:
        return False
    Effect.objects.filter(step_run=step, generation=step.generation, state="sent").update(state="unknown", ended_at=now)
    locks.release(step)
    if run.incident is not None:
        lifecycle.open_gate(
            run.incident,
            key=f"effect:{run.uuid}:{step.step}" + (f":{step.item}" if step.item else ""),
            title=f"Did this happen? {step.summary or step.name}",
            blocks="resolve",
        )
    return True


def _conclude(run: Run, outcome: str, *, now: datetime) -> None:
    """The outcome, before anything is taken back; and a row for each action whose runbook says how to take it back."""
    if run.is_plan:
        # It changed nothing, so it says nothing about how the trouble ended.
        outcome = ""
    run.phase, run.outcome = planning.UNDO, outcome
    try:
        book = reading.spec_of(run)
    except reading.Unreadable:
        return
    changed = _changed(run.pk)
    if not changed:
        return
    last = run.steps.aggregate(last=Max("position"))["last"] or 0
    for number, effect in enumerate(changed, start=1):
        applied = effect.step_run
        definition = book.undo_of(applied.step)
        if definition is not None:
            StepRun.objects.get_or_create(
                run=run,
                step=definition.id,
                item=applied.item,
                defaults={
                    "item_value": applied.item_value,
                    "position": last + number,
                    "kind": definition.kind,
                    "provider": definition.provider,
                    "phase": definition.phase,
                    "name": definition.name,
                },
            )


def _end(run: Run, *, now: datetime) -> None:
    """R5: told with its outcome on the timeline and to the team; the concurrency key is free for the next in line."""
    ends, reason, outcome = run.ends_as, run.stop_reason, run.outcome
    # One that was never active has nothing to hand over.
    faults = outputs.evaluate(run, now=now) if run.started_at is not None else []
    text = ". ".join([outcome or reason, *faults])
    changes = {name: getattr(run, name) for name in ("outputs", *PLACE)} | {"ended_at": now}
    transitions.go_run(run, "R5", was=("queued", "stopping"), now=now, text=text, state=ends, **changes)
    for fault in faults:
        transitions.note(run, kind="engine", text=fault)
    told = f"{outcome.replace('_', ' ')}: {OUTCOMES[outcome]}" if outcome else ends
    because = f" ({reason})" if reason else ""
    transitions.note(
        run,
        kind="run",
        text=f"{run.label} ended, {told}{because}.",
        pinned=True,
        data={"outcome": outcome, "state": ends},
    )
    children.tell_parent(run)
    if run.is_plan:
        return
    aftermath.tell(run, now=now)
    if run.parent_step_id is None:
        _tell_team(run, told, because, now=now)
    if run.concurrency_key:
        # Whoever holds none has nobody behind it, and all runs that its runbook ever had would be read to see that.
        same = Run.objects.filter(runbook=run.runbook_id, concurrency_key=run.concurrency_key, state="queued")
        for waiting in same.order_by("pk").values_list("pk", flat=True)[:1]:
            background.hint("runbooks.advance", "engine", waiting)


def _tell_team(run: Run, told: str, because: str, *, now: datetime) -> None:
    """The end of a run that is no part of another one, to people; what it verified counts for the incident."""
    subject = f"{run.runbook.title}: {told}"
    if run.incident is not None:
        subject = notices.subject(
            run.incident, says=f"{run.runbook.title if run.is_act else run.runbook.slug} ended, {told}"
        )
    notices.tell(
        team=run.team,
        kind="run_ended",
        key=str(run.uuid),
        subject=subject,
        body=notices.body(
            "run_ended",
            incident=run.incident,
            runbook=run.runbook.title,
            outcome=told + because,
            findings=_findings(run.pk),
        ),
        link=f"/runs/{run.uuid}",
        incident=run.incident,
        # A deadline may have passed while nobody worked.
        since=run.deadline_at if run.state == "expired" else None,
        now=now,
    )
    if run.outcome == "resolved" and run.incident is not None and run.incident.state in ("open", "acknowledged"):
        lifecycle.mitigate(run.incident, actor=ENGINE, note=f"Runbook {run.runbook.slug} verified the fix.")
