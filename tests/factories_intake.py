"""Builders for the intake: endpoints, deliveries, notices."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import Any

from catalog.models import Service, Team
from common import clock
from incidents import alerts, endpoints, intake
from incidents.models import Delivery, Endpoint
from incidents.sources.base import AlertNotice, Reading
from tests.factories import make_team

_numbers = itertools.count(1)


def make_endpoint(
    team: Team | None = None, source: str = "alertmanager", service: Service | None = None, **config: Any
) -> Endpoint:
    """An endpoint of a team."""
    name = f"{source} {next(_numbers)}"
    return endpoints.create(source=source, name=name, team=team or make_team(), service=service, config=config)[0]


def make_notice(
    key: str = "k1", status: str = "firing", title: str | None = "Accuracy low", **fields: Any
) -> AlertNotice:
    """One alert as a source gives it."""
    fields.setdefault("starts_at", clock.now() - timedelta(minutes=5))
    return AlertNotice(dedup_key=key, status=status, title=title, **fields)  # type: ignore[arg-type]


def take(
    endpoint: Endpoint, body: bytes | str | dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[Delivery, bool]:
    """Post a body."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return intake.accept(endpoint, body=raw, headers=headers or {}, content_type="application/json")


def work_off(delivery: Delivery, *, now: datetime | None = None) -> tuple[Reading, list[alerts.Touched]]:
    """Read, apply and finish one delivery, as a worker does."""
    reading = intake.read_delivery(delivery)
    touched = alerts.apply(delivery.endpoint, reading.alerts, delivery_id=delivery.pk, now=now or clock.now())
    intake.finish(delivery, kind=reading.kind, alerts=reading.alerts, notes=reading.notes, reason=reading.reason)
    return reading, touched


def tell(endpoint: Endpoint, *notices: AlertNotice) -> list[alerts.Touched]:
    """Apply notices with a delivery id of their own, in order of calls."""
    return alerts.apply(endpoint, notices, delivery_id=next(_numbers), now=clock.now())
