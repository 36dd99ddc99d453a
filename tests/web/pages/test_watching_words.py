"""A run that watches says so in every list: what, until when, and how far it is."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.models import Team
from incidents.models import Incident
from runbooks.models import Run, StepRun
from tests.conftest import Clock
from tests.factories import make_user
from tests.factories_runbooks import step
from tests.factories_web import signed_in, text_of
from tests.fakes.world import World
from tests.runbooks.test_watch import come, watch

pytestmark = pytest.mark.django_db
SAYS = "Does it hold? until 07:00 , 3 of 4 samples"


@pytest.fixture
def client(team: Team) -> Client:
    return signed_in(make_user("riley", team=team))


@pytest.fixture
def watching(team: Team, world: World, incident: Incident, moved_clock: Clock) -> Run:
    """A run three samples into its four hours."""
    run = watch(team, incident, every="every: 1h, for: 4h")
    come(run, moved_clock, times=3)
    assert step(run, "holds").state == "sleeping"
    return run


def says(client: Client, path: str) -> str:
    answer: Any = client.get(path)
    return text_of(answer)


@pytest.mark.parametrize("state", ["sleeping", "ready"])
@pytest.mark.parametrize("page", ["/incidents/{number}/runs", "/runs", "/"])
def test_every_list_says_what_is_watched_until_when(
    watching: Run, incident: Incident, client: Client, page: str, state: str
) -> None:
    StepRun.objects.filter(run=watching).update(state=state)
    text = says(client, page.format(number=incident.number))
    assert f"watching: {SAYS}" in text
    assert "Watching" in text
    assert "waiting for: Does it hold?" not in text


def test_the_incident_and_the_run_say_it_too(watching: Run, incident: Incident, client: Client) -> None:
    assert f"Watching {SAYS}" in says(client, f"/incidents/{incident.number}")
    assert says(client, f"/runs/{watching.uuid}").count("Watching") >= 2


def test_what_waits_for_a_person_comes_before_a_watch(
    team: Team, world: World, incident: Incident, client: Client, moved_clock: Clock
) -> None:
    run = watch(team, incident, beside="    - {id: see, name: Have a look?, manual: Look., timeout: 9h}\n")
    StepRun.objects.filter(run=run, step="see").update(state="blocked", blocked_on="human")
    text = says(client, f"/incidents/{incident.number}/runs")
    assert "waiting for: Have a look?" in text
    assert "watching:" not in text
    assert "Waits for a person" in says(client, "/runs")


def test_it_is_silent_once_the_watch_is_over(
    watching: Run, incident: Incident, client: Client, moved_clock: Clock
) -> None:
    come(watching, moved_clock)
    for page in (f"/incidents/{incident.number}/runs", "/runs", "/"):
        assert "watching:" not in says(client, page)


def test_a_list_asks_as_much_for_many_watches_as_for_one(
    team: Team, world: World, client: Client, moved_clock: Clock
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as asked:
            client.get("/runs")
        return len(asked)

    watch(team)
    client.get("/runs")
    one = cost()
    for _ in range(3):
        watch(team)
    client.get("/runs")
    assert cost() == one
