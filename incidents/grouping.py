"""Which incident an alert belongs to, and what the incident's timeline says of it.

Alerts of one service make one incident. Without a known service they are kept together by the service's name as sent,
else by the name of the rule, within their endpoint: sixty alerts of one rule are one incident, not sixty.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.db.models.functions import Left

from catalog.actors import ALERT
from common import clock
from common.statements import HowMany, Written
from incidents import evidence, intake, lifecycle, timeline
from incidents.episodes import SEVERITY_OF, Turn
from incidents.models import Alert, Endpoint, Evidence, Incident

# More open incidents than this, opened by one endpoint, are a flood: one incident collects the rest (endpoint
# configuration `max_open_incidents`; the default is the design's, promises I13).
OPEN_CAP = 500
# An incident with more alerts than this tells of further ones at 100, 1,000 … only.
DETAILED = 20
_TYPES = dict(Incident.TYPES)
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_CLOSED = ["resolved", "closed"]


# Opening an incident writes some twenty rows. While a transaction does that SQLite's other writers wait, the door for
# alerts among them; so one transaction opens so many at most.
OPENED_TOGETHER = 10


class MustOpen(Exception):
    """An incident must be opened, and the lock for that has to be taken before any incident's."""


class TooMany(Exception):
    """More incidents must be opened than one transaction may; `pieces` are the keys of alerts for one each."""

    def __init__(self, pieces: list[set[str]]) -> None:
        super().__init__()
        self.pieces = pieces


@dataclass
class Placed:
    """The incidents that one transaction touches, locked, by id; the ids of those it opened; the storm, if any."""

    incidents: dict[int, Incident] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    storm: Incident | None = None


def group_key(endpoint: Endpoint, alert: Alert) -> str:
    """What makes alerts one incident, within the endpoint's team."""
    if alert.service is not None:
        return f"service:{alert.service.slug}"
    name = alert.labels.get("alertname") or alert.title or alert.dedup_key
    key = f"endpoint:{endpoint.pk}:{f'service:{alert.service_name}' if alert.service_name else name}"
    return key if len(key) <= 600 else f"{key[:500]}…{hashlib.sha256(key.encode()).hexdigest()}"


def shown(title: str, length: int = 200) -> str:
    """A foreign title fit for our sentences: one line, and controls that turn the direction of text made visible."""
    visible = _INVISIBLE.sub(lambda found: f"\\u{ord(found.group()):04x}", " ".join(title.split()))
    return visible if len(visible) <= length else visible[: length - 1] + "…"


def place(endpoint: Endpoint, turns: list[Turn], *, now: datetime, opening: bool) -> Placed:
    """Lock the incidents concerned and give every opened episode its incident, opening those that do not exist.

    Raises MustOpen when one must be opened and `opening` is false, TooMany when more than OPENED_TOGETHER must.
    """
    placed = Placed()
    opened = [found for found in turns if found.opened and not found.again]
    linked = {
        found.alert.incident_id
        for found in turns
        if found.alert.incident_id and not found.again and (found.changed or found.worsened or _milestones(found))
    }
    if not opened and not linked:
        return placed
    keys = {group_key(endpoint, found.alert) for found in opened}
    if opening:
        lifecycle.lock_numbers()
    services = {found.alert.service_id for found in opened if found.alert.service_id}
    placed.incidents = _locked(endpoint, linked, keys, services)
    missing = _missing(placed, endpoint, opened)
    if missing and not opening:
        if placed.incidents:
            raise MustOpen
        # No incident is locked yet, so it is not too late for the lock that comes first.
        lifecycle.lock_numbers()
        placed.incidents = _locked(endpoint, linked, keys, services)
        missing = _missing(placed, endpoint, opened)
    if len(missing) > OPENED_TOGETHER:
        raise TooMany(_pieces(endpoint, turns))
    # The worst alert gives a new incident its title and severity.
    for found in sorted(opened, key=lambda one: (SEVERITY_OF[one.alert.severity], one.alert.starts_at)):
        incident = _find(placed, endpoint, found.alert)
        if incident is None:
            incident = _open(placed, endpoint, found)
        found.alert.incident = incident
    return placed


