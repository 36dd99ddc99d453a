"""When pictures of a service's signals are taken: while its incidents are open, and when somebody looks.

An incident's picture begins an hour before its onset and ends half an hour after it is over; then it stays as it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from catalog import pictures
from catalog.models import Picture, Service
from catalog.pictures import Window
from common import background, clock, live
from incidents import timeline
from incidents.models import Incident

BEFORE = timedelta(hours=1)
AFTER = timedelta(minutes=30)
# A service's own picture shows so much; both are taken at most so often.
LAST_HOURS = timedelta(hours=3)
FRESH_SECONDS = 50
# The longest band looks back so far for other incidents whose hours are no example of what is usual.
_LOOKS_BACK = timedelta(days=30)
_AT_ONCE = 50
# The signals that a service has, by name, each with what is kept of it: for a caller that has read them already.
Known = dict[str, Picture | None]


def span_of(incident: Incident, now: datetime) -> tuple[datetime, datetime]:
    """From when to when the pictures of an incident go."""
    begin = incident.onset_at or incident.started_at
    over = incident.resolved_at or incident.closed_at
    end = min(now, over + AFTER) if over else now
    return min(begin - BEFORE, end - BEFORE), end


def window_of(incident: Incident, now: datetime) -> Window:
    """What the pictures of an incident show."""
    start, end = span_of(incident, now)
    unusual = _trouble(incident.service_id, start, without=incident)
    return Window(incident.key, start, end, unusual, incident.onset_at or incident.started_at)


def last_hours_of(service: Service, now: datetime) -> Window:
    """What a service's own pictures show; the onset is that of the first incident that began meanwhile."""
    start = now - LAST_HOURS
    began = (
        Incident.objects.filter(service=service, is_drill=False, started_at__gte=start).order_by("started_at").first()
    )
    onset = (began.onset_at or began.started_at) if began else None
    return Window("", start, now, _trouble(service.pk, start), onset)


def _trouble(
    service_id: int | None, before: datetime, *, without: Incident | None = None
) -> list[tuple[datetime, datetime]]:
    """When the service was in other incidents, exercises left out: those hours are no example of what is usual."""
    rows = Incident.objects.filter(service=service_id, is_drill=False, started_at__lt=before)
    rows = rows.filter(Q(resolved_at=None) | Q(resolved_at__gt=before - _LOOKS_BACK))
    if without is not None:
        rows = rows.exclude(pk=without.pk)
    times = rows.values_list("onset_at", "started_at", "mitigated_at", "resolved_at").order_by("-number")[:100]
    return [(onset or started, mitigated or resolved or before) for onset, started, mitigated, resolved in times]


def take_of_incident(incident_id: int) -> None:
    """Take the pictures of one incident now, if they are due; readers of its page are told."""
    incident = Incident.objects.select_related("service").filter(pk=incident_id).first()
    now = clock.now()
    if incident is None or incident.service is None or not is_due(incident, now):
        return
    if pictures.take(incident.service, window_of(incident, now), now=now):
        Incident.objects.filter(pk=incident.pk).update(version=F("version") + 1)
        transaction.on_commit(live.wake)


def take_of_service(service_id: int) -> None:
    """Take the pictures of a service's last hours now, if they are due; readers of its team's pages are told."""
    service = Service.objects.filter(pk=service_id).first()
    now = clock.now()
    if service is None or not _any_due(_known(service, ""), now):
        return
    if pictures.take(service, last_hours_of(service, now), now=now):
        timeline.bump(service.team_id)


def is_due(incident: Incident, now: datetime, known: Known | None = None) -> bool:
    """Whether the incident's pictures would show something that they do not show yet."""
    if incident.service_id is None or incident.service is None:
        return False
    known = known or _known(incident.service, incident.key)
    over = incident.resolved_at or incident.closed_at
    if over is not None and now > over + AFTER:
        # The last one was taken after the end, or nobody was there to take it: once more, and then no more.
        tries = [picture.tried_at if picture else None for picture in known.values()]
        return any(tried is None or tried < over + AFTER for tried in tries)
    return _any_due(known, now)


def _known(service: Service, key: str) -> Known:
    kept = {picture.name: picture for picture in service.pictures.filter(key=key)}
    return {name: kept.get(name) for name in service.signals.values_list("name", flat=True)}


def _any_due(known: Known, now: datetime) -> bool:
    return any(pictures.is_due(picture, now=now, seconds=FRESH_SECONDS) for picture in known.values())


def ask_for_incident(incident: Incident, now: datetime, known: Known | None = None) -> bool:
    """Ask a worker for the incident's pictures if they are due; never waits. True: some are on their way."""
    if not is_due(incident, now, known):
        return False
    background.hint("incidents.take_pictures", "checks", incident.pk)
    return True


def ask_for_service(service: Service, now: datetime) -> bool:
    """The same for the last hours of a service."""
    if not _any_due(_known(service, ""), now):
        return False
    background.hint("incidents.take_pictures_of_service", "checks", service.pk)
    return True


def ask_for_open(now: datetime) -> int:
    """Ask for the pictures of all incidents that are open or just over; gives how many were asked for."""
    going = Q(resolved_at=None, closed_at=None) | Q(resolved_at__gt=now - 2 * AFTER)
    rows = Incident.objects.filter(going, service__signals__isnull=False).distinct().select_related("service")
    return sum(ask_for_incident(incident, now) for incident in rows.order_by("severity", "-number")[:_AT_ONCE])


def of_incident(incident: Incident) -> list[Picture]:
    """What was kept of the signals around the incident, by name."""
    if incident.service_id is None:
        return []
    return list(Picture.objects.filter(service=incident.service_id, key=incident.key).order_by("name"))
