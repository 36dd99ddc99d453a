"""What every worker process does each second: wake what is ready, recover what was lost, ring what is due.

Any number of tickers may run; each claim is conditional. One row's failure is noted and does not stop the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction

from catalog.actors import ENGINE
from common import background, clock
from evaluations import jobs
from incidents import intake, notices, outbox
from runbooks import approvals, effects, engine, execution, leases, locks, reading, stopping, transitions, trigger
from runbooks.models import OPEN_RUN_STATES, ApprovalRequest, Attempt, Run, StepRun, Worker

log = logging.getLogger(__name__)
BATCH = 200
REPUBLISH = timedelta(seconds=15)
AUDIT_EVERY = timedelta(seconds=30)
_audited_at: datetime | None = None


def tick(worker: str, queues: tuple[str, ...] = ("engine", "checks", "actions")) -> None:
    """One round; raises DatabaseError only when the database itself is away."""
    now = clock.now()
    Worker.objects.update_or_create(
        name=worker,
        defaults={"ticked_at": now, "queues": list(queues)},
        create_defaults={"ticked_at": now, "queues": list(queues), "started_at": now},
    )
    _publish_ready(now)
    _each("expired lease", _expired(now), _recover)
    _each("due timer", _due(now), _ring)
    for request in ApprovalRequest.objects.filter(state="open", half_told=False).select_related("step_run__run")[
        :BATCH
    ]:
        if now >= request.requested_at + (request.due_at - request.requested_at) / 2:
            approvals.tell_half(request, now=now)
    _each("deadline", list(_past_deadline(now)), _expire_run)
    _each("free lock", [pk for _, pk in locks.next_waiting()], _take_lock)
    # One is enough: whoever receives it takes along what waits beside it.
    for delivery_id in intake.due(1):
        background.hint("runbooks.receive", "engine", delivery_id)
    for message_id in outbox.due(limit=BATCH, now=now):
        background.hint("incidents.deliver", "engine", message_id)
    jobs.resume_lost(now)
    _audit(now)


def run_pending(worker: str, queues: tuple[str, ...], older_than: float) -> int:
    """Without the broker: do what has waited longer than `older_than` seconds in this thread; how much was done."""
    now = clock.now()
    limit = now - timedelta(seconds=older_than)
    done = 0
    if "engine" in queues:
        for pk in intake.due(50, received_before=limit):
            trigger.receive(pk)
            done += 1
        for pk in outbox.due(limit=50, now=limit):
            outbox.deliver(pk)
            done += 1
    if "checks" in queues:
        for pk in jobs.due(now, asked_before=limit):
            jobs.work(pk)
            done += 1
    ready = StepRun.objects.filter(state="ready", ready_at__lt=limit, queue__in=queues).order_by("ready_at")
    for pk in list(ready.values_list("pk", flat=True)[:20]):
        execution.execute(pk, worker)
        done += 1
    return done


def _publish_ready(now: datetime) -> None:
    """Rows in `ready` are the outbox: a lost hint is sent again."""
    stale = StepRun.objects.filter(state="ready", published_at__lt=now - REPUBLISH).order_by("published_at")[:BATCH]
    for step in list(stale):
        StepRun.objects.filter(pk=step.pk, state="ready").update(published_at=now)
        background.hint("runbooks.execute", step.queue, step.pk)


def _expired(now: datetime) -> list[int]:
    rows = StepRun.objects.filter(state="leased", lease_until__lt=now).order_by("lease_until")
    return list(rows.values_list("pk", flat=True)[:BATCH])


def _due(now: datetime) -> list[int]:
    rows = StepRun.objects.filter(state__in=["sleeping", "blocked"], due_at__lte=now).order_by("due_at")
    return list(rows.values_list("pk", flat=True)[:BATCH])


def _past_deadline(now: datetime) -> list[int]:
    rows = Run.objects.filter(state__in=["queued", "active", "paused"], deadline_at__lte=now).order_by("deadline_at")
    return list(rows.values_list("pk", flat=True)[:BATCH])


def _each(what: str, ids: list[int], act: Callable[[int, datetime], None]) -> None:
    """Each row in its own transaction; a failure is logged with the row and seen again at the next tick."""
    for pk in ids:
        try:
            with transaction.atomic():
                act(pk, clock.now())
        except DatabaseError:
            raise
        except Exception:
            log.exception("%s of row %s failed", what, pk)


def _locked(pk: int) -> tuple[Run, StepRun]:
    run = transitions.lock_run(StepRun.objects.values_list("run_id", flat=True).get(pk=pk))
    return run, StepRun.objects.get(pk=pk)


def _recover(pk: int, now: datetime) -> None:
    """S12 to S14, S20: the worker of this step is gone."""
    run, step = _locked(pk)
    if step.state != "leased" or step.lease_until is None or step.lease_until >= now:
        return
    if step.kind == "action" and step.stage == "apply":
        if run.state == "stopping":
            _recover_while_stopping(run, step, now)
        else:
            effects.recover(run, step, now=now)
        return
    Attempt.objects.filter(step_run=step, fence=step.fence, outcome="running").update(outcome="lost", ended_at=now)
    definition = reading.step_of(run, step)
    if run.state == "stopping":
        engine.move_on(run, now=now)
    elif step.attempts < definition.attempts:
        if transitions.make_ready(step, was=("leased",), now=now):
            transitions.event(run, "S12", now=now, state="ready", step=step, text="its worker was lost")
            transitions.note(
                run, kind="engine", text=f"{step.name} resumed at {now:%H:%M:%S} UTC after its worker was lost."
            )
    else:
        engine.settle(
            run,
            step,
            was=("leased",),
            verdict="error",
            reason="worker_lost",
            summary=f"Its worker was lost {step.attempts} times.",
            now=now,
            transition="S12",
        )
        engine.move_on(run, now=now)


def _recover_while_stopping(run: Run, step: StepRun, now: datetime) -> None:
    """A sent action whose worker died while the run was stopping: repeatable ones may finish, others are in doubt."""
    effects.recover(run, step, now=now)
    if StepRun.objects.get(pk=step.pk).state == "unknown":
        engine.move_on(run, now=now)


def _ring(pk: int, now: datetime) -> None:
    """S11 and the timeouts of people: a timer has come."""
    run, step = _locked(pk)
    if step.due_at is None or step.due_at > now or run.state == "paused":
        return
    if step.state == "sleeping" and step.kind == "wait":
        engine.settle(
            run, step, was=("sleeping",), verdict="pass", summary="The time is over.", now=now, transition="S11"
        )
        engine.move_on(run, now=now)
    elif step.state == "sleeping":
        if transitions.make_ready(step, was=("sleeping",), now=now):
            transitions.event(run, "S11", now=now, state="ready", step=step)
    elif step.blocked_on == "approval":
        approvals.expire(run, step, now=now)
    elif step.blocked_on == "human":
        engine.settle(
            run,
            step,
            was=("blocked",),
            verdict="inconclusive",
            reason="timeout",
            summary="Nobody answered in time.",
            now=now,
        )
        engine.move_on(run, now=now)


def _expire_run(pk: int, now: datetime) -> None:
    """The deadline is over: the run is stopped, and its owner told."""
    run = transitions.lock_run(pk)
    stopping.begin(run, reason="its deadline passed", now=now, ends="expired")
    engine.move_on(run, now=now)


def _take_lock(pk: int, now: datetime) -> None:
    run, step = _locked(pk)
    if step.state == "blocked" and step.blocked_on == "lock" and run.state == "active":
        locks.take(run, step, now=now)


def _audit(now: datetime) -> None:
    """Every 30 s: no lock without a holder at work, and no active run that nothing will ever move (A1, A4)."""
    global _audited_at
    if _audited_at is not None and now - _audited_at < AUDIT_EVERY:
        return
    _audited_at = now
    locks.drop_orphans()
    for run_id in wedged():
        engine.advance(run_id)
        if run_id in wedged():
            _alarm(run_id, now)


def wedged() -> list[int]:
    """Active runs without any step at work or waiting."""
    alive = StepRun.objects.filter(state__in=["ready", "leased", "sleeping", "blocked", "unknown"]).values("run_id")
    return list(
        Run.objects.filter(state__in=["active", "stopping"]).exclude(pk__in=alive).values_list("pk", flat=True)[:BATCH]
    )


def _alarm(run_id: int, now: datetime) -> None:
    run = Run.objects.select_related("team", "incident", "runbook").get(pk=run_id)
    notices.tell(
        team=run.team,
        kind="engine_down",
        key=f"wedged:{run.uuid}",
        subject=f"A run of {run.runbook.slug} is wedged: nothing will move it",
        body="No step of it is at work, waiting or due. Please cancel it and report this.",
        link=f"/runs/{run.uuid}",
        incident=run.incident,
        actor=ENGINE,
    )


def health(now: datetime) -> dict[str, Any]:
    """What a health page shows: the age of the last tick, the oldest ready row, and the auditor's counts."""
    last = Worker.objects.order_by("-ticked_at").first()
    ready = StepRun.objects.filter(state="ready").order_by("ready_at").values_list("ready_at", flat=True).first()
    return {
        "tick_age_seconds": (now - last.ticked_at).total_seconds() if last else None,
        "workers": Worker.objects.filter(ticked_at__gt=now - timedelta(seconds=15)).count(),
        "oldest_ready_seconds": (now - ready).total_seconds() if ready else 0.0,
        "leases_overdue": StepRun.objects.filter(state="leased", lease_until__lt=now - leases.until()).count(),
        "approvals_overdue": ApprovalRequest.objects.filter(state="open", due_at__lt=now).count(),
        "deliveries_waiting": len(intake.due(BATCH, received_before=now - timedelta(seconds=10))),
        "runs_open": Run.objects.filter(state__in=OPEN_RUN_STATES).count(),
        "wedged": len(wedged()),
    }