_open_alike = Written(
    lambda team, key, storm, service: (
        Incident.objects.select_for_update()
        .filter(_alike(team, [key, storm], Q(service=service, is_drill=False)))
        .order_by("pk")
    )
)


def _alike(team: int, keys: list[str], of_service: Q) -> Q:
    return Q(team=team) & ~Q(state__in=_CLOSED) & (Q(group_key__in=keys) | of_service)


def _locked(endpoint: Endpoint, linked: set[int], keys: set[str], services: set[int]) -> dict[int, Incident]:
    """The incidents that alerts have already, and the open ones that they may join, locked in one order."""
    storm = _storm_key(endpoint)
    if not linked and len(keys) == 1 and len(services) <= 1:
        # Usually it is one alert, and new. No service has the number 0.
        rows = _open_alike(endpoint.team_id, *keys, storm, *(services or {0}))
    else:
        alike = _alike(endpoint.team_id, [*keys, storm], Q(service__in=services, is_drill=False))
        wanted = Q(pk__in=linked) | alike if keys else Q(pk__in=linked)
        rows = list(Incident.objects.select_for_update().filter(wanted).order_by("pk"))
    return {row.pk: row for row in rows}


def _missing(placed: Placed, endpoint: Endpoint, opened: list[Turn]) -> set[str]:
    return {group_key(endpoint, found.alert) for found in opened if _find(placed, endpoint, found.alert) is None}


def _pieces(endpoint: Endpoint, turns: list[Turn]) -> list[set[str]]:
    """Alerts of one incident stay together: one entry tells of them, and the worst gives the title."""
    groups: dict[str, set[str]] = {}
    for found in turns:
        groups.setdefault(group_key(endpoint, found.alert), set()).add(found.alert.dedup_key)
    keys = list(groups.values())
    return [set().union(*keys[start : start + OPENED_TOGETHER]) for start in range(0, len(keys), OPENED_TOGETHER)]


def _find(placed: Placed, endpoint: Endpoint, alert: Alert) -> Incident | None:
    is_open = [row for row in placed.incidents.values() if row.team_id == endpoint.team_id and row.is_open]
    key = group_key(endpoint, alert)
    same_key = next((row for row in is_open if row.group_key == key), None)
    if same_key is not None or alert.service_id is None:
        return same_key
    # One declared by hand, or bound to the service later, is about the same trouble.
    of_service = [row for row in is_open if row.service_id == alert.service_id and not row.is_drill]
    return min(of_service, key=lambda row: row.number, default=None)


def _open(placed: Placed, endpoint: Endpoint, found: Turn) -> Incident:
    alert = found.alert
    key, title = group_key(endpoint, alert), alert.title or alert.dedup_key
    is_storm = alert.service_id is None and (placed.storm is not None or _is_over_cap(endpoint))
    if is_storm:
        key, title = _storm_key(endpoint), f"Alert storm from {endpoint.name}: over {_cap(endpoint)} open incidents"
        known = (row for row in placed.incidents.values() if row.is_open and row.group_key == key)
        placed.storm = placed.storm or next(known, None)
        if placed.storm is not None:
            return placed.storm
    kind = alert.labels.get("kind", "")
    incident = lifecycle.declare(
        team=endpoint.team,
        title=shown(title, 500),
        severity=SEVERITY_OF[alert.severity],
        actor=ALERT,
        service=alert.service,
        incident_type=kind if kind in _TYPES else "other",
        started_at=alert.starts_at if alert.starts_at <= alert.last_seen_at else None,
        group_key=key,
        unrouted=alert.service_id is None,
        came_at=intake.came_at(found.told_by),
    )
    placed.incidents[incident.pk] = incident
    placed.opened.add(incident.pk)
    placed.storm = incident if is_storm else placed.storm
    return incident


