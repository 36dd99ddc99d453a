"""Changes that senders tell: kept in the catalog, and noted on the open incidents that they may explain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from catalog import changes as catalog_changes
from catalog.actors import Actor
from catalog.models import Change, Service
from incidents import timeline
from incidents.grouping import shown
from incidents.models import Endpoint, Incident
from incidents.sources.base import ChangeNotice


def apply(
    endpoint: Endpoint, notices: Sequence[ChangeNotice], *, delivery_id: int | None, now: datetime
) -> list[Change]:
    """Keep each change, for the endpoint's team; a new one of a service is noted on that service's open incidents.

    A change opens nothing. As with alerts, the endpoint's service is for what names none: a name that the team does not
    have leaves the change to the team.
    """
    found = []
    for notice in notices:
        with transaction.atomic():
            service = _service(endpoint, notice)
            change, created = catalog_changes.record(
                team=endpoint.team,
                kind=notice.kind,
                summary=notice.summary,
                source=endpoint.source,
                occurred_at=notice.occurred_at or now,
                service=service,
                subject=notice.subject,
                version=notice.version,
                author=notice.author,
                environment=notice.environment,
                link=notice.link,
                external_id=notice.external_id,
                labels=notice.labels,
            )
            if created and service is not None:
                _note(endpoint, change, service, delivery_id)
        found.append(change)
    return found


def _service(endpoint: Endpoint, notice: ChangeNotice) -> Service | None:
    name = notice.service or notice.service_hint
    found = Service.objects.filter(team=endpoint.team_id, slug=name.lower()).first() if name else None
    return found if notice.service else found or endpoint.service


def _note(endpoint: Endpoint, change: Change, service: Service, delivery_id: int | None) -> None:
    concerned = Incident.objects.select_for_update().filter(team=endpoint.team_id, service=service)
    for incident in concerned.exclude(state__in=["resolved", "closed"]).order_by("pk"):
        kind = change.get_kind_display()
        text = f"Changed ({kind}) at {change.occurred_at:%Y-%m-%d %H:%M} UTC: {shown(change.summary, 300)}."
        timeline.record(
            incident,
            kind="change",
            actor=Actor(f"{endpoint.source}: {endpoint.name}", "change source"),
            text=text,
            at=min(change.occurred_at, change.received_at),
            data={"change": str(change.uuid), "delivery": delivery_id},
        )
