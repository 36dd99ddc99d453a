"""Carrying out one step: claim it, do the work outside any transaction, settle it if it is still ours."""

from __future__ import annotations

import logging
import os
import socket
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common import clock, statements
from common.errors import Conflict
from common.expressions import ExpressionError
from common.faults import crashpoint
from common.outage import outlasted
from common.plain import plain
from common.secrets import redact, redact_json
from runbooks import (
    approvals,
    damage,
    doubt,
    dry,
    effects,
    engine,
    leases,
    ledger,
    proposing,
    reading,
    sampling,
    sealing,
    transitions,
)
from runbooks.actions import ACTIONS
from runbooks.actions.base import Preview
from runbooks.calling import called
from runbooks.checks import CHECKS
from runbooks.checks.base import CheckError, Context, Finding, Pending
from runbooks.definitions import Definition
from runbooks.fields import HOUR
from runbooks.keeping import keep
from runbooks.models import AT_WORK_STATES, Attempt, Run, StepRun
from runbooks.verdicts import Judgement, judge

log = logging.getLogger(__name__)
# However long the other side asks us to leave it alone, or a runbook lets pauses grow.
LONGEST_PAUSE = HOUR

_ready = statements.Written(
    lambda run, queue: (
        StepRun.objects.filter(run=run, state="ready", queue=queue).only("pk").order_by("position", "item")[:1]
    )
)

# The run of a step that is leased to us, the step, what it is to do, and since when.
Claimed = tuple[Run, StepRun, Definition, datetime]


def worker_name() -> str:
    """This thread, as rows and pages name it."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}"[:120]


def knows(provider: str) -> bool:
    """Whether this process's code can carry out that check or action."""
    return provider in CHECKS or provider in ACTIONS


def known() -> list[str]:
    """The names of all that it can."""
    return [*CHECKS.names(), *ACTIONS.names()]


def execute(step_run_id: int, worker: str = "") -> None:
    """Claim and carry out a ready step, then whatever it made ready on the same queue: no hop where nothing waits."""
    worker = worker or worker_name()
    at_hand = step_run_id
    try:
        claimed = claim(step_run_id, worker)
        while claimed is not None:
            run, step, *_ = claimed
            at_hand = step.pk
            claimed = _carry_out(*claimed) or _claim_next(run, step.queue, worker)
    except reading.Unreadable as error:
        # Its run cannot be read: that is told, and nothing follows.
        log.warning("step run %s waits: %s", at_hand, error.sentence)
        damage.say(StepRun.objects.values_list("run_id", flat=True).get(pk=at_hand))


def _claim_next(run: Run, queue: str, worker: str) -> Claimed | None:
    """The next step of a run that is ready on this queue, claimed."""
    ready = _ready.first(run.pk, queue)
    return claim(ready.pk, worker, run) if ready else None


def _carry_out(run: Run, step: StepRun, definition: Definition, now: datetime) -> Claimed | None:
    """A step that is ours; gives the one that was claimed as it was settled, if any."""
    following: Claimed | None = None
    crashpoint("K1")
    held = leases.hold(step.pk, step.fence, seconds=definition.timeout + 5)
    try:
        if step.kind == "check":
            following = _check(run, step, definition, now)
        elif step.stage == "preview":
            _preview(run, step, definition)
        else:
            _act(run, step, definition, held)
    finally:
        leases.drop(held)
    crashpoint("K5")
    return following


def _act(run: Run, step: StepRun, definition: Definition, held: leases.Held) -> None:
    """An action: look it up or apply it; then what follows for people, whatever became of it."""
    if step.stage == "look_up":
        effects.look_up(run, step, definition, context_of(run, step, definition))
    else:
        effects.carry_out(run, step, definition, held, context_of(run, step, definition))
    doubt.read_back(run, step, definition, context_of(run, step, definition))
    if run.is_act:
        _tell_who_ask(run, step)


