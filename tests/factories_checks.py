"""Builders for checks and actions: a context, a service with a metrics connection, changes, versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from catalog import changes
from catalog.models import Change, Connection, ModelVersion, Service, Team
from runbooks.checks.base import Context
from tests.factories import make_connection, make_service, make_signal, make_team

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def make_context(service: Service | None = None, *, team: Team | None = None, **fields: Any) -> Context:
    """What a run knows, at NOW, half an hour after the onset."""
    defaults: dict[str, Any] = {
        "team": team or (service.team if service else make_team()),
        "service": service,
        "now": NOW,
        "onset": NOW - timedelta(minutes=30),
        "incident_key": "INC-1",
        "run_uuid": "6b1f2c8e-0000-4000-8000-000000000001",
        "step_key": "run:step:0",
        "deadline": NOW + timedelta(seconds=30),
    }
    return Context(**(defaults | fields))


def make_measured(url: str, *, query: str = "q", compare: dict[str, Any] | None = None, **signal: Any) -> Service:
    """A service `rag-chat` with the signal `accuracy` on a Prometheus at `url`."""
    service = make_service(slug="rag-chat", title="RAG chat")
    connection = make_connection(service.team, slug="prometheus", url=url)
    make_signal(service, "accuracy", query, connection=connection, compare=compare or {}, **signal)
    return service


def make_json_connection(team: Team, url: str, slug: str = "outer") -> Connection:
    """A connection of kind http_json."""
    return make_connection(team, slug=slug, connector="http_json", url=url)


def make_versions(service: Service, *states: tuple[str, str]) -> list[ModelVersion]:
    """Versions with their states, a day apart, oldest first."""
    start = NOW - timedelta(days=len(states))
    return [
        ModelVersion.objects.create(
            service=service, version=version, state=state, served_from=start + timedelta(days=index)
        )
        for index, (version, state) in enumerate(states)
    ]


def make_change(service: Service, *, minutes_before: float, kind: str = "model", **fields: Any) -> Change:
    """A change so many minutes before the onset of `make_context`."""
    at = NOW - timedelta(minutes=30 + minutes_before)
    told: dict[str, Any] = {"summary": f"Deployed {kind}", "source": "test", "occurred_at": at}
    change, _ = changes.record(team=service.team, service=service, kind=kind, **(told | fields))
    return change
