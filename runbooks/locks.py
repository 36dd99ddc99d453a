"""One change at a time: a lock is a row whose holder has not ended; the longest waiting step takes it next."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from catalog.actors import ENGINE, Actor
from runbooks import transitions
from runbooks.models import AT_WORK_STATES, Lock, Run, StepRun


def _waiting() -> QuerySet[StepRun]:
    return StepRun.objects.filter(state="blocked", blocked_on="lock", run__state__in=AT_WORK_STATES)


def line_up(
    run: Run,
    step: StepRun,
    *,
    was: tuple[str, ...],
    now: datetime,
    transition: str,
    actor: Actor = ENGINE,
    **changes: Any,
) -> bool:
    """Let a step wait for its lock, last in line, and take it at once if it is free. False when it was not ours."""
    changes |= {"state": "blocked", "blocked_on": "lock", "lock_asked_at": now, "due_at": None, "lease_until": None}
    name = changes.get("lock_name", step.lock_name)
    if not transitions.go(run, step, transition, was=was, now=now, actor=actor, text=name, **changes):
        return False
    take(run, step, now=now)
    return True


def take(run: Run, step: StepRun, *, now: datetime) -> bool:
    """S7: give a waiting step its lock and put it before the workers; False when another holds it or waits longer.

    A run that is paused starts nothing, so it takes no lock and nobody waits behind it. In one that is stopping only
    what takes an action back still waits.
    """
    waiting = _waiting().filter(lock_name=step.lock_name)
    if run.state not in AT_WORK_STATES or waiting.filter(lock_asked_at__lt=step.lock_asked_at).exists():
        return False
    try:
        with transaction.atomic():
            Lock.objects.create(name=step.lock_name, step_run=step, taken_at=now)
    except IntegrityError:
        return False
    if not transitions.go_ready(run, step, "S7", was=("blocked",), now=now, text=step.lock_name):
        Lock.objects.filter(step_run=step).delete()
        return False
    return True


def holds(step: StepRun) -> bool:
    """Whether the step has its lock, or needs none."""
    return not step.lock_name or Lock.objects.filter(step_run=step).exists()


def release(step: StepRun) -> None:
    """Let go of whatever the step holds; releasing twice is harmless."""
    if step.lock_name:
        Lock.objects.filter(step_run=step).delete()


def drop_orphans() -> int:
    """Delete locks whose holder has ended, so that no crash can leak one."""
    # From the few locks to their steps: asked the other way round, SQLite reads every step there ever was.
    held = Lock.objects.values_list("pk", "step_run__state")
    deleted, _ = Lock.objects.filter(pk__in=[pk for pk, state in held if state in ("settled", "cancelled")]).delete()
    return deleted


def waiting_for_free(*_: Any) -> QuerySet[StepRun]:
    """Steps that wait for a lock that nobody holds."""
    return _waiting().exclude(lock_name__in=Lock.objects.values("name"))


def next_waiting() -> list[int]:
    """The longest waiting step of every free lock, by its id."""
    first: dict[str, int] = {}
    waiting = waiting_for_free().order_by("lock_asked_at", "pk")
    for name, pk in waiting.values_list("lock_name", "pk")[:200]:
        first.setdefault(name, pk)
    return list(first.values())