def _tell_who_ask(run: Run, step: StepRun) -> None:
    """A person's act is a new fact for whatever else is being asked about the same incident."""
    effect = ledger.effect_of(step)
    if effect is None or effect.state != "confirmed" or run.incident_id is None or effect.ended_at is None:
        return
    fact = f"{run.started_by} acted at {effect.ended_at:%H:%M} UTC: {effect.summary.rstrip('.')}"
    waiting = StepRun.objects.filter(run__incident=run.incident_id, blocked_on="approval").exclude(run=run.pk)
    for pk, run_id in waiting.values_list("pk", "run_id"):
        with transaction.atomic():
            other = transitions.lock_run(run_id)
            approvals.ask_anew(other, transitions.step_of(pk), fact=fact, now=clock.now())


def claim(step_run_id: int, worker: str, before: Run | None = None) -> Claimed | None:
    """S8: one UPDATE decides who works on it; None when it is not ready (a repeated message is a no-op)."""
    try:
        return _claim(step_run_id, worker, before)
    except sampling.Untold:
        return _claim(step_run_id, worker, may_tell=True)


def _claim(step_run_id: int, worker: str, before: Run | None = None, *, may_tell: bool = False) -> Claimed | None:
    """`may_tell`: the incident is locked before its run, which costs a statement or two that few claims need."""
    with transaction.atomic():
        if may_tell:
            run: Run | None = transitions.lock_run_of(step_run_id)
        else:
            run = transitions.lock_to_claim(step_run_id, before)
        if run is None or run.state not in AT_WORK_STATES:
            return None
        step = transitions.step_of(step_run_id)
        if not knows(step.provider):
            # Not ours to do: another worker, of a newer release, may know this check or action (case 22).
            return None
        definition = reading.step_of(run, step)
        if step.kind == "action":
            damage.require_none(run)
        now = clock.now()
        if not _lease(run, step, worker, now=now):
            return None
        watched = sampling.of(run, step, definition)
        if watched is not None and not sampling.begin(run, watched, now=now, may_tell=may_tell):
            ledger.end_attempt(step, "error", now, error=sampling.TOO_LATE)
            return None
    return run, step, definition, now


def _lease(run: Run, step: StepRun, worker: str, *, now: datetime) -> bool:
    """The UPDATE, with what is told of it; False when it is not ready."""
    number, fence = step.attempts + 1, step.fence + 1
    return transitions.go(
        run,
        step,
        "S8",
        was=("ready",),
        now=now,
        text=f"attempt {number}",
        also=(
            statements.adding(Attempt(step_run_id=step.pk, number=number, fence=fence, worker=worker, started_at=now)),
        ),
        state="leased",
        fence=fence,
        attempts=number,
        lease_until=now + leases.until(),
        worker=worker,
        t0=step.t0 or now,
    )


def _claim_following(run: Run, steps: list[StepRun], worker: str, *, now: datetime) -> Claimed | None:
    """S8 of a check that has just become ready, in the transaction that made it so: no other is needed.

    `steps` are the rows as that transaction left them, in their order; one that it read anew is found by `execute`.
    """
    if run.state not in AT_WORK_STATES:
        return None
    for step in steps:
        if step.state == "ready" and step.kind == "check" and knows(step.provider):
            definition = reading.step_of(run, step)
            if definition.watch is None:
                return (run, step, definition, now) if _lease(run, step, worker, now=now) else None
    return None


def context_of(run: Run, step: StepRun, definition: Definition, now: datetime | None = None) -> Context:
    """What a provider may know about the run; `now` where the clock was read a moment ago."""
    now = now or clock.now()
    incident = run.incident
    return Context(
        team=run.team,
        service=run.service,
        now=now,
        onset=(incident.onset_at or incident.started_at) if incident else None,
        incident_key=incident.key if incident else "",
        run_uuid=str(run.uuid),
        step_key=f"{run.uuid}:{step.step}:{step.item}:{step.generation}",
        deadline=now + timedelta(seconds=definition.timeout),
        looks=definition.looks,
        incident_number=incident.number if incident else None,
        approved=ledger.approved_change(step) if step.kind == "action" else None,
    )


