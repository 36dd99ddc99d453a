"""Deliveries: bytes stored before anything else is done with them, then read, then finished or rejected.

Taking a delivery in needs the database and nothing else. What it says is read later, by a worker, as often as it takes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common import clock, statements
from common.errors import Conflict
from common.faults import crashpoint
from common.secrets import MASK, SECRET_HEADERS, decrypt, encrypt, redact, redact_json
from common.statements import Written
from incidents import bounds
from incidents.bodies import read_json
from incidents.endpoints import token_of
from incidents.models import Alert, Delivery, Endpoint
from incidents.sources import SOURCES
from incidents.sources.base import AlertNotice, Reading

log = logging.getLogger(__name__)
# A body that comes again within this time is the sender's retry (design decision 19).
SAME_BODY = timedelta(minutes=10)
# After so many tries a delivery is rejected as `internal`, visible and replayable.
ATTEMPTS = 3
# How long a worker holds a delivery: a second is usual. Five thousand alerts in 5 MiB take longer, a minute at worst.
LEASE = timedelta(seconds=10)
_BYTES_A_SECOND = 50_000
# So many deliveries, and so many bytes of them, are read together.
TOGETHER = 50
TOGETHER_BYTES = 500_000
_HEADERS, _HEADER_BYTES = 64, 1024
_SECRET_HEADER = re.compile(r"token|secret|api-?key|password|signature|credential")


def accept(endpoint: Endpoint, *, body: bytes, headers: dict[str, str], content_type: str) -> tuple[Delivery, bool]:
    """Store one delivery, committed when this returns; the flag says that it was here before and nothing was added.

    A duplicate has the sender's event id of an earlier delivery or, from senders without ids, the bytes of one of the
    last ten minutes. The latter is taken for news after all when what it says has changed since: firing, resolved and
    firing again may be the same bytes. Must be called outside any transaction: the commit is what the sender is told.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    event_id = _event_id(SOURCES.get(endpoint.source).event_id(lowered, body))
    sha256 = hashlib.sha256(body).hexdigest()
    now = clock.now()
    row = Delivery(
        endpoint=endpoint,
        received_at=now,
        event_id=event_id,
        body_sha256=sha256,
        body_encrypted=encrypt(body),
        size=len(body),
        content_type=_plain(content_type)[:100],
        headers=_redacted_headers(lowered),
    )
    try:
        with transaction.atomic(durable=True):
            _lock_body(endpoint, sha256)
            earlier = _earlier(endpoint, event_id=event_id, sha256=sha256, now=now)
            if earlier is not None:
                return earlier, True
            statements.insert(row)
            crashpoint("W2")
    except IntegrityError:
        # Two senders' retries with one event id at the same moment: the unique index let the other one through.
        twin = Delivery.objects.filter(endpoint=endpoint, event_id=event_id, replay_of=None).first()
        if not event_id or twin is None:
            raise
        return twin, True
    return row, False


def _lock_body(endpoint: Endpoint, sha256: str) -> None:
    # SQLite's transactions are serial anyway. On PostgreSQL two equal bodies at once would not see each other.
    if connection.vendor == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"{endpoint.pk}:{sha256}".encode()).digest()[:8], "big", signed=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])


# By hand, like incidents.endpoints.by_token: every webhook asks.
_SAME_EVENT = """SELECT id FROM incidents_delivery
    WHERE endpoint_id = %s AND replay_of IS NULL AND event_id = %s ORDER BY id LIMIT 1"""
_SAME_BODY = """SELECT id FROM incidents_delivery
    WHERE endpoint_id = %s AND replay_of IS NULL AND body_sha256 = %s AND received_at > %s ORDER BY id DESC LIMIT 1"""


def _earlier(endpoint: Endpoint, *, event_id: str, sha256: str, now: datetime) -> Delivery | None:
    # Nearly always there is none.
    with connection.cursor() as cursor:
        if event_id:
            cursor.execute(_SAME_EVENT, [endpoint.pk, event_id])
        else:
            cursor.execute(_SAME_BODY, [endpoint.pk, sha256, connection.ops.adapt_datetimefield_value(now - SAME_BODY)])
        found = cursor.fetchone()
    same = Delivery.objects.defer("body_encrypted").filter(pk=found[0]).first() if found else None
    if event_id or same is None or not Delivery.objects.filter(endpoint=endpoint, id__gt=same.pk).exists():
        return same
    return None if _overtaken(same) else same


