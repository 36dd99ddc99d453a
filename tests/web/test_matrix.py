"""Every address, operation, export and stream × every role × a foreign thing, made from the URLconf and the API itself.

How each is called is in tests/web/addresses.py; an address, a gap or a body that is not there fails.
"""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from catalog import people
from catalog.models import Membership, User
from catalog.permissions import OF_ALL_TEAMS, ROLES, Permission, scoped
from tests.factories import ALL_ROLES, make_team, make_user
from tests.factories_web import MARK, Program, World, make_world, signed_in
from tests.web.addresses import FORMS, KINDS, OPEN, STREAMS, WORDS, Call, by_area, operations, pages

# 405: the page has no such method. 404 and 403 say whether the thing is known to the caller.
REFUSED = (403, 404, 405)
# What somebody who may gets for a form without a word in it; 409 where an earlier caller was faster.
SERVED = (200, 204, 302, 405, 409, 422)
# A person without a password is sent to a login link instead.
NEEDS_PASSWORD = {"account_reauthenticate"}
# Who is in a team is what an org admin manages; everything else of a team is hidden from them.
WHO_IS_WHO = {"people", "person_new", "person_roles", "person_link", "accounts", "account_active", "account_org_admin"}

SHOWN = [call for call in pages() if call.name not in OPEN and not call.route.startswith(STREAMS)]
PAGES = [pytest.param(calls, id=area) for area, calls in by_area(SHOWN).items()]
CALLS = [pytest.param(calls, id=area) for area, calls in by_area(operations()).items()]


@pytest.fixture
def world(db: None) -> World:
    """The team whose things are asked for."""
    cache.clear()
    return make_world()


def stranger() -> User:
    """One who may do everything, in another team."""
    return make_user(team=make_team())


def limited(world: World, role: str) -> User:
    """One who holds a role here and every role elsewhere: what they may must be judged in the team of the thing."""
    user = make_user(team=world.team, roles=[role])
    Membership.objects.create(user=user, team=make_team(), roles=ALL_ROLES)
    return user


def send(client: Client, call: Call, method: str, path: str, form: dict[str, Any] | None = None) -> tuple[int, bytes]:
    """Status and what is told, without the address itself where it is repeated."""
    form = form or (WORDS.get(call.name) if method == "POST" else None)
    answer = client.generic(method, path) if form is None else client.post(path, form)
    told = b"" if answer.streaming else answer.content
    assert answer.status_code < 500, f"{method} {path} ({call.name})"
    return answer.status_code, told.replace(path.encode(), b"")


# --- the matrix itself -----------------------------------------------------------------------------------------------
def test_it_fails_for_what_nobody_taught_it(world: World) -> None:
    for route in ("incidents/<int:number>/<slug:surprise>", "surprises/<int:number>", "api/v1/runs/<uuid:surprise>"):
        with pytest.raises(AssertionError, match=r"cannot fill <\w+>"):
            Call("x", "GET", route, Permission.SEE).paths(world)
    with pytest.raises(AssertionError, match="does not know what POST surprises takes"):
        Call("POST surprises", "POST", "api/v1/surprises", Permission.SEE, takes_body=True).body(world)


def test_every_address_can_be_called(world: World) -> None:
    for call in [*pages(), *operations()]:
        if not call.route.startswith("^"):
            assert all("<" not in path for path in call.paths(world))
            call.body(world)


def test_only_the_listed_addresses_are_open_to_everybody() -> None:
    assert {call.name for call in pages() if call.permission is Permission.ANYONE} == OPEN


# --- pages and exports -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("calls", PAGES)
def test_a_page_shows_itself_to_nobody_else(world: World, calls: list[Call]) -> None:
    nobody, other = Client(raise_request_exception=False), signed_in(stranger())
    for call in calls:
        for path in call.paths(world):
            for method in ("GET", "POST"):
                refused = nobody.generic(method, path)
                assert refused.status_code == 302, f"{method} {path} by nobody"
                assert refused["Location"].startswith("/login?next=")
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                status, told = send(other, call, method, path)
                assert MARK.encode() not in told, f"{method} {path} ({call.name}) by a stranger"
                if call.is_owned:
                    assert status in REFUSED, f"{method} {path} by a stranger: {status}"
                    assert status != 403 or call.permission is Permission.ORG_ADMIN, f"{method} {path}: 403 tells"