def _check(run: Run, step: StepRun, definition: Definition, now: datetime) -> Claimed | None:
    check = CHECKS.get(definition.provider)
    watched = sampling.of(run, step, definition)
    context = context_of(run, step, definition, now)
    if watched is not None:
        context = sampling.context_of(watched, context)
    found = called(
        lambda: check.run(check.params.model_validate(sealing.filled(run, step, definition)), context),
        f"check {definition.provider}",
        run=run,
        step=step,
    )
    if isinstance(found, CheckError):
        failed(run, step, definition, found, watched)
    elif isinstance(found, Pending):
        _sleep(run, step, definition, found, watched)
    else:
        return _found(run, step, definition, found, watched)
    return None


@outlasted
def _found(
    run: Run, step: StepRun, definition: Definition, finding: Finding, watched: sampling.Watching | None
) -> Claimed | None:
    """S9, for a sample S10: judge and store a finding, in one transaction with whatever it makes possible.

    Gives the check that follows, if one of the same run became ready at once: it is ours too.
    """
    with transaction.atomic():
        locked = transitions.lock_again(run)
        now = clock.now()
        steps = transitions.steps_of(locked)
        names = reading.names_for(locked, step, steps, now)
        if watched is not None:
            judgement = sampling.too_late(watched, now) or _judgement(
                finding, definition, names | definition.sample_names(watched.k), watched.moment or now
            )
        else:
            judgement = _judgement(finding, definition, names | definition.sample_names(1), now)
        if finding.observed_at is not None and finding.observed_at > now:
            ahead = round((finding.observed_at - now).total_seconds())
            finding = replace(finding, result={**finding.result, "clock_skew": ahead})
        row = keep(locked, step, finding, judgement, now=now, kind="sample" if watched else "check")
        # Read under the run's lock, so nobody changes it before this is committed.
        fresh = next(one for one in steps if one.pk == step.pk)
        if (fresh.state, fresh.fence) != ("leased", step.fence):
            ledger.end_attempt(step, "late", now, evidence_id=row.pk)
            return None
        if watched is not None:
            ledger.end_attempt(step, "done", now, evidence_id=row.pk)
            sampling.take(locked, watched, judgement, row, now=now)
            return None
        engine.settle(
            locked,
            fresh,
            was=("leased",),
            verdict=judgement.verdict,
            reason=judgement.reason,
            summary=row.summary,
            now=now,
            value=plain(redact_json(finding.value)),
            result=_small(finding.result),
            samples=finding.samples,
            observed_at=finding.observed_at,
            evidence=row,
            steps=steps,
            also=(ledger.ending(step, "done", now, evidence_id=row.pk),),
        )
        engine.move_on(locked, now=now, steps=steps)
        return _claim_following(locked, steps, step.worker, now=now)


def _judgement(finding: Finding, definition: Definition, names: dict[str, Any], now: datetime) -> Judgement:
    try:
        rules = definition.rules
    except ExpressionError as error:
        # Lint lets none through, so the stored form was changed since.
        return Judgement("error", "expression", error.sentence)
    return judge(finding, rules, names, now)


def _small(result: dict[str, Any]) -> dict[str, Any]:
    """The part of a result that expressions read: series stay in the evidence."""
    return {key: value for key, value in plain(redact_json(result)).items() if key != "series"}


