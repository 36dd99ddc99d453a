"""What a database that was restored from a copy must not do by itself: the world went on after the copy was made.

An action that the copy sees before it, or in the middle of it, may long have been applied; a message that it sees
waiting may long have been read. So everything that would act asks a person first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from catalog.actors import ENGINE
from common import clock
from incidents.models import Delivery, Message
from runbooks import ledger, opening, reading, runs, transitions
from runbooks.actions import ACTIONS
from runbooks.models import OPEN_RUN_STATES, Effect, Lock, Run, StepRun, Worker

_SINCE = "The database was restored from a copy"
_BEFORE_SENDING = ("ready", "leased", "sleeping", "blocked")
# A table that says by being there: this database may have been replaced, and nothing in it was put in doubt yet. Made
# before the copy goes live, dropped in the transaction that puts in doubt; no process serves or works meanwhile.
MARK = "unfinished_restore"
MAKE_MARK = f"CREATE TABLE IF NOT EXISTS {MARK} (since text)"


@dataclass(frozen=True)
class Doubt:
    """How many of each now wait for a person."""

    actions: int
    runs: int
    deliveries: int
    messages: int

    def __str__(self) -> str:
        return (
            f"{self.actions} actions that were under way ask a person what became of them; {self.runs} runs are paused "
            f"until somebody resumes them; {self.deliveries} deliveries can be replayed; {self.messages} messages were "
            "not sent."
        )


def unfinished() -> bool:
    """Whether a restore was begun and not brought to its end: nothing may serve or work on this database."""
    return MARK in connection.introspection.table_names()


def mark() -> None:
    """Note, committed, that a restore begins."""
    with connection.cursor() as cursor:
        cursor.execute(MAKE_MARK)


def unmark() -> None:
    """Nothing was replaced, or all of it is in doubt now."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {MARK}")


@transaction.atomic
def finish() -> Doubt | None:
    """Bring a restore to its end, also one that was cut off: all in doubt and no mark, or nothing at all.

    None when there is none to finish. The tables must be those of this release (`prepare.migrate`).
    """
    if not unfinished():
        return None
    doubt = put_in_doubt()
    unmark()
    return doubt


@transaction.atomic
def put_in_doubt() -> Doubt:
    """Make everything that was under way ask a person; told on the timeline of each run's incident.

    Actions due or sent become `unknown`, active runs pause, waiting deliveries and messages are set aside (replayable,
    and shown as not delivered), leases and the locks of others end, and no worker counts as alive.
    """
    now = clock.now()
    # First, so that the messages which this itself causes go out.
    messages = _set_messages_aside()
    open_steps = StepRun.objects.filter(state__in=_BEFORE_SENDING, run__state__in=OPEN_RUN_STATES)
    due = Q(kind="action", stage="apply") & ~Q(blocked_on="human")
    under_way = open_steps.filter(due | Q(effects__state__in=("intended", "sent"))).distinct()
    steps = list(under_way.order_by("pk").values_list("pk", flat=True))
    for pk in steps:
        _doubt(pk, now)
    # Of steps that have ended or are in doubt already.
    Effect.objects.filter(state__in=("intended", "sent")).update(state="unknown", ended_at=now)
    active = list(Run.objects.filter(state="active").order_by("pk"))
    for run in active:
        runs.pause(run, actor=ENGINE, reason=f"{_SINCE}; look at what happened since, then resume or cancel it")
    StepRun.objects.filter(state="leased").update(lease_until=now)
    Lock.objects.exclude(step_run__state="unknown").delete()
    Worker.objects.all().delete()
    return Doubt(actions=len(steps), runs=len(active), deliveries=_set_deliveries_aside(now), messages=messages)


def _doubt(pk: int, now: datetime) -> None:
    """S14 for an action that the copy sees before its end, whatever its class: a repeat may be wrong by now."""
    run = transitions.lock_run_of(pk)
    step = StepRun.objects.get(pk=pk)
    # Of an action that this release does not have, nothing is known: the class whose repeat does most harm.
    known = step.provider in ACTIONS
    # Also where nothing was intended yet: the person's answer is about this row.
    Effect.objects.get_or_create(
        key=ledger.key_of(run, step),
        defaults={
            "step_run": step,
            "provider": step.provider,
            "effect_class": ACTIONS.get(step.provider).effect_class if known else "once",
            "generation": step.generation,
            "params": step.params,
            "params_digest": "",
            "state": "unknown",
            "intended_at": now,
        },
    )
    summary = f"This may have been done: {step.name}. {_SINCE} that was made before its end."
    changes: dict[str, Any] = {"state": "unknown", "blocked_on": "", "lease_until": None, "worker": "", "due_at": None}
    changes |= {"reason": "effect_unknown", "summary": summary}
    if transitions.go(run, step, "S14", was=_BEFORE_SENDING, now=now, text=_SINCE, **changes):
        transitions.note(run, kind="engine", text=summary, pinned=True, data={"step": step.step})
        opening.tell_waiting(run, step, asked=[reading.spec_of(run).owner], due=run.deadline_at, now=now)


def _set_deliveries_aside(now: datetime) -> int:
    """They were acknowledged and stay replayable; starting runs for alerts of long ago is a person's choice."""
    return Delivery.objects.filter(status="received").update(
        status="rejected",
        kind="error",
        reason=f"{_SINCE} in which this was not processed yet. Replay it if it still matters.",
        processed_at=now,
        lease_until=None,
    )


def _set_messages_aside() -> int:
    return Message.objects.filter(state="pending").update(
        state="failed", error=f"{_SINCE} that was made before this was sent; it may have arrived.", lease_until=None
    )
