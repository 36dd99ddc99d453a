"""Doing a step again: what people may repeat, what repeats with it, and asking anew what nobody answered in time."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict
from runbooks import engine, reading, transitions
from runbooks.models import ApprovalRequest, Run, StepRun


def again(run: Run, step: StepRun, *, actor: Actor, now: datetime, was: tuple[str, ...], told: bool = True) -> bool:
    """S17: the step starts over with a new generation: rendered anew, previewed anew, asked anew."""
    transitions.withdraw_request(step, now=now)
    moved = transitions.go(
        run,
        step,
        "S17",
        was=was,
        now=now,
        actor=actor,
        text="again",
        state="pending",
        blocked_on="",
        generation=step.generation + 1,
        attempts=0,
        verdict="",
        proposed_verdict="",
        reason="",
        summary="",
        evidence_id=None,
        value=None,
        result=None,
        t0=None,
        due_at=None,
        settled_at=None,
        cancel_requested=False,
        overridden_by="",
    )
    if moved and told:
        transitions.note(run, kind="run", actor=actor, text=f"{actor.label} runs {step.name} again.")
    return moved


def may_rerun(run: Run, step: StepRun) -> bool:
    """Whether a step can run again: an ended or parked one of the phase at work; an ended action is not repeated."""
    if run.state != "active" or step.phase != run.phase or run.is_plan:
        return False
    if step.state == "settled":
        return step.kind != "action"
    return step.state == "blocked" and step.blocked_on in ("ask", "approval")


def followers(run: Run, step: StepRun, steps: list[StepRun]) -> list[StepRun]:
    """The ended checks of the same phase that read this step, directly or through another: they run again with it."""
    read, found = {step.step}, []
    for other in sorted(steps, key=lambda row: (row.position, row.item)):
        later = other.phase == step.phase and other.position > step.position
        ended = later and other.kind == "check" and other.state == "settled"
        if ended and reading.step_of(run, other).mentioned & read:
            read.add(other.step)
            found.append(other)
    return found


def rerun(step: StepRun, *, actor: Actor) -> StepRun:
    """Run an ended check of the current phase, or a parked step, again, and with it the ended checks that read it."""
    with transaction.atomic():
        run = _locked(step, actor, Permission.RUN)
        step = transitions.step_of(step.pk)
        now = clock.now()
        if step.state == "settled" and step.kind == "action" and run.state == "active" and step.phase == run.phase:
            raise Conflict("An action that has ended is not repeated.", fix="Act now from the incident's page.")
        if not may_rerun(run, step):
            raise Conflict(
                f"The step is {step.state} in phase {step.phase}; the run is {run.state} in phase {run.phase}.",
                fix="Only an ended or parked step of the phase at work can run again; else start the runbook anew.",
            )
        also = followers(run, step, list(run.steps.all()))
        again(run, step, actor=actor, now=now, was=("settled", "blocked"))
        for other in also:
            again(run, other, actor=actor, now=now, was=("settled",))
        engine.move_on(run, now=now)
    return transitions.step_of(step.pk)


def speaks_for(run: Run, step: StepRun) -> list[str]:
    """The checks that an action rests on: those it names, and those that speak for the likeliest cause."""
    definition = reading.step_of(run, step)
    named = set(definition.recheck) or set(definition.mentioned)
    for row in run.diagnosis.get("ranked", []):
        if row.get("id") == run.diagnosis.get("top"):
            named |= {line["step"] for line in row.get("lines", []) if line.get("points", 0) > 0}
    return sorted(named)


def may_ask_again(run: Run, step: StepRun, request: ApprovalRequest | None) -> bool:
    """Whether a request that ran out can be put anew in its own run; else the way is Act now."""
    if request is None or request.state != "expired" or run.state != "active" or step.phase != run.phase:
        return False
    return (step.state == "blocked" and step.blocked_on == "ask") or step.state == "settled"


def ask_again(step: StepRun, *, actor: Actor) -> StepRun:
    """Put a request anew that nobody answered in time. Nothing is applied by it.

    The checks that the action rests on are asked again first and the causes ranked anew; then the action is rendered,
    read and asked about as things stand by then, or skipped where its condition no longer holds. A second tap changes
    nothing. Raises Conflict where the run has gone on or ended.
    """
    with transaction.atomic():
        run = _locked(step, actor, Permission.ANSWER)
        step = transitions.step_of(step.pk)
        now = clock.now()
        last = ApprovalRequest.objects.filter(step_run=step).first()
        asked_anew = last is not None and (last.state == "open" or last.generation < step.generation)
        if asked_anew and not step.is_terminal and step.blocked_on != "ask":
            return step
        if not may_ask_again(run, step, last):
            raise Conflict(
                f"It cannot be asked again here: the run is {run.state} in phase {run.phase}.",
                fix="Act now from the incident's page asks for the same action.",
            )
        checks = run.steps.filter(kind="check", step__in=speaks_for(run, step), state="settled")
        names = [
            check.name for check in checks if again(run, check, actor=actor, now=now, was=("settled",), told=False)
        ]
        if run.diagnosis_frozen:
            # What the decision is based on is settled anew, once these checks have answered.
            run.diagnosis_frozen = False
            Run.objects.filter(pk=run.pk).update(diagnosis_frozen=False)
        again(run, step, actor=actor, now=now, was=("blocked", "settled"), told=False)
        first = f" First these are checked again: {'; '.join(names)}." if names else ""
        transitions.note(
            run,
            kind="approval",
            actor=actor,
            text=f"{actor.label} asks again, because nobody answered in time: {step.name}.{first}",
            pinned=True,
            data={"step": step.step},
        )
        engine.move_on(run, now=now)
    return transitions.step_of(step.pk)


def _locked(step: StepRun, actor: Actor, permission: Permission) -> Run:
    if actor.user is not None:
        permissions.require(actor, permission, step.run.team)
    return transitions.lock_run(step.run_id)