def _storm_key(endpoint: Endpoint) -> str:
    return f"storm:endpoint:{endpoint.pk}"


def _cap(endpoint: Endpoint) -> int:
    return int(endpoint.config.get("max_open_incidents", OPEN_CAP))


_opened_by = HowMany(
    lambda team, start, length: (
        Incident.objects.alias(begin=Left("group_key", length))
        .filter(team=team, begin=start)
        .exclude(state__in=_CLOSED)
    )
)


def _is_over_cap(endpoint: Endpoint) -> bool:
    start = f"endpoint:{endpoint.pk}:"
    return _opened_by(endpoint.team_id, start, len(start)) >= _cap(endpoint)


def _milestones(found: Turn) -> int:
    """The power of ten (10, 100 …) that the count of tellings has just reached; 0 for none."""
    return _passed(found.alert.seen_count - found.count, found.alert.seen_count, 10)


def _passed(before: int, after: int, first: int) -> int:
    reached, mark = 0, first
    while mark <= after:
        if before < mark:
            reached = mark
        mark *= 10
    return reached


def tell(endpoint: Endpoint, turns: list[Turn], placed: Placed, *, delivery_id: int | None) -> None:
    """Write what happened on each incident's timeline, summarised: a batch is one entry, a repeat is none."""
    if not placed.incidents:
        return
    # Under the locks of all of them.
    now = clock.now()
    for incident in placed.incidents.values():
        mine = [found for found in turns if found.alert.incident_id == incident.pk and not found.again]
        if mine:
            _tell_one(endpoint, incident, mine, delivery_id=delivery_id, now=now)


_alerts = HowMany(lambda incident: Alert.objects.filter(incident=incident))


def _tell_one(
    endpoint: Endpoint, incident: Incident, mine: list[Turn], *, delivery_id: int | None, now: datetime
) -> None:
    opened = [found for found in mine if found.opened]
    if opened:
        total = _alerts(incident.pk)
        mark = _passed(total - len(opened), total, 100)
        if total - len(opened) < DETAILED:
            _tell_fired(endpoint, incident, opened, delivery_id=delivery_id, now=now)
        elif mark:
            _record(incident, f"{mark:,} alerts have joined this incident by now.", opened, delivery_id, now=now)
    _raise_severity(incident, [found for found in mine if found.opened or found.worsened], now=now)
    for status, sentence in _NEWS.items():
        changed = [found for found in mine if found.changed and not found.opened and found.alert.status == status]
        if changed:
            _record(incident, sentence.format(_titles(changed)), changed, delivery_id, now=now)
    for found in mine:
        if not found.opened and (mark := _milestones(found)):
            _record(
                incident, f"Reported {mark:,} times by now: {shown(found.alert.title)}.", [found], delivery_id, now=now
            )
    _tell_stopped(
        incident, [found for found in mine if found.alert.status == "resolved"], delivery_id=delivery_id, now=now
    )


_NEWS = {
    "firing": "Fires again: {}.",
    "acknowledged": "Acknowledged at the sender: {}. That acknowledges nothing here.",
    "suppressed": "Muted at the sender: {}. It counts as neither firing nor stopped.",
    "no_data": "The sender has no data for: {}. It counts as neither firing nor stopped.",
}


