"""Every page opens for a member, with one thing of every kind in it; for nobody else."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.factories import make_team, make_user
from tests.factories_web import MARK, World, make_world
from web.pages.incidents.incident import PARTS, TABS

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_world()


def addresses(world: World) -> list[str]:
    """Every page that is about the world."""
    number, run = world.incident.number, world.run.uuid
    return [
        "/",
        "/now",
        "/incidents",
        "/incidents?view=open&severity=3&q=incident",
        "/incidents/new",
        f"/incidents/{number}",
        f"/incidents/{number}/timeline?kind=note",
        *(f"/incidents/{number}/{tab}" for tab in TABS if tab != "now"),
        *(f"/incidents/{number}/parts/{part}" for part in PARTS),
        f"/incidents/{number}/evidence/1",
        "/runs",
        "/runs?view=open",
        f"/runs/{run}",
        f"/runs/{run}/steps",
        f"/approvals/{world.approval.uuid}",
        "/runbooks",
        "/runbooks/new",
        f"/runbooks/{world.runbook.slug}",
        f"/runbooks/{world.runbook.slug}/edit",
        f"/runbooks/{world.runbook.slug}/revisions/1",
        f"/runbooks/{world.runbook.slug}/compare",
        "/services",
        f"/services/{world.service.slug}",
        "/services/new",
        "/setup",
        "/evaluation-sets",
        "/connections",
        "/connections/new",
        f"/connections/{world.team.slug}/{world.connection.slug}",
        "/secrets",
        "/endpoints",
        "/endpoints/new",
        f"/endpoints/{world.endpoint.pk}",
        f"/deliveries/{world.delivery.uuid}",
        "/postmortems",
        f"/postmortems/{number}",
        f"/postmortems/{number}/edit",
        f"/postmortems/{number}/export.md",
        f"/postmortems/{number}/export.html",
        f"/postmortems/{number}/export.json",
        "/actions",
        "/actions?view=all",
        f"/actions/new/{number}",
        f"/actions/{world.item.uuid}",
        "/people",
        "/people/new",
        f"/people/{world.team.slug}/{world.member.username}",
        "/account",
        "/guide",
    ]


def test_it_opens_every_page_for_a_member(client: Client, world: World) -> None:
    client.force_login(world.member)
    answers = {path: client.get(path).status_code for path in addresses(world)}
    assert {path: status for path, status in answers.items() if status != 200} == {}


def test_it_shows_each_thing_on_its_own_page(client: Client, world: World) -> None:
    client.force_login(world.member)
    own = [path for path in addresses(world) if str(world.incident.number) in path or "-" in path]
    unseen = [path for path in own if MARK not in client.get(path).content.decode()]
    assert unseen == []


def test_it_sends_a_visitor_to_sign_in(client: Client, world: World) -> None:
    answers = {path: client.get(path) for path in addresses(world)}
    assert {path for path, answer in answers.items() if answer.status_code != 302} == set()
    assert all(answer["Location"].startswith("/login?next=") for answer in answers.values())


def test_it_hides_everything_from_another_team(client: Client, world: World) -> None:
    client.force_login(make_user("stranger", team=make_team("elsewhere")))
    for path in addresses(world):
        answer = client.get(path)
        assert MARK not in answer.content.decode(), path
        assert answer.status_code in (200, 404), path


def test_it_opens_every_page_for_a_viewer_or_says_why_not(client: Client, world: World) -> None:
    client.force_login(make_user("onlooker", team=world.team, roles=["viewer"]))
    for path in addresses(world):
        answer = client.get(path)
        assert answer.status_code in (200, 403), path
        assert answer.status_code == 200 or "Request id" in answer.content.decode(), path


def test_it_opens_the_pages_of_an_empty_team(client: Client) -> None:
    client.force_login(make_user("first", team=make_team("fresh")))
    for path in (
        "/",
        "/incidents",
        "/runs",
        "/runbooks",
        "/services",
        "/evaluation-sets",
        "/connections",
        "/endpoints",
        "/postmortems",
        "/actions",
        "/people",
        "/account",
    ):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert 'class="empty"' in answer.content.decode() or path == "/people", path
