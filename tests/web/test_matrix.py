"""Every address × every role × a foreign thing, made from the URLconf and the API itself.

A route with a gap that this file cannot fill fails: whoever adds an address teaches the matrix to call it, by GAPS.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from catalog.permissions import ROLES, Permission
from tests.factories import make_team, make_user
from tests.factories_web import MARK, Program, World, make_world, signed_in
from tests.web.test_policy import every_view
from web import policy
from web.api import api
from web.api.doors import Door

# What fills a gap: by the words of the route before it, and its name. The first fit counts.
GAPS: list[tuple[str, str, Any]] = [
    ("hooks/", "source", lambda w: "alertmanager"),
    ("hooks/", "token", lambda w: w.endpoint_token),
    ("login/link/", "token", lambda w: "unknown"),
    ("live/", "kind", lambda w: "incident"),
    ("version/", "kind", lambda w: "incident"),
    ("live/", "key", lambda w: w.incident.number),
    ("version/", "key", lambda w: w.incident.number),
    ("incidents/", "evidence", lambda w: w.evidence),
    ("incidents/", "gate", lambda w: w.gate.pk),
    ("incidents/", "number", lambda w: w.incident.number),
    ("postmortems/", "number", lambda w: w.incident.number),
    ("postmortems/", "form", lambda w: "md"),
    ("actions/new/", "number", lambda w: w.incident.number),
    ("actions/", "uuid", lambda w: w.item.uuid),
    ("actions/", "verb", lambda w: "commit"),
    ("runs/", "step", lambda w: "look"),
    ("runs/", "item", lambda w: 0),
    ("runs/", "uuid", lambda w: w.run.uuid),
    ("runs/", "run_id", lambda w: w.run.uuid),
    ("approvals/", "uuid", lambda w: w.approval.uuid),
    ("deliveries/", "uuid", lambda w: w.delivery.uuid),
    ("deliveries/", "delivery_id", lambda w: w.delivery.uuid),
    ("alerts/", "alert_id", lambda w: w.alert.uuid),
    ("action-items/", "item_id", lambda w: w.item.uuid),
    ("runbooks/", "number", lambda w: 1),
    ("runbooks/", "slug", lambda w: w.runbook.slug),
    ("runbooks/", "runbook", lambda w: w.runbook.slug),
    ("services/", "slug", lambda w: w.service.slug),
    ("services/", "service", lambda w: w.service.slug),
    ("connections/", "team", lambda w: w.team.slug),
    ("connections/", "slug", lambda w: w.connection.slug),
    ("endpoints/", "pk", lambda w: w.endpoint.pk),
    ("people/", "username", lambda w: w.member.username),
    ("people/", "team", lambda w: w.team.slug),
    ("account/addresses/", "pk", lambda w: w.member_address.pk),
    ("account/tokens/", "pk", lambda w: w.token.pk),
    ("guide/", "page", lambda w: "roles"),
]
# Addresses whose gap names nothing that a team owns: a guide page, the list of sources of the hooks.
WITHOUT_OWNER = ("guide/", "hooks/", "login/")
# Open to everybody, in words of their own (tests/web/test_hooks.py, test_sign_in.py, test_health.py).
OPEN = {
    "healthz",
    "readyz",
    "healthz_engine",
    "metrics",
    "hook",
    "hook_without_token",
    "pagerduty_enqueue",
    "account_login",
    "login_link",
    "account_logout",
    "account_signup",
    "api_unknown",
}
GAP = re.compile(r"<(?:\w+:)?(\w+)>")


def routes() -> list[tuple[str, str, Permission]]:
    """Name, route and permission of every address outside the API."""
    found = []
    for route, pattern in every_view():
        if not route.startswith("api/v1/"):
            permission = policy.permission_of(pattern.callback)
            assert permission is not None, route
            found.append((str(pattern.name), route, permission))
    return found


def operations() -> list[tuple[str, str, Permission]]:
    """Method, route and permission of every operation of the API."""
    found: list[tuple[str, str, Permission]] = []
    for bound in api._get_bound_routers():
        for path, view in bound.path_operations.items():
            for operation in view.operations:
                door = operation.auth_callbacks[0]
                assert isinstance(door, Door)
                assert door.permission is not None
                route = "api/v1/" + path.replace("{", "<").replace("}", ">")
                found.extend((method, route, door.permission) for method in operation.methods)
    return found


def filled(route: str, world: World) -> str:
    """The address with the world's things in its gaps; fails for a gap that nobody taught it."""
    path = route.removeprefix("api/v1/")

    def value(match: re.Match[str]) -> str:
        for start, name, fill in GAPS:
            if path.startswith(start) and match[1] == name:
                return str(fill(world))
        raise AssertionError(f"GAPS in tests/web/test_matrix.py cannot fill <{match[1]}> of {route}")

    return "/" + GAP.sub(value, route.removeprefix("^").rstrip("$"))