@pytest.mark.parametrize("calls", PAGES)
def test_a_page_obeys_every_role(world: World, calls: list[Call]) -> None:
    here = {role: signed_in(limited(world, role)) for role in ROLES}
    only = {role: signed_in(make_user(team=world.team, roles=[role])) for role in ROLES}
    for call in calls:
        for role in ROLES:
            client = (here if call.is_owned else only)[role]
            personal = call.permission is Permission.SIGNED_IN
            for path in call.paths(world):
                may = call.needs(path) in ROLES[role] or (personal and not call.is_owned)
                for method in ("GET", "POST"):
                    status, _ = send(client, call, method, path)
                    told = f"{method} {path} ({call.name}) by a {role}: {status}"
                    if not may:
                        assert status in REFUSED, told
                    elif method == "GET" and call.name not in NEEDS_PASSWORD:
                        assert status in (200, 302, 405), told
                    elif call.permission not in (Permission.SEE, Permission.SIGNED_IN):
                        assert status in SERVED, told


@pytest.mark.parametrize("calls", PAGES)
def test_an_org_admin_sees_only_who_is_who(world: World, calls: list[Call]) -> None:
    client = signed_in(people.create_user(username="boss", email="boss@example.com", is_org_admin=True))
    for call in calls:
        for path in call.paths(world):
            for method in ("GET", "POST"):
                status, told = send(client, call, method, path)
                if call.name in WHO_IS_WHO:
                    assert status in SERVED, f"{method} {path} by an org admin: {status}"
                else:
                    assert MARK.encode() not in told, f"{method} {path} by an org admin"
                    assert not call.is_owned or status in REFUSED, f"{method} {path} by an org admin: {status}"


def test_a_form_cannot_name_a_foreign_thing(world: World) -> None:
    client = signed_in(stranger())
    for call in SHOWN:
        # What only shows, is about oneself, or is an org admin's names no thing of a team.
        asks = call.permission not in (Permission.SEE, Permission.SIGNED_IN, Permission.ORG_ADMIN)
        if not asks or call.is_owned or call.name == "demo_again":
            continue
        assert call.name in FORMS, f"FORMS in tests/web/addresses.py does not know the form of {call.name}"
        status, told = send(client, call, "POST", call.paths(world)[0], FORMS[call.name](world))
        assert status in (404, 422), f"{call.name}: {status}"
        assert f"{MARK} ".encode() not in told
    for model in (world.team.connections, world.team.endpoints, world.team.incidents, world.team.memberships):
        assert model.count() == 1


@pytest.mark.parametrize("calls", PAGES)
def test_a_page_about_own_things_shows_nothing_foreign(world: World, calls: list[Call]) -> None:
    mine = make_world("mine", mark="ownmark")
    client = signed_in(mine.member)
    for call in calls:
        for path in call.paths(mine):
            for method in ("GET", "POST"):
                status, told = send(client, call, method, path)
                if method == "GET" and call.is_owned and call.permission is not Permission.ORG_ADMIN:
                    assert status in (200, 302, 405), f"{path} by its owner: {status}"
                assert MARK.encode() not in told, f"{method} {path} ({call.name}) by somebody of another team"


@pytest.mark.parametrize("calls", CALLS)
def test_an_operation_about_own_things_tells_nothing_foreign(world: World, calls: list[Call]) -> None:
    mine = make_world("mine", mark="ownmark")
    for caller in (Program(mine.member), signed_in(mine.member)):
        for call in calls:
            for path in call.paths(mine):
                _, told = ask(caller, call, path, call.body(mine))
                assert MARK.encode() not in told, f"{call.name} by somebody of another team"


