"""Builders for tests: plain keyword functions, every argument defaulted, through our own verbs where they exist."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from catalog.actors import Actor, person
from catalog.models import Connection, Group, Membership, Picture, Service, Signal, Team, User
from common import clock
from incidents.models import Incident

_numbers = itertools.count(1)
ALL_ROLES = ["viewer", "responder", "approver", "author", "admin"]


def make_team(slug: str = "", **fields: Any) -> Team:
    """A team with its on-call group."""
    slug = slug or f"team-{next(_numbers)}"
    team = Team.objects.create(slug=slug, name=fields.pop("name", slug.title()), created_at=clock.now(), **fields)
    Group.objects.create(team=team, slug="oncall")
    return team


def make_user(
    username: str = "", *, team: Team | None = None, roles: list[str] | None = None, oncall: bool = True
) -> User:
    """A person, with roles in a team (all roles by default) and in its on-call group."""
    username = username or f"user-{next(_numbers)}"
    user = User.objects.create(username=username, email=f"{username}@example.com", created_at=clock.now())
    user.set_unusable_password()
    user.save(update_fields=["password"])
    if team is not None:
        Membership.objects.create(user=user, team=team, roles=ALL_ROLES if roles is None else roles)
        if oncall:
            team.groups.get(slug="oncall").members.add(user)
    return user


def make_actor(team: Team, roles: list[str] | None = None, username: str = "") -> Actor:
    """A person of a team, as an actor."""
    return person(make_user(username, team=team, roles=roles))


def make_connection(team: Team, slug: str = "prometheus", connector: str = "prometheus", **config: Any) -> Connection:
    """A connection row (its outer system may not exist)."""
    return Connection.objects.create(
        team=team,
        slug=slug,
        connector=connector,
        config=config or {"url": "http://127.0.0.1:9"},
        created_at=clock.now(),
    )


def make_service(team: Team | None = None, slug: str = "", **fields: Any) -> Service:
    """A service of a team."""
    slug = slug or f"service-{next(_numbers)}"
    team = team or make_team()
    return Service.objects.create(
        team=team, slug=slug, title=fields.pop("title", slug), created_at=clock.now(), **fields
    )


def make_signal(service: Service, name: str = "error_rate", query: str = "up", **fields: Any) -> Signal:
    """A signal of a service on the team's connection `prometheus`."""
    connection = fields.pop("connection", None) or make_connection(service.team, slug=f"prom-{next(_numbers)}")
    return Signal.objects.create(service=service, name=name, connection=connection, query=query, **fields)


def make_picture(signal: Signal, *values: float | None, key: str = "", **fields: Any) -> Picture:
    """What was read of a signal just now: these values, a minute apart, the last one now."""
    now = clock.now().replace(second=0, microsecond=0)
    values = values or (0.9, 0.91, 0.9, 0.8)
    start = now - timedelta(minutes=len(values) - 1)
    defaults: dict[str, Any] = {
        "source": signal.connection.slug,
        "query": signal.query,
        "unit": signal.unit,
        "worse": signal.worse,
        "start_at": start,
        "end_at": now,
        "step_seconds": 60,
        "values": list(values),
        "band": {
            "start": start.timestamp(),
            "step": 240,
            "for_step": 60,
            "low": [0.88] * (len(values) // 4 + 2),
            "mid": [0.9] * (len(values) // 4 + 2),
            "high": [0.92] * (len(values) // 4 + 2),
            "words": "Band: 10 to 90 % of the same hours of 7 earlier days.",
        },
        "state": "ok",
        "read_at": clock.now(),
        "tried_at": clock.now(),
    }
    return Picture.objects.create(service=signal.service, name=signal.name, key=key, **(defaults | fields))


def make_incident(team: Team | None = None, service: Service | None = None, **fields: Any) -> Incident:
    """An open incident row without a timeline; prefer incidents.lifecycle.declare where the timeline matters."""
    team = team or (service.team if service else make_team())
    now = clock.now()
    number = next(_numbers) + 100_000
    defaults: dict[str, Any] = {
        "number": number,
        "title": "Accuracy dropped",
        "group_key": f"test-{number}",
        "declared_by": "test",
        "started_at": now,
        "detected_at": now,
    }
    return Incident.objects.create(team=team, service=service, **(defaults | fields))
