"""Looked-after services and what was changed about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Query, Router, Schema, Status
from pydantic import ConfigDict

from catalog import changes
from catalog.models import Change, Service
from catalog.permissions import Permission
from catalog.service_file import Level
from common import clock
from common.errors import Invalid
from incidents import pictures
from incidents.models import Incident
from runbooks import autonomy
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.policy import team_object_or_404, team_or_404, visible

router = Router(by_alias=True, tags=["services"])
ChangeKind = Literal["code", "model", "prompt", "data_pipeline", "library_hardware", "upstream"]
_ROWS = Service.objects.select_related("team", "default_owner").prefetch_related(
    "depends_on", "signals__connection", "versions"
)


class ServiceFilters(Page):
    """What the list of services may be narrowed to."""

    team: str = Field("", max_length=40)


class SignalFilters(Schema):
    """Which window: the service's last hours, or that of one of its incidents."""

    model_config = ConfigDict(extra="forbid")

    incident: int | None = Field(None, ge=1)


class ChangeFilters(Page):
    """What the list of changes may be narrowed to."""

    service: str = Field("", max_length=60)
    kind: ChangeKind | None = None


class NewLevel(Body):
    """How far runs may go by themselves, and why."""

    level: Level
    reason: str = Field(min_length=1, max_length=500)


class NewChange(Body):
    """Something that was changed, told by the pipeline that did it."""

    kind: ChangeKind
    summary: str = Field(min_length=1, max_length=300)
    service: str = Field("", max_length=60)
    team: str = Field("", max_length=40)
    subject: str = Field("", max_length=200)
    version: str = Field("", max_length=120)
    author: str = Field("", max_length=120)
    environment: str = Field("", max_length=60)
    link: str = Field("", max_length=500, pattern=r"^(https?://\S+)?$")
    external_id: str = Field("", max_length=200)
    labels: dict[str, str] = Field(default_factory=dict, max_length=128)
    occurred_at: datetime | None = None


@router.get("services", auth=permits(Permission.SEE, ServiceFilters), response=schemas.Listed[schemas.Service])
def list_services(request: ApiRequest, filters: Query[ServiceFilters]) -> dict[str, Any]:
    """Services of your teams, by name."""
    rows = visible(_ROWS.all(), request.actor)
    if filters.team:
        rows = rows.filter(team__slug=filters.team)
    return listed(rows, filters, shapes.service, key="slug", newest_first=False)


@router.get("services/{slug:service}", auth=permits(Permission.SEE), response=schemas.Service)
def get_service(request: ApiRequest, service: str) -> dict[str, Any]:
    """One service with its signals and versions."""
    return shapes.service(team_object_or_404(_ROWS.all(), request.actor, slug=service))


@router.put("services/{slug:service}/autonomy", auth=permits(Permission.CONFIGURE), response=schemas.Service)
def set_autonomy(request: ApiRequest, service: str, body: NewLevel) -> dict[str, Any]:
    """Set how far runs may go by themselves on a service; counts at once, also for what waits."""
    found = team_object_or_404(_ROWS.all(), request.actor, permission=Permission.CONFIGURE, slug=service)
    autonomy.set_level(found, body.level, reason=body.reason, actor=request.actor)
    return shapes.service(found)


@router.get(
    "services/{slug:service}/signals",
    auth=permits(Permission.SEE, SignalFilters),
    response=schemas.Listed[schemas.StoredSignal],
)
def list_signals(request: ApiRequest, service: str, filters: Query[SignalFilters]) -> dict[str, Any]:
    """The service's signals as last read: its last hours, or with `incident` the window of that incident.

    Nothing is asked of their sources here. What is missing or old is asked of a worker; read again a little later.
    """
    found = team_object_or_404(Service.objects.select_related("team"), request.actor, slug=service)
    now, key = clock.now(), ""
    if filters.incident is not None:
        incidents = Incident.objects.filter(service=found).select_related("service")
        incident = team_object_or_404(incidents, request.actor, number=filters.incident)
        key = incident.key
        pictures.ask_for_incident(incident, now)
    else:
        pictures.ask_for_service(found, now)
    kept = {picture.name: picture for picture in found.pictures.filter(key=key)}
    rows = found.signals.select_related("connection")
    return {"items": [shapes.signal(row, kept.get(row.name)) for row in rows], "next": None}


@router.get("changes", auth=permits(Permission.SEE, ChangeFilters), response=schemas.Listed[schemas.Change])
def list_changes(request: ApiRequest, filters: Query[ChangeFilters]) -> dict[str, Any]:
    """What was changed, newest received first."""
    rows = visible(Change.objects.select_related("team", "service"), request.actor)
    if filters.service:
        rows = rows.filter(service__slug=filters.service)
    if filters.kind:
        rows = rows.filter(kind=filters.kind)
    return listed(rows, filters, shapes.change)


@router.post("changes", auth=permits(Permission.RESPOND), response={200: schemas.Change, 201: schemas.Change})
def tell_change(request: ApiRequest, body: NewChange) -> Status[Any]:
    """Tell a change; the same `external_id` again changes the one told before and answers 200."""
    service = None
    if body.service:
        rows = Service.objects.select_related("team")
        service = team_object_or_404(rows, request.actor, permission=Permission.RESPOND, slug=body.service)
    elif not body.team:
        raise Invalid("Name a service or a team.", fix="Send `service` or `team`.", fields={"service": "Missing."})
    team = service.team if service else team_or_404(request.actor, body.team, permission=Permission.RESPOND)
    if body.occurred_at is not None and body.occurred_at.tzinfo is None:
        raise Invalid(
            "`occurred_at` has no time zone.",
            fix="Write it as 2026-11-21T03:00:00Z.",
            fields={"occurred_at": "No zone."},
        )
    change, new = changes.record(
        team=team,
        service=service,
        source="api",
        occurred_at=body.occurred_at or clock.now(),
        **body.model_dump(exclude={"team", "service", "occurred_at"}),
    )
    return Status(201 if new else 200, shapes.change(change))
