"""Ending a run: cancel what may be cancelled, wait for what was sent, then say how it ended (R4, R5, S18 to S20)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import F

from catalog.actors import ENGINE, Actor
from common import background
from incidents import lifecycle, notices
from runbooks import aftermath, locks, transitions, verdicts
from runbooks.models import Effect, Run, StepRun
from runbooks.steps import HARMLESS

OUTCOMES = {
    "resolved": "the verification passed",
    "not_resolved": "the verification found the problem still there",
    "unverified": "something was changed, but the verification could not tell",
    "no_action": "nothing was changed",
    "aborted": "it stopped before the verification",
}


def begin(run: Run, *, reason: str, now: datetime, actor: Actor = ENGINE, ends: str = "finished") -> None:
    """R4: from now on nothing new is started; open steps are asked to end. `ends` is the state it will end in."""
    # One that is queued never held its key, so it ends without passing through a state that does.
    through = "queued" if run.state == "queued" else "stopping"
    changed = Run.objects.filter(pk=run.pk, state__in=["queued", "active", "paused"]).update(
        state=through, ends_as=ends, stop_reason=reason[:300]
    )
    if not changed:
        return
    run.state, run.ends_as, run.stop_reason = through, ends, reason[:300]
    run.steps.exclude(state__in=["settled", "cancelled"]).update(cancel_requested=True)
    transitions.event(run, "R4", now=now, state="stopping", actor=actor, text=reason)
    if run.state == "queued":
        go_on(run, list(run.steps.all()), now=now)


def go_on(run: Run, steps: list[StepRun], *, now: datetime) -> None:
    """Cancel open steps; once nothing is in flight, end the run (R5)."""
    in_flight = False
    for step in steps:
        if step.is_terminal:
            continue
        effect = _effect_state(step)
        if step.state == "leased" and effect == "sent":
            # It may be changing the world right now: its result is waited for, up to its timeout.
            in_flight = True
        elif effect in ("sent", "unknown"):
            _give_up_unknown(run, step, now=now)
        else:
            _cancel(run, step, now=now)
    if not in_flight:
        _end(run, now=now)


def _effect_state(step: StepRun) -> str:
    """What the ledger says about an action; empty for everything that changes nothing in the world."""
    effects = Effect.objects.filter(step_run=step, generation=step.generation)
    state = effects.exclude(effect_class__in=HARMLESS).values_list("state", flat=True).first()
    return state or ""


def _cancel(run: Run, step: StepRun, *, now: datetime) -> None:
    """S18, S19: a raised fence makes a late result evidence only."""
    was = step.state
    changes: dict[str, Any] = {"state": "cancelled", "blocked_on": "", "due_at": None, "lease_until": None}
    if StepRun.objects.filter(pk=step.pk, state=was).update(fence=F("fence") + 1, settled_at=now, **changes):
        step.state = "cancelled"
        transitions.withdraw_request(step, now=now)
        locks.release(step)
        transitions.event(run, "S19" if was == "leased" else "S18", now=now, state="cancelled", step=step)


def _give_up_unknown(run: Run, step: StepRun, *, now: datetime) -> None:
    """S20: nobody said whether it happened; the incident keeps an open question that blocks resolving it."""
    moved = transitions.move(
        step,
        was=(step.state,),
        state="settled",
        blocked_on="",
        verdict="error",
        reason="effect_unknown",
        fence=step.fence + 1,
        settled_at=now,
        due_at=None,
    )
    if not moved:
        return
    Effect.objects.filter(step_run=step, generation=step.generation, state="sent").update(state="unknown", ended_at=now)
    locks.release(step)
    transitions.event(run, "S20", now=now, state="settled error", step=step, text="effect_unknown")
    if run.incident is not None:
        lifecycle.open_gate(
            run.incident,
            key=f"effect:{run.uuid}:{step.step}",
            title=f"Did this happen? {step.summary or step.name}",
            blocks="resolve",
        )


def _end(run: Run, *, now: datetime) -> None:
    """R5: the outcome, told on the timeline and to the team; the concurrency key is free for the next in line."""
    ends, reason = run.ends_as, run.stop_reason
    outcome = ""
    if ends == "finished":
        confirmed = Effect.objects.filter(step_run__run=run, state="confirmed").exclude(effect_class__in=HARMLESS)
        # Of what was settled, also when the phase was left early; what was cancelled has no say.
        found = run.steps.filter(phase="verify", state="settled").values_list("verdict", flat=True)
        verify = verdicts.worst(list(found))
        outcome = verdicts.outcome(verify=verify, stopped_early=bool(reason), confirmed_effects=confirmed.count())
    Run.objects.filter(pk=run.pk, state__in=["queued", "stopping"]).update(state=ends, outcome=outcome, ended_at=now)
    run.state, run.outcome, run.ended_at = ends, outcome, now
    transitions.event(run, "R5", now=now, state=ends, text=outcome or reason)
    told = f"{outcome.replace('_', ' ')}: {OUTCOMES[outcome]}" if outcome else ends
    because = f" ({reason})" if reason else ""
    transitions.note(
        run,
        kind="run",
        text=f"{run.label} ended, {told}{because}.",
        pinned=True,
        data={"outcome": outcome, "state": ends},
    )
    aftermath.tell(run, now=now)
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
            findings=list(run.steps.filter(verdict="fail").values_list("summary", flat=True)[:5]),
        ),
        link=f"/runs/{run.uuid}",
        incident=run.incident,
    )
    if outcome == "resolved" and run.incident is not None and run.incident.state in ("open", "acknowledged"):
        lifecycle.mitigate(run.incident, actor=ENGINE, note=f"Runbook {run.runbook.slug} verified the fix.")
    following = Run.objects.filter(
        runbook=run.runbook_id, concurrency_key=run.concurrency_key, state="queued"
    ).order_by("pk")
    for waiting in following[:1]:
        background.hint("runbooks.advance", "engine", waiting.pk)
