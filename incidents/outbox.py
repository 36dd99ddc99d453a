"""Carrying the messages of the outbox: claimed by a lease, tried again for a day, the result told once.

A message tells of something that has just come to pass. One that is `LATE`, because nobody worked or its channel was
away, may be about what is long over, and dozens of them would wake somebody dozens of times. So they do not go out one
by one: whoever knows what still waits for a person (runbooks/backlog.py) sends that by itself, and all else as one.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from catalog.actors import ENGINE
from catalog.models import Address
from common import clock
from common.errors import DomainError
from common.secrets import decrypt, redact
from incidents import digests, timeline
from incidents.channels import channel_for
from incidents.channels.base import Note, Undelivered
from incidents.models import Incident, Message
from incidents.texts import span

log = logging.getLogger(__name__)
# Longer than any channel may take (10 s each), so that a lease ends only when its worker is gone.
LEASE = timedelta(seconds=60)
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(hours=24)
# What nobody waited for while nobody worked is still tried this often before it is given up, some two hours.
LEAST_TRIES = 8
# After a minute and a half: from then on the timeline shows that somebody was not reached yet.
TOLD_AFTER_TRIES = 3
# What has not been told for so long is told with whatever else was not, unless it still waits for somebody (F28).
LATE = timedelta(minutes=15)
_TOGETHER = uuid.UUID("7b0c5a52-6d3b-4a55-9d59-0d1d6e2f8f10")


def due(limit: int = 100, *, now: datetime | None = None, due_before: datetime | None = None) -> list[int]:
    """Ids of the messages that wait to be sent one by one and that nobody is sending."""
    now = now or clock.now()
    return list(due_in_time(now, due_before or now, now - LATE).order_by("due_at").values_list("pk", flat=True)[:limit])


def late_addresses(now: datetime) -> list[int]:
    """Addresses for which something late is due; whatever else of theirs is late goes with it."""
    rows = due_late(now, now - LATE).order_by()
    return sorted(pk for pk in rows.values_list("address_id", flat=True).distinct() if pk is not None)


def late_for(address_id: int, now: datetime) -> list[Message]:
    """What is late for one address, the oldest first, also what is to be tried again only later."""
    rows = _waiting(now).filter(address_id=address_id, created_at__lte=now - LATE)
    return list(rows.select_related("incident__service").order_by("created_at", "pk"))


def deliver(message_id: int, now: datetime | None = None, *, late: bool = False) -> Message | None:
    """Try one message once; None when it is not due or another worker has it. Safe to call any number of times.

    Also None for one that is late, unless `late` says that it is to go by itself: the hint for it may have lain in the
    broker for as long as no worker lived.

    Writes to the timeline once per message that it was delivered, or given up after 24 hours or a permanent refusal;
    and once before, when it could not be delivered for a minute and a half. A worker that
    dies between sending and recording sends it again: at least once, with the same key.
    """
    now = now or clock.now()
    rows = Message.objects.filter(pk=message_id, due_at__lte=now)
    claimed = _claim(rows if late else rows.filter(created_at__gt=now - LATE), now)
    if not claimed:
        return None
    (message,) = claimed
    thread = message.incident.key if message.incident else ""
    note = Note(message.subject, message.body, message.link, str(message.uuid), thread)
    _settle(claimed, error=_carry(message.address_id, note))
    return message


def deliver_together(messages: Sequence[Message], now: datetime) -> list[Message]:
    """Try messages to one address as a single one that says how things stand; gives those that nobody else has.

    Each stays a message of its own, with its own tries and its own end on the timeline of its incident.
    """
    claimed = _claim(Message.objects.filter(pk__in=[message.pk for message in messages]), now)
    if not claimed:
        return []
    # The same messages have the same key, so that one sent twice can be known by it.
    key = uuid.uuid5(_TOGETHER, " ".join(sorted(str(message.uuid) for message in claimed)))
    note = digests.note(claimed, key=str(key), now=now)
    return _settle(claimed, error=_carry(claimed[0].address_id, note))


def how(message: Message, *, others: int) -> str:
    """How late a message was sent and with how many others; empty when it went by itself and in time."""
    assert message.sent_at is not None, "asked of what was sent"
    parts = [f"{span(message.sent_at - message.created_at)} late"] if is_late(message, message.sent_at) else []
    if others > 0:
        parts.append(f"in one message with {others} other{'s' if others > 1 else ''}")
    return ", ".join(parts)


def is_late(message: Message, at: datetime) -> bool:
    """Whether what it tells had waited long, at a moment."""
    return at - message.created_at >= LATE


def sent_with(messages: Sequence[Message]) -> dict[int, int]:
    """Of how many messages that one consisted by which each of these was sent."""
    late = [message for message in messages if message.sent_at is not None and is_late(message, message.sent_at)]
    if not late:
        return {}
    # What was sent as one was settled as one, so it has one time to the microsecond.
    rows = Message.objects.filter(
        address_id__in={message.address_id for message in late}, sent_at__in={message.sent_at for message in late}
    )
    counts = Counter(rows.values_list("address_id", "sent_at"))
    return {message.pk: counts[message.address_id, message.sent_at] for message in late}


def end_leases() -> int:
    """Let go of every message, once it is known that no worker lives; how many there were."""
    return Message.objects.filter(state="pending", lease_until__isnull=False).update(lease_until=None)


def wait_before(attempt: int) -> timedelta:
    """How long to wait after a failed attempt: 30 s, 1 min, 2 min … at most 4 h."""
    return min(FIRST_WAIT * (1 << min(attempt - 1, 20)), LONGEST_WAIT)


def _free(now: datetime) -> Q:
    return Q(state="pending") & (Q(lease_until__isnull=True) | Q(lease_until__lte=now))


def due_in_time(now: datetime, due_before: datetime, late_before: datetime) -> QuerySet[Message]:
    """Messages that wait to be sent one by one and that nobody is sending."""
    return _waiting(now).filter(due_at__lte=due_before, created_at__gt=late_before)


def due_late(now: datetime, late_before: datetime) -> QuerySet[Message]:
    """Those that are due and late."""
    return _waiting(now).filter(due_at__lte=now, created_at__lte=late_before)


def _waiting(now: datetime) -> QuerySet[Message]:
    return Message.objects.filter(_free(now))


def _claim(rows: QuerySet[Message], now: datetime) -> list[Message]:
    """Take those of the rows that nobody has, the oldest first; which ones they are shows their lease."""
    lease = now + LEASE
    ids = list(rows.order_by().values_list("pk", flat=True))
    if not _waiting(now).filter(pk__in=ids).update(lease_until=lease, attempts=F("attempts") + 1):
        return []
    taken = Message.objects.filter(pk__in=ids, state="pending", lease_until=lease)
    return list(taken.select_related("incident__service").order_by("created_at", "pk"))


def _carry(address_id: int | None, note: Note) -> Undelivered | None:
    """Send it; gives why it was not delivered."""
    address = Address.objects.filter(pk=address_id or 0).first()
    if address is None:
        return Undelivered("The address was removed.", permanent=True)
    try:
        url = decrypt(address.url_encrypted).decode()
        channel_for(url).send(url, note)
    except DomainError as error:
        return Undelivered(error.sentence, permanent=error.status < 500)
    except Undelivered as error:
        return error
    return None


def _settle(carried: list[Message], *, error: Undelivered | None) -> list[Message]:
    """Write down what became of what was carried as one; refreshes the messages."""
    with transaction.atomic():
        now = clock.now()
        ours = []
        for message in carried:
            # The lease is the fence: whoever took the message over after ours ended settles it.
            kept = Message.objects.filter(pk=message.pk, state="pending", lease_until=message.lease_until)
            if kept.update(lease_until=None, **_result(message, error, now)):
                ours.append(message)
            message.refresh_from_db(fields=["state", "attempts", "due_at", "lease_until", "sent_at", "error"])
        if ours:
            _mark_address(ours[0], now)
        _tell_timelines(ours, of=len(carried))
    if error is not None:
        log.info("%d messages were not delivered: %s", len(carried), error, extra={"message_id": carried[0].pk})
    return carried


def _result(message: Message, error: Undelivered | None, now: datetime) -> dict[str, Any]:
    if error is None:
        return {"state": "sent", "sent_at": now, "error": ""}
    sentence = redact(str(error))[:300]
    again = now + wait_before(message.attempts)
    tried_out = again > message.created_at + GIVE_UP_AFTER and message.attempts >= LEAST_TRIES
    if error.permanent or tried_out:
        return {"state": "failed", "error": sentence}
    return {"state": "pending", "error": sentence, "due_at": again}


def _mark_address(message: Message, now: datetime) -> None:
    row = Address.objects.filter(pk=message.address_id or 0)
    if message.state == "sent":
        row.update(last_ok_at=now, last_error="")
    else:
        row.update(last_error=message.error)


def _tell_timelines(ours: list[Message], *, of: int) -> None:
    """Each incident hears once what became of its messages in what was carried."""
    by_incident: dict[int, tuple[Incident, list[Message]]] = {}
    for message in ours:
        is_told = message.state != "pending" or message.attempts == TOLD_AFTER_TRIES
        if message.incident is not None and is_told:
            by_incident.setdefault(message.incident.pk, (message.incident, []))[1].append(message)
    # In one order, so that two who lock several incidents never wait for each other.
    for _, (incident, mine) in sorted(by_incident.items()):
        for state in dict.fromkeys(message.state for message in mine):
            _tell_timeline(incident, [message for message in mine if message.state == state], of=of)


def _tell_timeline(incident: Incident, alike: list[Message], *, of: int) -> None:
    last = alike[-1]
    subjects = "; ".join(message.subject for message in alike)
    if last.state == "sent":
        did = how(alike[0], others=of - len(alike))
        text = f"Delivered to {last.recipient}{f', {did}' if did else ''}: {subjects}"
    elif last.state == "pending":
        text = f"Not delivered to {last.recipient} yet, tried again for a day: {last.error}"
    else:
        tries = "one try" if last.attempts == 1 else f"{last.attempts} tries"
        text = f"Could not be delivered to {last.recipient}, given up after {tries}: {last.error}"
    told: dict[str, Any] = {"message": last.pk, "kind": last.kind, "result": last.state, "attempts": last.attempts}
    if of > 1:
        told |= {"messages": [message.pk for message in alike], "together": of}
    timeline.record(incident, kind="message", actor=ENGINE, text=text, data=told)
