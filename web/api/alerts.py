"""Alerts and the deliveries that brought them."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from ninja import Field, Query, Router

from catalog.permissions import Permission
from incidents.models import Alert, Delivery
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Page, listed, permits
from web.policy import team_object_or_404, visible

router = Router(by_alias=True, tags=["alerts"])
# A body may have 5 MiB and is never shown: a page of deliveries is read without its bodies.
_DELIVERIES = Delivery.objects.select_related("endpoint__team").defer("body_encrypted", "headers")


class AlertFilters(Page):
    """What the list of alerts may be narrowed to."""

    status: Literal["firing", "acknowledged", "resolved", "suppressed", "no_data"] | None = None
    severity: Literal["critical", "high", "warning", "info", "unknown"] | None = None
    service: str = Field("", max_length=60)
    incident: int | None = Field(None, ge=1)


class DeliveryFilters(Page):
    """What the list of deliveries may be narrowed to."""

    status: Literal["received", "processed", "rejected"] | None = None
    source: str = Field("", max_length=40)


@router.get("alerts", auth=permits(Permission.SEE, AlertFilters), response=schemas.Listed[schemas.Alert])
def list_alerts(request: ApiRequest, filters: Query[AlertFilters]) -> dict[str, Any]:
    """Alerts of your teams, newest first."""
    rows = visible(Alert.objects.all(), request.actor, team="endpoint__team")
    if filters.status:
        rows = rows.filter(status=filters.status)
    if filters.severity:
        rows = rows.filter(severity=filters.severity)
    if filters.service:
        rows = rows.filter(service__slug=filters.service)
    if filters.incident:
        rows = rows.filter(incident__number=filters.incident)
    return listed(rows.select_related("endpoint__team", "service", "incident"), filters, shapes.alert)


@router.get("alerts/{uuid:alert_id}", auth=permits(Permission.SEE), response=schemas.Alert)
def get_alert(request: ApiRequest, alert_id: UUID) -> dict[str, Any]:
    """One alert."""
    rows = Alert.objects.select_related("endpoint__team", "service", "incident")
    return shapes.alert(team_object_or_404(rows, request.actor, team="endpoint__team", uuid=alert_id))


@router.get("deliveries", auth=permits(Permission.SEE, DeliveryFilters), response=schemas.Listed[schemas.Delivery])
def list_deliveries(request: ApiRequest, filters: Query[DeliveryFilters]) -> dict[str, Any]:
    """Accepted webhooks of your teams, newest first."""
    rows = visible(_DELIVERIES.all(), request.actor, team="endpoint__team")
    if filters.status:
        rows = rows.filter(status=filters.status)
    if filters.source:
        rows = rows.filter(endpoint__source=filters.source)
    return listed(rows, filters, shapes.delivery)


@router.get("deliveries/{uuid:delivery_id}", auth=permits(Permission.SEE), response=schemas.Delivery)
def get_delivery(request: ApiRequest, delivery_id: UUID) -> dict[str, Any]:
    """One accepted webhook: its status, and the normalized alerts that it brought."""
    found = team_object_or_404(_DELIVERIES.all(), request.actor, team="endpoint__team", uuid=delivery_id)
    return shapes.delivery(found)
