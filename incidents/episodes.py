"""What one telling of an alert makes of the alert: pure rules, no database.

An episode lasts from firing to resolved. Rules that a sender's habits must not break: an update never blanks or renames
a title, never turns a known severity into unknown, never moves the start later; `no_data` and `suppressed` neither open
nor resolve; an acknowledgement at the sender is noted and acknowledges nothing here; `resolved` opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from catalog.models import Service
from incidents.bounds import LABELS
from incidents.models import Alert, Endpoint
from incidents.sources.base import AlertNotice

SEVERITY_OF = {"critical": 1, "high": 2, "warning": 3, "info": 4, "unknown": 3}
# Columns that a telling may change; everything else is fixed when the row is made or counted by the upsert.
CHANGING = (
    "episode",
    "status",
    "severity",
    "title",
    "description",
    "service_id",
    "service_name",
    "environment",
    "labels",
    "links",
    "starts_at",
    "ends_at",
    "incident_id",
)
# Gives the team's service that a sender's name means, or the endpoint's own for no name.
Find = Callable[[str], Service | None]


@dataclass
class Turn:
    """One alert as this delivery leaves it, and what happened to it."""

    alert: Alert
    # How many tellings were counted now; 0 when this delivery had been counted before (a worker died in between).
    count: int
    opened: bool = False
    changed: bool = False
    worsened: bool = False
    again: bool = False
    # The alert had stopped before this news of its firing was read.
    late: bool = False
    # The delivery that told of it, the first of those that were read together.
    told_by: int | None = None
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> set[str]:
        """The columns that must be written again."""
        return {name for name, value in self.before.items() if value != getattr(self.alert, name)}


def snapshot(alert: Alert) -> dict[str, Any]:
    """The changing columns as they are."""
    return {name: getattr(alert, name) for name in CHANGING}


def new_row(
    endpoint: Endpoint, notice: AlertNotice, *, count: int, delivery_id: int | None, now: datetime, find: Find
) -> Alert:
    """The row for an alert that was never seen."""
    return Alert(
        endpoint=endpoint,
        dedup_key=notice.dedup_key,
        status=notice.status,
        severity=notice.severity,
        title=notice.title or "",
        description=notice.description,
        service=find(notice.service or ""),
        service_name=notice.service or "",
        environment=notice.environment or "",
        labels=notice.labels,
        links=notice.links,
        starts_at=notice.starts_at or now,
        ends_at=notice.ends_at if notice.status == "resolved" else None,
        first_seen_at=now,
        last_seen_at=now,
        seen_count=count,
        last_delivery_id=delivery_id,
    )


def turn(
    alert: Alert, notices: Sequence[AlertNotice], *, count: int, delivery_id: int | None, now: datetime, find: Find
) -> Turn:
    """Fold the tellings of one delivery into the row, in their order."""
    found = Turn(alert, count=count, before=snapshot(alert))
    if count == 0:
        # Counted and folded before: the reader hears of it again, because he may have died before he could act on it.
        found.again = True
        found.opened = alert.status == "firing" and alert.incident_id is not None
        found.changed = True
        return found
    rest = list(notices)
    if alert.seen_count == count:
        # Only a row made by this very statement has counted nothing else.
        first = rest.pop(0)
        found.opened, found.changed = first.status == "firing", True
    stale = delivery_id is not None and (alert.last_delivery_id or 0) > delivery_id
    for notice in rest:
        _fold(found, notice, stale=stale, now=now, find=find)
    return found


def _fold(found: Turn, notice: AlertNotice, *, stale: bool, now: datetime, find: Find) -> None:
    alert, was = found.alert, found.alert.status
    if notice.status == "firing" and was == "resolved" and not stale:
        alert.episode += 1
        alert.status, alert.incident, alert.ends_at = "firing", None, None
        alert.starts_at = notice.starts_at or now
        _tell(alert, notice, anew=True, find=find)
        found.opened = found.changed = True
        return
    rank = SEVERITY_OF[alert.severity]
    _tell(alert, notice, anew=False, find=find)
    found.worsened = found.worsened or (notice.status == "firing" and SEVERITY_OF[alert.severity] < rank)
    alert.starts_at = min(alert.starts_at, notice.starts_at or alert.starts_at)
    if stale:
        # Older news than what the row knows: a later delivery overtook this one. It must not undo what that one said;
        # but an alert that did fire opens an incident even if its end was read first.
        if notice.status == "firing" and was == "resolved" and alert.incident_id is None and alert.episode == 1:
            found.opened = found.late = True
    elif notice.status == "firing":
        found.changed = found.changed or was != "firing"
        found.opened = found.opened or alert.incident_id is None
        alert.status = "firing"
    elif notice.status != was and was != "resolved":
        alert.status = notice.status
        alert.ends_at = (notice.ends_at or now) if notice.status == "resolved" else None
        found.changed = True


def _tell(alert: Alert, notice: AlertNotice, *, anew: bool, find: Find) -> None:
    """Take over what the notice says; a new episode may carry a new title, an update may only fill a missing one."""
    if notice.title and (anew or not alert.title):
        alert.title = notice.title
    if notice.severity != "unknown":
        alert.severity = notice.severity
    alert.description = notice.description or alert.description
    alert.environment = notice.environment or alert.environment
    alert.links = notice.links or alert.links
    merged = notice.labels if anew and notice.labels else alert.labels | notice.labels
    alert.labels = merged if len(merged) <= LABELS else notice.labels
    if notice.service and (anew or not alert.service_name):
        alert.service_name = notice.service
        alert.service = find(notice.service)
    elif alert.service_id is None:
        # The catalog may have learned of the service since.
        alert.service = find(alert.service_name)
