"""Incidents: lists, the timeline, and the verbs of their life."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Query, Router, Status

from catalog.models import Service
from catalog.permissions import Permission
from common.errors import Invalid
from incidents import lifecycle, pins
from incidents.models import Incident
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, Page, aware, listed, permits
from web.policy import team_object_or_404, team_or_404, visible

router = Router(by_alias=True, tags=["incidents"])
Type = Literal["accuracy_drop", "latency_spike", "cost_explosion", "safety_incident", "data_issue", "other"]
_ROWS = Incident.objects.select_related("team", "service", "commander")


class IncidentFilters(Page):
    """What the list of incidents may be narrowed to."""

    state: Literal["open", "acknowledged", "mitigated", "resolved", "closed"] | None = None
    open: bool | None = None
    severity: int | None = Field(None, ge=1, le=4)
    service: str = Field("", max_length=60)
    team: str = Field("", max_length=40)
    type: Type | None = None


class NewIncident(Body):
    """An incident declared by hand, for a service or for a team."""

    title: str = Field(min_length=1, max_length=500)
    severity: int = Field(3, ge=1, le=4)
    service: str = Field("", max_length=60)
    team: str = Field("", max_length=40)
    summary: str = Field("", max_length=20_000)
    type: Type = "other"
    started_at: datetime | None = None


class Note(Body):
    """Words for the timeline."""

    text: str = Field(min_length=1, max_length=20_000)
    at: datetime | None = None


class Word(Body):
    """An optional remark to a change of state."""

    note: str = Field("", max_length=5_000)


class Reason(Body):
    """Why it is opened again."""

    reason: str = Field(min_length=1, max_length=5_000)


class Severity(Body):
    """A new severity and why."""

    severity: int = Field(ge=1, le=4)
    reason: str = Field("", max_length=5_000)


def _one(request: ApiRequest, number: int, permission: Permission = Permission.SEE) -> Incident:
    return team_object_or_404(_ROWS.all(), request.actor, permission=permission, number=number)


def _again(request: ApiRequest, number: int) -> dict[str, Any]:
    return shapes.incident(_one(request, number))


@router.get("incidents", auth=permits(Permission.SEE, IncidentFilters), response=schemas.Listed[schemas.Incident])
def list_incidents(request: ApiRequest, filters: Query[IncidentFilters]) -> dict[str, Any]:
    """Incidents of your teams, newest first."""
    rows = visible(_ROWS.all(), request.actor)
    if filters.state:
        rows = rows.filter(state=filters.state)
    if filters.open is not None:
        ended = {"state__in": ["resolved", "closed"]}
        rows = rows.exclude(**ended) if filters.open else rows.filter(**ended)
    if filters.severity:
        rows = rows.filter(severity=filters.severity)
    if filters.service:
        rows = rows.filter(service__slug=filters.service)
    if filters.team:
        rows = rows.filter(team__slug=filters.team)
    if filters.type:
        rows = rows.filter(incident_type=filters.type)
    return listed(rows, filters, shapes.incident, key="number")


@router.post("incidents", auth=permits(Permission.RESPOND), response={201: schemas.Incident})
def declare_incident(request: ApiRequest, body: NewIncident) -> Status[Any]:
    """Declare an incident for a service, or for a team."""
    service = team_object_or_404(Service.objects.all(), request.actor, slug=body.service) if body.service else None
    if service is None and not body.team:
        raise Invalid("Name a service or a team.", fix="Send `service` or `team`.", fields={"service": "Missing."})
    team = service.team if service else team_or_404(request.actor, body.team, permission=Permission.RESPOND)
    made = lifecycle.declare(
        team=team,
        title=body.title,
        severity=body.severity,
        actor=request.actor,
        service=service,
        summary=body.summary,
        incident_type=body.type,
        started_at=body.started_at and aware(body.started_at, "started_at"),
    )
    return Status(201, _again(request, made.number))


@router.get("incidents/{int:number}", auth=permits(Permission.SEE), response=schemas.Incident)
def get_incident(request: ApiRequest, number: int) -> dict[str, Any]:
    """One incident."""
    return _again(request, number)


@router.get(
    "incidents/{int:number}/timeline", auth=permits(Permission.SEE, Page), response=schemas.Listed[schemas.Entry]
)
def get_timeline(request: ApiRequest, number: int, filters: Query[Page]) -> dict[str, Any]:
    """The timeline of an incident, oldest entry first."""
    incident = _one(request, number)
    said = pins.overruled(incident)
    rows = incident.timeline.all()
    return listed(rows, filters, lambda row: shapes.entry(row, said), key="seq", newest_first=False)


@router.post("incidents/{int:number}/acknowledge", auth=permits(Permission.RESPOND), response=schemas.Incident)
def acknowledge_incident(request: ApiRequest, number: int) -> dict[str, Any]:
    """Say that somebody is on it."""
    lifecycle.acknowledge(_one(request, number, Permission.RESPOND), actor=request.actor)
    return _again(request, number)


@router.post("incidents/{int:number}/mitigate", auth=permits(Permission.RESPOND), response=schemas.Incident)
def mitigate_incident(request: ApiRequest, number: int, body: Word | None = None) -> dict[str, Any]:
    """Say that users no longer feel it; the 48-hour clock of the postmortem starts."""
    note = body.note if body else ""
    lifecycle.mitigate(_one(request, number, Permission.RESPOND), actor=request.actor, note=note)
    return _again(request, number)


@router.post("incidents/{int:number}/resolve", auth=permits(Permission.RESPOND), response=schemas.Incident)
def resolve_incident(request: ApiRequest, number: int, body: Word | None = None) -> dict[str, Any]:
    """Say that it is over."""
    note = body.note if body else ""
    lifecycle.resolve(_one(request, number, Permission.RESPOND), actor=request.actor, note=note)
    return _again(request, number)


@router.post("incidents/{int:number}/reopen", auth=permits(Permission.RESPOND), response=schemas.Incident)
def reopen_incident(request: ApiRequest, number: int, body: Reason) -> dict[str, Any]:
    """Say that it is not over after all, and why."""
    lifecycle.reopen(_one(request, number, Permission.RESPOND), actor=request.actor, reason=body.reason)
    return _again(request, number)


@router.post("incidents/{int:number}/severity", auth=permits(Permission.RESPOND), response=schemas.Incident)
def set_severity(request: ApiRequest, number: int, body: Severity) -> dict[str, Any]:
    """Change the severity: 1 critical to 4 low."""
    incident = _one(request, number, Permission.RESPOND)
    lifecycle.set_severity(incident, severity=body.severity, actor=request.actor, reason=body.reason)
    return _again(request, number)


@router.post("incidents/{int:number}/note", auth=permits(Permission.RESPOND), response=schemas.Incident)
def add_note(request: ApiRequest, number: int, body: Note) -> dict[str, Any]:
    """Write a note on the timeline."""
    incident = _one(request, number, Permission.RESPOND)
    lifecycle.add_note(incident, text=body.text, actor=request.actor, at=body.at and aware(body.at, "at"))
    return _again(request, number)
