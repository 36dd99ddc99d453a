"""Telling what nobody could be told for a quarter of an hour or more: nobody worked, or a channel was away (F28).

What still waits for somebody goes out at once and by itself: a request that is open, a step that asks, a SEV1 that goes
on and that nobody has acknowledged. All else goes as one message to each address, after what came in meanwhile was
read, so that it belongs to it too and says how things stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from common import clock
from incidents import digests, notices, outbox
from incidents.digests import ASKS
from incidents.models import Delivery, Message
from runbooks.models import OPEN_RUN_STATES, ApprovalRequest, Run, StepRun

# A worker that comes back finds what ran out meanwhile row by row; nothing new for so long, and it has found all.
SETTLES = timedelta(seconds=10)
_UUID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_APPROVAL = re.compile(rf"/approvals/{_UUID}$")
_RUN = re.compile(rf"/runs/{_UUID}(?:#step-(\w+))?$")


@dataclass(frozen=True)
class Ask:
    """A message on which somebody can still act: until when, where that is bounded."""

    message: Message
    until: datetime | None = None


def carry(address_id: int, *, now: datetime | None = None, anybody_reads: bool = True) -> int:
    """Carry what is late for one address; how many messages were tried. Safe to call any number of times.

    `anybody_reads` says that a worker of the queue `engine` lives: then what came in meanwhile is waited for.
    """
    now = now or clock.now()
    late = outbox.late_for(address_id, now)
    asks = [ask for message in late if (ask := _ask(message, now))]
    tried = sum(_by_itself(ask, now) for ask in asks)
    alone = {ask.message.pk for ask in asks}
    rest = [message for message in late if message.pk not in alone]
    comes_more = any(message.attempts == 0 and message.due_at > now - SETTLES for message in rest)
    if any(message.due_at <= now for message in rest) and not (comes_more or (anybody_reads and _is_unread(now))):
        tried += len(outbox.deliver_together(rest, now))
    return tried


def carry_all(now: datetime, *, anybody_reads: bool = True) -> int:
    """The same for every address; how many messages were tried."""
    return sum(carry(address_id, now=now, anybody_reads=anybody_reads) for address_id in outbox.late_addresses(now))


def _by_itself(ask: Ask, now: datetime) -> bool:
    """The lock screen must not promise the time that was left when it was written."""
    if ask.until is not None:
        subject = notices.with_time_left(ask.message.subject, ask.until - now)
        Message.objects.filter(pk=ask.message.pk, state="pending").update(subject=subject)
    return outbox.deliver(ask.message.pk, now, late=True) is not None


def _is_unread(now: datetime) -> bool:
    return Delivery.objects.filter(status="received", received_at__lte=now - outbox.LATE).exists()


def _ask(message: Message, now: datetime) -> Ask | None:
    """What somebody still has to act on; None where that is over, or a later message to the same address says it."""
    if message.kind == "opened" and message.incident is not None:
        grave = message.incident.severity == 1 and message.incident.state == "open"
        return Ask(message) if grave and not digests.quiet([message.incident.pk]) else None
    if message.kind not in ASKS:
        return None
    if Message.objects.filter(
        address_id=message.address_id, link=message.link, kind__in=ASKS, pk__gt=message.pk
    ).exists():
        return None
    if asked := _APPROVAL.search(message.link):
        request = ApprovalRequest.objects.filter(uuid=asked[1], state="open", due_at__gt=now).first()
        return Ask(message, request.due_at) if request else None
    if asked := _RUN.search(message.link):
        return _run_asks(message, asked[1], asked[2], now)
    return None


def _run_asks(message: Message, run_uuid: str, name: str | None, now: datetime) -> Ask | None:
    """Whether a run, or a step of it, waits for a person still."""
    run = Run.objects.filter(uuid=run_uuid, state__in=OPEN_RUN_STATES, deadline_at__gt=now).first()
    if run is None:
        return None
    if name is None:
        return Ask(message)
    asks = Q(state="blocked", blocked_on__in=["human", "ask"]) | Q(state="unknown")
    in_time = Q(due_at__isnull=True) | Q(due_at__gt=now)
    step = StepRun.objects.filter(asks, in_time, run=run, step=name).order_by("due_at").first()
    return Ask(message, step.due_at or run.deadline_at) if step else None