def _overtaken(same: Delivery) -> bool:
    if same.status == "received" or len(same.alerts) > 500:
        return True
    said = {str(item["dedup_key"]): str(item["status"]) for item in same.alerts}
    rows = Alert.objects.filter(endpoint_id=same.endpoint_id, dedup_key__in=said).values_list("dedup_key", "status")
    return any(status != said[key] for key, status in rows)


def read_delivery(delivery: Delivery) -> Reading:
    """What a delivery says, in our words and within our limits. Raises Unparsed or NotOfThisSource with a sentence."""
    payload, notes = read_json(decrypt(delivery.body_encrypted))
    source = SOURCES.get(delivery.endpoint.source)
    reading = source.read(payload, delivery.headers, delivery.endpoint.config, delivery.received_at)
    return bounds.bound(
        Reading(
            kind=reading.kind,
            alerts=reading.alerts,
            changes=reading.changes,
            notes=[*notes, *reading.notes],
            reason=reading.reason,
        ),
        received_at=delivery.received_at,
    )


def unfinished(now: datetime) -> QuerySet[Delivery]:
    """Deliveries that nobody works on: the queue of record."""
    return Delivery.objects.filter(status="received").filter(Q(lease_until=None) | Q(lease_until__lt=now))


def _with_endpoint() -> QuerySet[Delivery]:
    return Delivery.objects.select_related("endpoint__team", "endpoint__service")


def _untried() -> QuerySet[Delivery]:
    return Delivery.objects.filter(status="received", lease_until=None, attempts=0).order_by("id")


_waits = Written(lambda: _untried().values_list("pk")[:1])
_free = Written(lambda: _untried().select_for_update(skip_locked=True).values_list("id", "size")[:TOGETHER])
_whole = Written(lambda pk: _with_endpoint().filter(pk=pk))
_came_at = Written(lambda pk: Delivery.objects.filter(pk=pk).values_list("received_at", flat=True))


def came_at(delivery_id: int | None) -> datetime | None:
    """When a delivery came in; None for none, and for one whose time to be kept is over."""
    return _came_at.first(delivery_id or 0)