@pytest.fixture
def world(db: None) -> World:
    """The foreign team."""
    cache.clear()
    return make_world()


def is_owned(route: str) -> bool:
    """Whether the address names a thing of a team or person."""
    return bool(GAP.search(route)) and not route.startswith(WITHOUT_OWNER)


def by_area(rows: list[tuple[str, str, Permission]]) -> dict[str, list[tuple[str, str, Permission]]]:
    """Rows by the first word of their route: one world serves an area, which a world per address would cost minutes."""
    areas: dict[str, list[tuple[str, str, Permission]]] = {}
    for row in rows:
        areas.setdefault(row[1].removeprefix("api/v1/").split("/")[0] or "home", []).append(row)
    return areas


PAGES = [pytest.param(rows, id=area) for area, rows in by_area([r for r in routes() if r[0] not in OPEN]).items()]
CALLS = [pytest.param(rows, id=area) for area, rows in by_area(operations()).items()]


def test_every_gap_can_be_filled(world: World) -> None:
    for _, route, _ in [*routes(), *operations()]:
        if not route.startswith("^"):
            assert "<" not in filled(route, world)


def test_only_the_listed_addresses_are_open_to_everybody() -> None:
    assert {name for name, _, permission in routes() if permission is Permission.ANYONE} == OPEN


@pytest.mark.parametrize("rows", PAGES)
def test_a_page_shows_itself_to_nobody_else(world: World, rows: list[tuple[str, str, Permission]]) -> None:
    nobody = Client(raise_request_exception=False)
    user = make_user(team=make_team())
    stranger = signed_in(user)
    for name, route, permission in rows:
        path = filled(route, world)
        for method in ("get", "post"):
            refused = getattr(nobody, method)(path)
            program = route.startswith(("live/", "version/"))
            assert refused.status_code == (401 if program else 302), f"{method} {path} by nobody"
            assert program or refused["Location"].startswith("/login?next=")
            answer = getattr(stranger, method)(path)
            told = b"" if answer.streaming else answer.content
            assert MARK.encode() not in told.replace(path.encode(), b""), f"{method} {path} ({name}) by a stranger"
            assert answer.status_code < 500, f"{method} {path} by a stranger"
            if is_owned(route):
                assert answer.status_code in (403, 404, 405), f"{method} {path} by a stranger: {answer.status_code}"
                assert answer.status_code != 403 or permission is Permission.ORG_ADMIN, f"{method} {path}: 403 tells"


@pytest.mark.parametrize("rows", PAGES)
def test_a_page_obeys_every_role(world: World, rows: list[tuple[str, str, Permission]]) -> None:
    clients = {role: signed_in(make_user(team=world.team, roles=[role])) for role in ROLES}
    for _, route, permission in rows:
        if route.startswith("live/"):
            continue
        path = filled(route, world)
        for role, client in clients.items():
            may = permission in (Permission.SIGNED_IN, *ROLES[role])
            for method in ("get", "post"):
                answer = getattr(client, method)(path)
                assert answer.status_code < 500, f"{method} {path} by a {role}"
                if not may:
                    assert answer.status_code in (403, 404, 405), f"{method} {path} by a {role}: {answer.status_code}"


@pytest.mark.parametrize("rows", CALLS)
def test_an_operation_obeys_every_role(world: World, rows: list[tuple[str, str, Permission]]) -> None:
    stranger = Program(make_user(team=make_team()))
    programs = {role: Program(make_user(team=world.team, roles=[role])) for role in ROLES}
    for method, route, permission in rows:
        path = filled(route, world)
        bodies: tuple[dict[str, Any] | None, ...] = (None, {})
        for body in bodies:
            answer = stranger.call(method, path, body)
            assert MARK.encode() not in answer.content, f"{method} {path} by a stranger"
            if is_owned(route.removeprefix("api/v1/")):
                assert answer.status_code in (400, 403, 404, 422), (
                    f"{method} {path} by a stranger: {answer.status_code}"
                )
        for role, program in programs.items():
            answer = program.call(method, path, {})
            assert answer.status_code < 500, f"{method} {path} by a {role}"
            if permission not in ROLES[role] or permission is Permission.APPROVE:
                assert answer.status_code == 403, f"{method} {path} by a {role}: {answer.status_code}"


def test_a_stranger_cannot_tell_a_foreign_thing_from_none(world: World) -> None:
    stranger = Program(make_user(team=make_team()))
    there = stranger.get(f"runs/{world.run.uuid}")
    not_there = stranger.get(f"runs/{uuid.uuid4()}")
    strip = re.compile(rb'"request_id": "[^"]*"')
    assert strip.sub(b"", there.content) == strip.sub(b"", not_there.content)
    assert there.status_code == not_there.status_code == 404
