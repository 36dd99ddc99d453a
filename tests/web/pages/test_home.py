"""The first page: the four steps of the demo, and which of them is next."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog import people
from catalog.actors import person
from catalog.models import Membership, Team, User
from incidents import endpoints, lifecycle
from incidents.models import ActionItem, Alert, Endpoint, Incident, Postmortem
from runbooks.models import Run, StepRun
from tests.conftest import Clock
from tests.factories import ALL_ROLES, make_incident, make_service, make_team, make_user
from tests.factories_runbooks import make_runbook, start
from tests.factories_web import make_world, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> User:
    """The first user, with the demo's endpoint."""
    user = people.first_user()
    endpoints.create(source="alertmanager", name="demo", team=Team.objects.get(slug="default"))
    return user


def guide(user: User) -> str:
    """What the four steps say, without markup."""
    page = signed_in(user).get("/").content.decode()
    steps = re.search(r'<ol class="steps-guide">(.*?)</ol>', page, re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", steps[1])) if steps else ""


def alerted() -> Incident:
    """The live incident, as the demo's alert opens it."""
    team = Team.objects.get(slug="default")
    incident = make_incident(team, service=make_service(team, "rag-chat"))
    Alert.objects.create(
        endpoint=Endpoint.objects.get(), incident=incident, dedup_key="x", status="firing",
        severity="critical", title="x", starts_at=incident.started_at, first_seen_at=incident.started_at,
        last_seen_at=incident.started_at,
    )  # fmt: skip
    return incident


def test_it_says_that_the_alert_is_on_its_way(admin: User) -> None:
    assert "It is on its way by webhook" in guide(admin)


def test_it_leads_to_the_incident(admin: User) -> None:
    incident = alerted()
    assert f"Open {incident.key}" in guide(admin)
    assert "The checks are running" in guide(admin)
    lifecycle.acknowledge(incident, actor=person(admin))
    assert "See the alert (done)" in guide(admin)


def test_an_earlier_round_is_forgotten(admin: User) -> None:
    incident = alerted()
    Incident.objects.filter(pk=incident.pk).update(is_drill=True)
    assert "It is on its way by webhook" in guide(admin)


def test_there_is_no_guide_without_the_demo() -> None:
    assert guide(people.first_user()) == ""


def test_running_it_again_without_a_demo_does_nothing(admin: User) -> None:
    answer = signed_in(admin).post("/demo/again")
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert not Incident.objects.exists()


def test_an_exercise_makes_nobody_late_on_any_page(client: Client, team: Team, moved_clock: Clock) -> None:
    world, exercise = make_world(), make_world("exercise")
    for one in (world, exercise):
        Membership.objects.update_or_create(user=world.member, team=one.team, defaults={"roles": ALL_ROLES})
        ActionItem.objects.filter(pk=one.item.pk).update(owner=world.member)
    Incident.objects.update(mitigated_at=moved_clock())
    Incident.objects.filter(pk=exercise.incident.pk).update(is_drill=True)
    moved_clock.forward(days=9)
    browser = signed_in(world.member)
    assert browser.get("/api/v1/action-items?overdue=true").json()["items"][0]["id"] == str(world.item.uuid)
    assert len(browser.get("/api/v1/action-items?overdue=false").json()["items"]) == 1
    assert "\nbackstop_postmortems_overdue 1.0\n" in client.get("/metrics").content.decode()
    assert '1<span class="unseen"> overdue' in browser.get("/").content.decode()
    for address in ("/", "/actions?view=overdue"):
        page = browser.get(address).content.decode()
        assert f"/actions/{world.item.uuid}" in page
        assert f"/actions/{exercise.item.uuid}" not in page


def test_what_is_in_review_is_not_late(client: Client, team: Team, moved_clock: Clock) -> None:
    world = make_world()
    Incident.objects.update(mitigated_at=moved_clock())
    moved_clock.forward(days=9)
    browser = signed_in(world.member)
    assert "overdue, was due" in browser.get("/").content.decode()
    Postmortem.objects.update(state="in_review")
    assert "overdue, was due" not in browser.get("/").content.decode()
    assert "\nbackstop_postmortems_overdue 0.0\n" in client.get("/metrics").content.decode()


def test_what_asks_one_of_my_groups_comes_apart_from_what_asks_others() -> None:
    world = make_world()
    StepRun.objects.filter(pk=world.step.pk).update(state="blocked", blocked_on="approval")
    world.approval.state = "open"
    world.approval.save(update_fields=["state"])
    outsider = make_user(team=world.team, oncall=False)
    mine, theirs = (signed_in(user).get("/").content.decode() for user in (world.member, outsider))
    assert "Waits for you" in mine
    assert re.search(r'id="waits-head">Waits for you</h2><span class="count">1<', mine)
    assert re.search(r'id="waits-head">Waits for you</h2><span class="count">0<', theirs)
    assert "asks role:oncall" in theirs


def test_each_open_incident_says_how_it_stands() -> None:
    team = make_team()
    user = make_user(team=team)
    incident = make_incident(team, summary="Half of the answers are empty.")
    client = signed_in(user)
    assert "Half of the answers are empty." in client.get("/").content.decode()
    assert "nobody has acknowledged for" in client.get("/").content.decode()
    run = start(make_runbook(team, "  check:\n    - {id: look, manual: How bad is it}\n"), person(user), team, incident)
    ranked = [{"id": "bad", "title": "A bad version", "confidence": 0.9}]
    Run.objects.filter(pk=run.pk).update(diagnosis={"top": "bad", "title": "A bad version", "ranked": ranked})
    lifecycle.acknowledge(incident, actor=person(user))
    page = client.get("/now").content.decode()
    assert "Likely cause: A bad version." in page
    assert f"{user.label} leads" in page


def test_it_asks_the_database_as_often_for_many_incidents_as_for_one() -> None:
    team = make_team()
    client, counts = signed_in(make_user(team=team)), []
    for more in (1, 12):
        for _ in range(more):
            make_incident(team, make_service(team))
        with CaptureQueriesContext(connection) as asked:
            assert client.get("/").status_code == 200
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_every_page_keeps_its_counts_and_the_lamp_by_one_fragment() -> None:
    world = make_world()
    shown = signed_in(world.member).get("/pulse").content.decode()
    assert 'id="rail-waits" hx-swap-oob="true"' in shown
    assert "No worker has started yet" in shown
