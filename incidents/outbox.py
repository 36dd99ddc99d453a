"""Carrying the messages of the outbox: claimed by a lease, tried again for a day, the result told once."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from catalog.actors import ENGINE
from catalog.models import Address
from common import clock
from common.errors import DomainError
from common.secrets import decrypt, redact
from incidents import timeline
from incidents.channels import channel_for
from incidents.channels.base import Note, Undelivered
from incidents.models import Message

log = logging.getLogger(__name__)
# Longer than any channel may take (10 s each), so that a lease ends only when its worker is gone.
LEASE = timedelta(seconds=60)
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(hours=24)
# After a minute and a half: from then on the timeline shows that somebody was not reached yet.
TOLD_AFTER_TRIES = 3


def due(limit: int = 100, *, now: datetime | None = None) -> list[int]:
    """Ids of the messages that wait to be sent and that nobody is sending."""
    now = now or clock.now()
    waiting = Message.objects.filter(_free(now), state="pending", due_at__lte=now)
    return list(waiting.order_by("due_at").values_list("pk", flat=True)[:limit])


def deliver(message_id: int, now: datetime | None = None) -> Message | None:
    """Try one message once; None when it is not due or another worker has it. Safe to call any number of times.

    Writes to the timeline once per message that it was delivered, or given up after 24 hours or a permanent refusal;
    and once before, when it could not be delivered for a minute and a half. A worker that
    dies between sending and recording sends it again: at least once, with the same key.
    """
    now = now or clock.now()
    lease = now + LEASE
    claimed = Message.objects.filter(_free(now), pk=message_id, state="pending", due_at__lte=now).update(
        lease_until=lease, attempts=F("attempts") + 1
    )
    if not claimed:
        return None
    message = Message.objects.select_related("incident").get(pk=message_id)
    try:
        _carry(message)
    except Undelivered as error:
        return _settle(message, error=error)
    return _settle(message, error=None)


def end_leases() -> int:
    """Let go of every message, once it is known that no worker lives; how many there were."""
    return Message.objects.filter(state="pending", lease_until__isnull=False).update(lease_until=None)


def wait_before(attempt: int) -> timedelta:
    """How long to wait after a failed attempt: 30 s, 1 min, 2 min … at most 4 h."""
    return min(FIRST_WAIT * (1 << min(attempt - 1, 20)), LONGEST_WAIT)


def _free(now: datetime) -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lte=now)


def _carry(message: Message) -> None:
    address = Address.objects.filter(pk=message.address_id or 0).first()
    if address is None:
        raise Undelivered("The address was removed.", permanent=True)
    thread = message.incident.key if message.incident else ""
    note = Note(message.subject, message.body, message.link, str(message.uuid), thread)
    try:
        url = decrypt(address.url_encrypted).decode()
        channel_for(url).send(url, note)
    except DomainError as error:
        raise Undelivered(error.sentence, permanent=error.status < 500) from error


def _settle(message: Message, *, error: Undelivered | None) -> Message:
    with transaction.atomic():
        now = clock.now()
        result = _result(message, error, now)
        # The lease is the fence: whoever took the message over after ours ended settles it.
        kept = Message.objects.filter(pk=message.pk, state="pending", lease_until=message.lease_until)
        if not kept.update(lease_until=None, **result):
            return Message.objects.get(pk=message.pk)
        message.refresh_from_db()
        _mark_address(message, now)
        if message.incident is not None and (message.state != "pending" or message.attempts == TOLD_AFTER_TRIES):
            _tell_timeline(message)
    if error is not None:
        log.info("a message was not delivered: %s", result["error"], extra={"message_id": message.pk})
    return message


def _result(message: Message, error: Undelivered | None, now: datetime) -> dict[str, object]:
    if error is None:
        return {"state": "sent", "sent_at": now, "error": ""}
    sentence = redact(str(error))[:300]
    again = now + wait_before(message.attempts)
    if error.permanent or again > message.created_at + GIVE_UP_AFTER:
        return {"state": "failed", "error": sentence}
    return {"state": "pending", "error": sentence, "due_at": again}


def _mark_address(message: Message, now: datetime) -> None:
    row = Address.objects.filter(pk=message.address_id or 0)
    if message.state == "sent":
        row.update(last_ok_at=now, last_error="")
    else:
        row.update(last_error=message.error)


def _tell_timeline(message: Message) -> None:
    assert message.incident is not None
    if message.state == "sent":
        text = f"Delivered to {message.recipient}: {message.subject}"
    elif message.state == "pending":
        text = f"Not delivered to {message.recipient} yet, tried again for a day: {message.error}"
    else:
        tries = "one try" if message.attempts == 1 else f"{message.attempts} tries"
        text = f"Could not be delivered to {message.recipient}, given up after {tries}: {message.error}"
    told = {"message": message.pk, "kind": message.kind, "result": message.state, "attempts": message.attempts}
    timeline.record(message.incident, kind="message", actor=ENGINE, text=text, data=told)