def _tell_fired(
    endpoint: Endpoint, incident: Incident, opened: list[Turn], *, delivery_id: int | None, now: datetime
) -> None:
    worst = min((found.alert for found in opened), key=lambda alert: SEVERITY_OF[alert.severity])
    since = min(found.alert.starts_at for found in opened)
    again = sum(found.alert.episode > 1 for found in opened)
    what = "Alert firing" if len(opened) == 1 else f"{len(opened)} alerts firing"
    parts = [f"severity {worst.severity}", f"since {since:%Y-%m-%d %H:%M:%S} UTC", f"from {shown(endpoint.name, 80)}"]
    if worst.service_id is None and worst.service_name:
        parts.append(f"the service {shown(worst.service_name, 80)!r} is not in the catalog")
    if again:
        parts.append("firing anew after it had stopped" if len(opened) == 1 else f"{again} of them firing anew")
    if any(found.late for found in opened):
        parts.append("read late: it has stopped already")
    if incident.state == "mitigated":
        parts.append("although the incident is marked as mitigated")
    text = f"{what}: {_titles(opened)} ({'; '.join(parts)})."
    proof = evidence.store(
        incident=incident,
        kind="alert",
        now=now,
        summary=text,
        provider=endpoint.source,
        source=f"{endpoint.source}: {endpoint.name}"[:200],
        observed_at=since,
        value=_number(worst.labels.get("value")),
        result={"alerts": [_facts(found.alert) for found in opened[:50]], "count": len(opened)},
    )
    _record(incident, text, opened, delivery_id, proof=proof, now=now)


def _raise_severity(incident: Incident, turns: list[Turn], *, now: datetime) -> None:
    worst = min((found.alert for found in turns), key=lambda alert: SEVERITY_OF[alert.severity], default=None)
    if worst is None or SEVERITY_OF[worst.severity] >= incident.severity:
        return
    was, incident.severity = incident.severity, SEVERITY_OF[worst.severity]
    incident.save(update_fields=["severity"])
    why = f"an alert is {worst.severity}, {shown(worst.title)}"
    text = f"The severity was raised from SEV{was} to SEV{incident.severity}: {why}."
    data = {"severity": incident.severity, "severity_was": was}
    timeline.record(incident, kind="state", actor=ALERT, text=text, data=data, pinned=True, now=now)


def _tell_stopped(incident: Incident, stopped: list[Turn], *, delivery_id: int | None, now: datetime) -> None:
    stopped = [found for found in stopped if found.changed or found.late]
    if not stopped:
        return
    alerts = Alert.objects.filter(incident=incident)
    total, left = alerts.count(), alerts.exclude(status="resolved").count()
    if left == 0:
        what = f"The alert has stopped: {_titles(stopped)}." if total == 1 else f"All {total:,} alerts have stopped."
        stays = " The incident stays as it is until a person moves it." if incident.is_open else ""
        _record(incident, what + stays, stopped, delivery_id, now=now, pinned=True, all_stopped=True)
    elif total <= DETAILED or len(stopped) >= DETAILED:
        what = "Alert stopped" if len(stopped) == 1 else f"{len(stopped)} alerts stopped"
        _record(incident, f"{what}: {_titles(stopped)}; {left:,} not yet.", stopped, delivery_id, now=now)


def _record(
    incident: Incident,
    text: str,
    turns: list[Turn],
    delivery_id: int | None,
    *,
    now: datetime,
    proof: Evidence | None = None,
    pinned: bool = False,
    all_stopped: bool = False,
) -> None:
    data: dict[str, Any] = {
        "alerts": [str(found.alert.uuid) for found in turns[:50]],
        "count": len(turns),
        "delivery": delivery_id,
        "status": turns[0].alert.status,
    }
    if all_stopped:
        data["all_stopped"] = True
    cited = [proof] if proof is not None else []
    timeline.record(incident, kind="alert", actor=ALERT, text=text, data=data, evidence=cited, pinned=pinned, now=now)


def _titles(turns: list[Turn]) -> str:
    """The titles, the most frequent first, at most three."""
    counts = Counter(shown(found.alert.title or found.alert.dedup_key) for found in turns).most_common()
    named = "; ".join(f"{title} (×{times})" if times > 1 else title for title, times in counts[:3])
    return named if len(counts) <= 3 else f"{named}; and {len(counts) - 3} other titles"


def _facts(alert: Alert) -> dict[str, Any]:
    return {
        "title": alert.title,
        "severity": alert.severity,
        "dedup_key": alert.dedup_key,
        "starts_at": alert.starts_at.isoformat(),
        "labels": alert.labels,
        "links": alert.links,
    }


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
