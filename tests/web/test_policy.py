"""Every address declares who may open it, and one that does not is refused."""

from __future__ import annotations

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from catalog.actors import person
from catalog.models import Team
from catalog.permissions import Permission
from common.errors import Forbidden, NotFound
from incidents.models import Incident
from tests.factories import make_actor, make_incident, make_team, make_user
from tests.web.addresses import every_view
from web import policy
from web.api import api
from web.api.doors import Door
from web.middleware import Policy


def test_every_address_declares_a_permission() -> None:
    undeclared = [route for route, pattern in every_view() if policy.permission_of(pattern.callback) is None]
    assert not undeclared


def test_every_operation_of_the_api_declares_a_permission() -> None:
    missing = []
    for bound in api._get_bound_routers():
        for path, view in bound.path_operations.items():
            for operation in view.operations:
                doors = [door for door in operation.auth_callbacks if isinstance(door, Door)]
                if len(doors) != 1 or doors[0].permission in (None, Permission.ANYONE):
                    missing.append(f"{operation.methods} {path}")
    assert not missing


@pytest.mark.django_db
def test_a_view_without_a_permission_is_refused() -> None:
    def forgotten(request: HttpRequest) -> HttpResponse:
        return HttpResponse("secret")

    request = RequestFactory().get("/x")
    SessionMiddleware(lambda r: HttpResponse()).process_request(request)
    request.user = make_user()
    refused = Policy(lambda r: HttpResponse()).process_view(request, forgotten, [], {})
    assert refused is not None
    assert refused.status_code == 403


def test_it_finds_only_things_of_the_own_teams(team: Team) -> None:
    mine, foreign = make_incident(team), make_incident(make_team())
    actor = make_actor(team, ["viewer"])
    assert policy.team_object_or_404(Incident.objects.all(), actor, number=mine.number) == mine
    for number in (foreign.number, 1):
        with pytest.raises(NotFound) as refused:
            policy.team_object_or_404(Incident.objects.all(), actor, number=number)
        assert str(number) not in refused.value.sentence
    assert list(policy.visible(Incident.objects.all(), actor)) == [mine]


def test_it_asks_for_the_permission_in_the_team_of_the_thing(team: Team) -> None:
    mine = make_incident(team)
    actor = make_actor(team, ["viewer"])
    with pytest.raises(Forbidden):
        policy.team_object_or_404(Incident.objects.all(), actor, permission=Permission.RESPOND, number=mine.number)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url",
    [
        "//evil.test",
        "/\\evil.test",
        "https://me.test@evil.test",
        "https://evil.test/",
        "javascript:alert(1)",
        "///evil.test",
        "http:///evil.test",
        "\\\\evil.test",
        "/\t/evil.test",
        " //evil.test",
        "",
        None,
    ],
)
def test_it_never_goes_to_another_host(url: str | None) -> None:
    assert policy.safe_next(RequestFactory().get("/"), url) == "/"


@pytest.mark.parametrize("url", ["/", "/incidents/4?x=1#E12", "http://testserver/runs"])
def test_it_goes_to_addresses_of_our_own(url: str) -> None:
    assert policy.safe_next(RequestFactory().get("/"), url) == url


def test_a_person_without_a_team_holds_nothing_anywhere(team: Team) -> None:
    actor = person(make_user())
    assert not any(policy.holds_anywhere(actor, p) for p in Permission if p not in policy.TEAMLESS)
    assert policy.holds_anywhere(make_actor(team, ["responder"]), Permission.RUN)