def test_a_foreign_thing_below_an_own_one_is_not_found(world: World) -> None:
    mine = make_world("mine")
    client = signed_in(mine.member)
    for path in (
        f"incidents/{mine.incident.number}/gates/{world.gate.pk}",
        f"connections/{mine.team.slug}/{world.connection.slug}",
        f"connections/{mine.team.slug}/{world.connection.slug}/check",
        f"people/{mine.team.slug}/{world.member.username}",
        f"people/{world.member.username}/link",
        f"teams/{mine.team.slug}/addresses/{world.address.pk}/remove",
        f"account/tokens/{world.token.pk}/revoke",
        f"account/addresses/{world.member_address.pk}/remove",
    ):
        assert client.post(f"/{path}", {"note": "x"}).status_code == 404, path


# --- the API ---------------------------------------------------------------------------------------------------------
def ask(caller: Client | Program, call: Call, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
    """Call an operation as a browser or as a program."""
    if isinstance(caller, Program):
        answer: Any = caller.call(call.method, path, body)
    elif body is None:
        answer = caller.generic(call.method, path)
    else:
        answer = caller.generic(call.method, path, Program.encode(body), content_type="application/json")
    assert answer.status_code < 500, f"{call.name}: {answer.content[:300]}"
    return answer.status_code, answer.content


@pytest.mark.parametrize("calls", CALLS)
def test_an_operation_knows_no_foreign_thing(world: World, calls: list[Call]) -> None:
    user = stranger()
    for caller in (Program(user), signed_in(user)):
        for call in calls:
            for path in call.paths(world):
                status, told = ask(caller, call, path, call.body(world))
                assert MARK.encode() not in told, f"{call.name} by a stranger"
                if call.permission in OF_ALL_TEAMS:
                    # What concerns everybody at once is no thing of the other team.
                    continue
                if call.is_owned or call.takes_body:
                    never = isinstance(caller, Program) and call.permission is Permission.APPROVE
                    assert status == (403 if never else 404), f"{call.name} by a stranger: {status}"


@pytest.mark.parametrize("calls", CALLS)
@pytest.mark.parametrize("door", ["token", "session"])
def test_an_operation_obeys_every_role(world: World, calls: list[Call], door: str) -> None:
    for role in ROLES:
        # What concerns every team at once is held in any team: there nobody may have another role elsewhere.
        users = {False: limited(world, role), True: make_user(team=world.team, roles=[role])}
        callers = {key: Program(user) if door == "token" else signed_in(user) for key, user in users.items()}
        given = ROLES[role] & scoped(["*"]) if door == "token" else ROLES[role]
        for call in calls:
            for path in call.paths(world):
                status, told = ask(callers[call.permission in OF_ALL_TEAMS], call, path, call.body(world))
                may = call.permission in given
                assert status in ((200, 201, 409) if may else (403,)), f"{call.name} by a {role}: {status} {told!r}"


def test_a_stranger_cannot_tell_a_foreign_thing_from_none(world: World) -> None:
    other = Program(stranger())
    there = other.get(f"runs/{world.run.uuid}")
    not_there = other.get(f"runs/{uuid.uuid4()}")
    strip = re.compile(rb'"request_id": "[^"]*"')
    assert strip.sub(b"", there.content) == strip.sub(b"", not_there.content)
    assert there.status_code == not_there.status_code == 404


# --- streams ---------------------------------------------------------------------------------------------------------
def test_every_stream_that_a_page_opens_is_known() -> None:
    root = Path(__file__).parents[2]
    told = "".join(file.read_text() for file in (root / "templates").rglob("*.html"))
    told += (root / "docs" / "guide" / "api.md").read_text()
    named = set(re.findall(r"/(?:live|version)/(\w+)/", told)) | {
        kind for group in re.findall(r"/live/<([\w|]+)>", told) for kind in group.split("|")
    }
    assert named
    assert named <= set(KINDS)


def test_a_stream_obeys_every_role(world: World) -> None:
    members = [signed_in(make_user(team=world.team, roles=[role])) for role in ROLES]
    others = [signed_in(stranger()), signed_in(make_user())]
    for call in pages():
        if not call.route.startswith(STREAMS):
            continue
        for path in call.paths(world):
            assert Client().get(path).status_code == 401, f"{path} by nobody"
            for client in members:
                assert client.get(path).status_code == 200, path
            for client in others:
                assert client.get(path).status_code == (200 if "/home/" in path else 404), f"{path} by a stranger"