def claim(delivery_id: int) -> Delivery | None:
    """Take an unfinished delivery, counting the attempt; None when it is done, given up or in another's hands."""
    now = clock.now()
    taken = unfinished(now).filter(pk=delivery_id).update(lease_until=now + LEASE, attempts=F("attempts") + 1)
    if not taken:
        return None
    delivery = _whole(delivery_id)[0]
    if delivery.attempts > ATTEMPTS:
        # Whoever took it before came to no end, not even to a failure: it kills its workers.
        reject(delivery, "internal")
        return None
    if delivery.size > _BYTES_A_SECOND:
        delivery.lease_until = now + LEASE + timedelta(seconds=delivery.size // _BYTES_A_SECOND)
        delivery.save(update_fields=["lease_until"])
    return delivery


def claim_waiting() -> list[Delivery]:
    """Take what waits and was never tried, oldest first, as much as is soon done together.

    What was tried before goes alone, by `claim`: it must not take others down with it.
    """
    # A look is cheap, and spares SQLite a transaction that writes.
    if connection.vendor == "sqlite" and _waits.first() is None:
        return []
    now = clock.now()
    ids: list[int] = []
    total = 0
    with transaction.atomic():
        for pk, size in _free():
            total += size
            if ids and total > TOGETHER_BYTES:
                break
            ids.append(pk)
        lease = LEASE + timedelta(seconds=total // _BYTES_A_SECOND)
        if ids:
            statements.update(Delivery, {"lease_until": now + lease, "attempts": 1}, pk=tuple(ids))
    # Usually it is one.
    return _whole(ids[0]) if len(ids) == 1 else list(_with_endpoint().filter(pk__in=ids).order_by("id"))


def put_back(delivery: Delivery) -> None:
    """Give a delivery up for somebody to take at once, as if it had not been tried; while the database is away, later.

    Only a courtesy: without it the lease ends by itself.
    """
    with contextlib.suppress(DatabaseError):
        Delivery.objects.filter(pk=delivery.pk, status="received").update(lease_until=None, attempts=F("attempts") - 1)


def failed(delivery: Delivery) -> None:
    """Note that processing failed by a fault of ours: tried again when the lease ends, rejected after three times."""
    if delivery.attempts >= ATTEMPTS:
        reject(delivery, "internal")


_oldest = Written(lambda now: unfinished(now).order_by("id").values_list("id", flat=True)[:1])


def oldest_due(now: datetime) -> int | None:
    """The id of the one that has waited longest; every worker asks each second."""
    return _oldest.first(now)


def due(limit: int, *, received_before: datetime | None = None) -> list[int]:
    """Ids of deliveries that nobody works on, oldest first."""
    waiting = unfinished(clock.now())
    if received_before is not None:
        waiting = waiting.filter(received_at__lt=received_before)
    return list(waiting.order_by("id").values_list("id", flat=True)[:limit])


def end_leases() -> int:
    """Let go of every delivery, once it is known that no worker lives; how many there were."""
    return Delivery.objects.filter(status="received", lease_until__isnull=False).update(lease_until=None)


def finish(
    delivery: Delivery,
    *,
    kind: str,
    alerts: Iterable[AlertNotice],
    notes: list[str],
    reason: str = "",
    now: datetime | None = None,
) -> None:
    """Mark it processed, with the normalized alerts for the delivery log."""
    said = [normalized(notice) for notice in alerts]
    _end(delivery, "processed", kind=kind, alerts=said, notes=notes, reason=reason, now=now or clock.now())


def reject(delivery: Delivery, reason: str) -> None:
    """Mark it rejected with the reason; it shows as an unparsed alert, and can be replayed."""
    _end(delivery, "rejected", kind="error", alerts=[], notes=delivery.notes, reason=reason, now=clock.now())


def _end(
    delivery: Delivery,
    status: str,
    *,
    kind: str,
    alerts: list[dict[str, Any]],
    notes: list[str],
    reason: str,
    now: datetime,
) -> None:
    delivery.status, delivery.kind, delivery.alerts = status, kind, alerts
    delivery.notes = [redact(_plain(note))[:500] for note in notes]
    delivery.reason = redact(_plain(reason))[:500]
    delivery.processed_at, delivery.lease_until = now, None
    names = ("status", "kind", "alerts", "notes", "reason", "processed_at", "lease_until")
    statements.update(Delivery, {name: getattr(delivery, name) for name in names}, pk=delivery.pk)


def replay(delivery: Delivery, *, actor: Actor) -> Delivery:
    """A new delivery with the same bytes, to be processed anew; the caller sends the hint."""
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, delivery.endpoint.team)
    if delivery.status == "received":
        raise Conflict("This delivery is not processed yet.", fix="Wait until it is, then replay it.")
    _need_body(delivery)
    return Delivery.objects.create(
        endpoint=delivery.endpoint,
        received_at=clock.now(),
        event_id=delivery.event_id,
        body_sha256=delivery.body_sha256,
        body_encrypted=bytes(delivery.body_encrypted),
        size=delivery.size,
        content_type=delivery.content_type,
        headers=delivery.headers,
        notes=[f"Replayed by {actor.label}."],
        replay_of=delivery.pk,
    )


def normalized(notice: AlertNotice) -> dict[str, Any]:
    """An alert with the field names of docs/guide/alerts.md, as the delivery log and the API show it."""
    return vars(notice) | {"starts_at": _iso(notice.starts_at), "ends_at": _iso(notice.ends_at)}


def raw(delivery: Delivery, *, actor: Actor) -> bytes:
    """The bytes as they came, for whoever may see secrets in them."""
    permissions.require(actor, Permission.RAW_PAYLOADS, delivery.endpoint.team)
    _need_body(delivery)
    return decrypt(delivery.body_encrypted)


def redacted(delivery: Delivery) -> str:
    """The body as text, secrets masked, for everybody else; empty once the bytes are thrown away."""
    if not bytes(delivery.body_encrypted):
        return ""
    text = decrypt(delivery.body_encrypted).decode("utf-8", "replace").replace("\x00", "\ufffd")
    return redact(text, (token_of(delivery.endpoint),))


def _need_body(delivery: Delivery) -> None:
    if not bytes(delivery.body_encrypted):
        raise Conflict(
            "The bytes of this delivery were thrown away: they are kept for 30 days.",
            fix="What was read from them is on this page and on the timeline.",
        )


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def _event_id(given: str) -> str:
    plain = _plain(given).strip()
    return plain if len(plain) <= 200 else hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()


def _plain(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _redacted_headers(headers: dict[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in list(headers.items())[:_HEADERS]:
        secret = name in SECRET_HEADERS or _SECRET_HEADER.search(name)
        kept[_plain(name)[:100]] = MASK if secret else redact_json(bounds.cut(_plain(value), _HEADER_BYTES))
    return kept
