"""Alerts: what senders told, folded into one row per alert, then attached to incidents.

Storms repeat a few alerts thousands of times from many workers. So every delivery is one sorted multi-row upsert, which
locks the rows in the same order everywhere (no deadlock) and counts in the database (none lost); it answers with the
rows as they were, locked, and only rows that change are written a second time. Lock order: alerts, the lock for opening
incidents, incidents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from catalog.models import Service
from common import statements
from common.statements import Written
from incidents import grouping
from incidents.episodes import CHANGING, Find, Turn, new_row, turn
from incidents.models import Alert, Endpoint, Incident
from incidents.sources.base import AlertNotice

# Rows of one transaction: short enough for others to get their turn, and below SQLite's limit of variables.
CHUNK = 500
_TABLE = Alert._meta.db_table
_FIELDS = [field for field in Alert._meta.concrete_fields if not field.primary_key]
_COLUMNS = ", ".join(f'"{field.column}"' for field in _FIELDS)
# What a repeat changes by itself. A delivery that was overtaken by a newer one must not look newer than that.
_COUNT = f"""
    seen_count = {_TABLE}.seen_count + excluded.seen_count,
    last_seen_at = CASE WHEN {_TABLE}.last_seen_at > excluded.last_seen_at
        THEN {_TABLE}.last_seen_at ELSE excluded.last_seen_at END,
    last_delivery_id = CASE WHEN COALESCE({_TABLE}.last_delivery_id, 0) > COALESCE(excluded.last_delivery_id, 0)
        THEN {_TABLE}.last_delivery_id ELSE excluded.last_delivery_id END"""
_REPLACE = ", ".join(f'"{field.column}" = excluded."{field.column}"' for field in _FIELDS if field.attname in CHANGING)


@dataclass
class Told:
    """What was told of one alert, in order, and by which deliveries, the first and the last."""

    notices: list[AlertNotice] = field(default_factory=list)
    first_id: int | None = None
    delivery_id: int | None = None


@dataclass(frozen=True)
class Touched:
    """One alert after a delivery: what runbooks need to decide whether to start.

    `opened_episode`: it began to fire (anew). `changed_status`: it fires, stopped, was acknowledged … since this
    delivery. When a delivery is applied again after a crash, both are told again; whoever acts on them acts once per
    episode and status. `opened_incident`: the incident was opened by this delivery.
    """

    alert: Alert
    opened_episode: bool
    changed_status: bool
    incident: Incident | None
    opened_incident: bool


def apply(
    endpoint: Endpoint, notices: Sequence[AlertNotice], *, delivery_id: int | None, now: datetime
) -> list[Touched]:
    """Fold the notices of one delivery into the alerts, attach new episodes to incidents, write the timelines.

    At most 500 alerts or ten new incidents a transaction; applying the same delivery again counts nothing twice. The
    result is sorted by dedup key, one entry per alert.
    """
    return apply_together(endpoint, [(delivery_id, notices)], now=now)


def apply_together(
    endpoint: Endpoint, deliveries: Sequence[tuple[int | None, Sequence[AlertNotice]]], *, now: datetime
) -> list[Touched]:
    """The same for several deliveries of one endpoint, in their order, as if one had told it all."""
    told: dict[str, Told] = {}
    for delivery_id, notices in deliveries:
        for notice in notices:
            one = told.setdefault(notice.dedup_key, Told(first_id=delivery_id))
            one.notices.append(notice)
            one.delivery_id = delivery_id
    keys = sorted(told)
    touched: list[Touched] = []
    for start in range(0, len(keys), CHUNK):
        chunk = {key: told[key] for key in keys[start : start + CHUNK]}
        try:
            touched += _apply_alone(endpoint, chunk, now=now)
        except grouping.TooMany as many:
            for piece in many.pieces:
                touched += _apply_alone(endpoint, {key: chunk[key] for key in chunk if key in piece}, now=now)
    return sorted(touched, key=lambda one: one.alert.dedup_key)


def _apply_alone(endpoint: Endpoint, told: dict[str, Told], *, now: datetime) -> list[Touched]:
    """In a transaction of its own."""
    try:
        # SQLite has one writer at a time: whoever writes may open, too.
        may_open = connection.vendor == "sqlite"
        with transaction.atomic():
            return _apply(endpoint, told, now=now, opening=may_open)
    except grouping.MustOpen:
        # An incident has to be opened: from the start again, in the order that opening needs its locks.
        with transaction.atomic():
            return _apply(endpoint, told, now=now, opening=True)


def _apply(endpoint: Endpoint, told: dict[str, Told], *, now: datetime, opening: bool) -> list[Touched]:
    find = _services(endpoint, {notice.service or "" for one in told.values() for notice in one.notices})
    counted = _counted(endpoint, told)
    counts = {key: 0 if key in counted else len(one.notices) for key, one in told.items()}
    rows = _upsert(
        [
            new_row(endpoint, one.notices[0], count=counts[key], delivery_id=one.delivery_id, now=now, find=find)
            for key, one in told.items()
        ],
        _COUNT,
        returning=True,
    )
    folded: list[Turn] = []
    for row in sorted(rows, key=lambda alert: alert.dedup_key):
        row.endpoint, one = endpoint, told[row.dedup_key]
        service = find(row.service_name)
        if service is not None and service.pk == row.service_id:
            # The row came without it.
            row.service = service
        found = turn(row, one.notices, count=counts[row.dedup_key], delivery_id=one.delivery_id, now=now, find=find)
        found.told_by = one.first_id
        folded.append(found)
    placed = grouping.place(endpoint, folded, now=now, opening=opening)
    _write_back(folded)
    newest = max((one.delivery_id for one in told.values() if one.delivery_id is not None), default=None)
    grouping.tell(endpoint, folded, placed, delivery_id=newest)
    return _touched(folded, placed)


_counted_alone = Written(
    lambda endpoint, key, delivery: Alert.objects.filter(
        endpoint=endpoint, dedup_key=key, last_delivery_id=delivery
    ).values_list("pk", flat=True)[:1]
)


def _counted(endpoint: Endpoint, told: dict[str, Told]) -> set[str]:
    """The keys whose telling was counted before, by a worker that died afterwards."""
    ids = {one.delivery_id for one in told.values() if one.delivery_id is not None}
    if not ids:
        return set()
    if len(told) == len(ids) == 1:
        # Usually it is one alert of one delivery.
        return {key for key in told if _counted_alone(endpoint.pk, key, *ids)}
    rows = Alert.objects.filter(endpoint=endpoint, dedup_key__in=list(told), last_delivery_id__in=ids).order_by()
    return {key for key, last in rows.values_list("dedup_key", "last_delivery_id") if last == told[key].delivery_id}


def _write_back(folded: Sequence[Turn]) -> None:
    """Write the rows that this delivery changed. Most are new and only got their incident, which is quicker told."""
    joined: dict[int | None, list[int]] = {}
    changed: list[Alert] = []
    for found in folded:
        if found.changes == {"incident_id"}:
            joined.setdefault(found.alert.incident_id, []).append(found.alert.pk)
        elif found.changes:
            changed.append(found.alert)
    for incident_id, ids in joined.items():
        statements.update(Alert, {"incident": incident_id}, pk=tuple(ids))
    _upsert(changed, _REPLACE, returning=False)


def _touched(folded: list[Turn], placed: grouping.Placed) -> list[Touched]:
    missing = {found.alert.incident_id for found in folded} - placed.incidents.keys() - {None}
    incidents = placed.incidents | Incident.objects.in_bulk(list(missing)) if missing else placed.incidents
    return [
        Touched(
            alert=found.alert,
            opened_episode=found.opened,
            changed_status=found.changed,
            incident=incidents.get(found.alert.incident_id or 0),
            opened_incident=found.alert.incident_id in placed.opened,
        )
        for found in folded
    ]


_service = Written(lambda team, slug: Service.objects.filter(team=team, slug=slug))


def _of_team(endpoint: Endpoint, slugs: set[str]) -> Iterable[Service]:
    return Service.objects.filter(team=endpoint.team_id, slug__in=slugs) if slugs else ()


def _services(endpoint: Endpoint, names: set[str]) -> Find:
    """How names are understood here: as services of the endpoint's team and of no other, whatever a label says."""
    slugs = {name.lower() for name in names if name}
    rows = _service(endpoint.team_id, *slugs) if len(slugs) == 1 else _of_team(endpoint, slugs)
    known = {row.slug: row for row in rows}

    def find(name: str) -> Service | None:
        return known.get(name.lower()) if name else endpoint.service

    return find


def _upsert(rows: Iterable[Alert], update: str, *, returning: bool) -> list[Alert]:
    """One INSERT … ON CONFLICT of all rows, which the caller gives sorted by key and once each."""
    values: list[Any] = []
    count = 0
    for row in rows:
        count += 1
        values += [field.get_db_prep_save(field.pre_save(row, add=False), connection) for field in _FIELDS]
    if not count:
        return []
    one = f"({', '.join(['%s'] * len(_FIELDS))})"
    sql = (
        # Names of our own columns only; every value is a parameter.
        f"INSERT INTO {_TABLE} ({_COLUMNS}) VALUES {', '.join([one] * count)} "  # noqa: S608
        f"ON CONFLICT (endpoint_id, dedup_key) DO UPDATE SET {update}"
    )
    if returning:
        return list(Alert.objects.raw(f"{sql} RETURNING *", values))
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
    return []