@outlasted
def failed(
    run: Run, step: StepRun, definition: Definition, error: CheckError, watched: sampling.Watching | None = None
) -> None:
    """S10 or S9: another attempt after a pause if any is left, else verdict error with the reason on the evidence."""
    with transaction.atomic():
        locked = transitions.lock_again(run)
        now = clock.now()
        sentence = redact(str(error))
        fresh = transitions.still_leased(step)
        if fresh is None:
            ledger.end_attempt(step, "late", now)
            return
        ledger.end_attempt(step, "error", now, error=sentence)
        pause = error.retry_after or definition.pause_before(fresh.attempts + 1, seed=f"{fresh.pk}:{fresh.attempts}")
        due = now + timedelta(seconds=min(pause, LONGEST_PAUSE))
        has_time = watched is None or sampling.has_time(watched, due)
        if not error.permanent and has_time and fresh.attempts < definition.attempts and not fresh.cancel_requested:
            transitions.go_to_sleep(locked, fresh, until=due, now=now, text=sentence, reason=error.reason)
            return
        if watched is not None:
            sampling.give_up(locked, watched, reason=error.reason, text=sentence, now=now)
            return
        finding = Finding(value=None, summary=sentence, reason=error.reason)
        judgement = Judgement("error", error.reason, f"after {fresh.attempts} attempts")
        row = keep(locked, fresh, finding, judgement, now=now)
        engine.settle(
            locked,
            fresh,
            was=("leased",),
            verdict="error",
            reason=error.reason,
            summary=row.summary,
            now=now,
            evidence=row,
        )
        engine.move_on(locked, now=now)


@outlasted
def _sleep(
    run: Run, step: StepRun, definition: Definition, pending: Pending, watched: sampling.Watching | None
) -> None:
    """The provider is not done: the row sleeps, no worker is held, no attempt is used up."""
    with transaction.atomic():
        locked = transitions.lock_again(run)
        now = clock.now()
        fresh = transitions.still_leased(step)
        if fresh is None:
            ledger.end_attempt(step, "late", now)
            return
        due = now + timedelta(seconds=pending.poll_after)
        began = step.started_at if watched else step.t0
        is_late = watched is not None and not sampling.has_time(watched, due)
        if is_late or (began and now > began + timedelta(seconds=definition.timeout)):
            error = CheckError("timeout", f"Still waiting after {definition.timeout} s: {pending.note}", permanent=True)
        else:
            ledger.end_attempt(step, "pending", now)
            transitions.go_to_sleep(
                locked,
                fresh,
                until=due,
                now=now,
                text=pending.note,
                attempts=max(0, fresh.attempts - 1),
                pending_note=pending.note[:300],
            )
            return
    failed(run, step, definition, error, watched)


def _preview(run: Run, step: StepRun, definition: Definition) -> None:
    """Ask the world what the action would change, then people whether to do it (S4), or as the service's level says."""
    action = ACTIONS.get(definition.provider)
    preview = called(
        lambda: action.preview(
            action.params.model_validate(sealing.filled(run, step, definition)), context_of(run, step, definition)
        ),
        f"preview of {definition.provider}",
        run=run,
        step=step,
    )
    if isinstance(preview, CheckError):
        failed(run, step, definition, preview)
    else:
        _previewed(run, step, definition, preview)


@outlasted
def _previewed(run: Run, step: StepRun, definition: Definition, preview: Preview) -> None:
    with transaction.atomic():
        locked = transitions.lock_again(run)
        now = clock.now()
        fresh = transitions.still_leased(step)
        if fresh is None:
            ledger.end_attempt(step, "late", now)
            return
        ledger.end_attempt(step, "done", now)
        if not locked.is_plan:
            proposing.propose(locked, fresh, definition, preview, now=now)
            return
        said, result = dry.of_action(locked, definition, preview)
        engine.settle(
            locked,
            fresh,
            was=("leased",),
            verdict="skipped",
            reason=dry.REASON,
            summary=redact(said),
            result=redact_json(result),
            now=now,
        )
        engine.move_on(locked, now=now)


def read_now(step: StepRun, *, actor: Actor) -> None:
    """For a person who must say whether it happened: read the state now. Conflict when nothing is in doubt."""
    run = Run.objects.select_related("incident", "revision", "runbook", "service", "team").get(pk=step.run_id)
    permissions.require(actor, Permission.ANSWER, run.team)
    step = transitions.step_of(step.pk)
    if step.state != "unknown":
        raise Conflict("Nothing is in doubt here any more.", fix="Reload the run's page.", state=step.state)
    definition = reading.step_of(run, step)
    doubt.read_back(run, step, definition, context_of(run, step, definition))
