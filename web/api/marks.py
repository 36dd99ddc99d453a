"""What people say about an incident's record: how far it reaches, key moments, corrected times."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Router, Schema

from catalog.permissions import Permission
from common.errors import NotFound
from incidents import impact, notes, pins
from incidents.models import Incident
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, aware, permits
from web.policy import team_object_or_404

router = Router(by_alias=True, tags=["incidents"])


class Money(Schema):
    """An amount in millionths, with its currency."""

    micros: int = Field(ge=0, le=10**15)
    currency: str = Field(min_length=3, max_length=3)


class ImpactBody(Body):
    """One figure: measured (by `evidence`, or elsewhere with a `reason`), an estimate, or unknown and who was asked."""

    basis: Literal["measured", "estimate", "unknown"]
    value: int | float | str | list[str] | Money | None = None
    reason: str = Field("", max_length=500)
    asked: str = Field("", max_length=120)
    evidence: int | None = Field(None, ge=1, le=10**8)


class PinBody(Body):
    """Whether it is a key moment."""

    pinned: bool


class TimeBody(Body):
    """When it really was, and how one knows."""

    at: datetime
    reason: str = Field(min_length=1, max_length=500)


def _one(request: ApiRequest, number: int, permission: Permission = Permission.SEE) -> Incident:
    rows = Incident.objects.select_related("team", "service")
    return team_object_or_404(rows, request.actor, permission=permission, number=number)


def _entry(incident: Incident, seq: int) -> dict[str, Any]:
    found = incident.timeline.filter(seq=seq).first()
    if found is None:
        raise NotFound(f"{incident.key} has no entry {seq}.", fix=f"It has 1 to {incident.last_seq}.")
    return shapes.entry(found, pins.overruled(incident))


@router.get(
    "incidents/{int:number}/impact", auth=permits(Permission.SEE), response=schemas.Listed[schemas.ImpactFigure]
)
def get_impact(request: ApiRequest, number: int) -> dict[str, Any]:
    """What users feel, in five figures; what a check measured is there until a person says otherwise."""
    incident = _one(request, number)
    found = impact.figures(incident, impact.findings_of(incident))
    return {"items": [shapes.impact_figure(figure) for figure in found], "next": None}


@router.put("incidents/{int:number}/impact/{str:name}", auth=permits(Permission.RESPOND), response=schemas.ImpactFigure)
def set_impact(request: ApiRequest, number: int, name: str, body: ImpactBody) -> dict[str, Any]:
    """Set one figure: `users`, `traffic`, `slices`, `tenants` or `cost`."""
    value = body.value.model_dump() if isinstance(body.value, Money) else body.value
    figure = impact.set_figure(
        _one(request, number, Permission.RESPOND),
        name,
        basis=body.basis,
        actor=request.actor,
        value=value,
        reason=body.reason,
        asked=body.asked,
        evidence=body.evidence,
    )
    return shapes.impact_figure(figure)


@router.put("incidents/{int:number}/timeline/{int:seq}/pin", auth=permits(Permission.RESPOND), response=schemas.Entry)
def set_pin(request: ApiRequest, number: int, seq: int, body: PinBody) -> dict[str, Any]:
    """Make an entry a key moment, or an ordinary one."""
    incident = _one(request, number, Permission.RESPOND)
    pins.pin(incident, seq, pinned=body.pinned, actor=request.actor)
    return _entry(incident, seq)


@router.put("incidents/{int:number}/timeline/{int:seq}/time", auth=permits(Permission.RESPOND), response=schemas.Entry)
def correct_time(request: ApiRequest, number: int, seq: int, body: TimeBody) -> dict[str, Any]:
    """Say when what a note tells really was; the answer is the entry that takes its place."""
    incident = _one(request, number, Permission.RESPOND)
    found = notes.correct_time(incident, seq, at=aware(body.at, "at"), reason=body.reason, actor=request.actor)
    return shapes.entry(found, pins.overruled(incident))
