"""How far runs may go on a service: on its page, in the API, and what a suggestion looks like."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from catalog.models import Service, Team
from runbooks.models import StepRun
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_runbooks import ASKS, make_runbook, pump, start, step, switching
from tests.factories_web import Program, signed_in
from tests.factories_web import text_of as text_in
from tests.fakes.world import World

pytestmark = pytest.mark.django_db


def text_of(answer: Any) -> str:
    return text_in(answer)


@pytest.fixture
def service(team: Team) -> Service:
    return make_service(team, "rag-chat")


@pytest.fixture
def client(team: Team) -> Client:
    return signed_in(make_user("riley", team=team))


def test_its_page_says_and_sets_it_with_a_reason(service: Service, client: Client) -> None:
    assert "Approve : every action that changes something asks first." in text_of(client.get("/services/rag-chat"))
    assert client.post("/services/rag-chat/autonomy", {"level": "observe", "reason": ""}).status_code == 422
    assert client.post("/services/rag-chat/autonomy", {"level": "observe", "reason": "A move."}).status_code == 302
    page = text_of(client.get("/services/rag-chat"))
    assert "Observe : checks run, nothing is proposed." in page
    assert "approve → observe by riley A move." in page


def test_only_who_configures_changes_it(team: Team, service: Service) -> None:
    client = signed_in(make_user(team=team, roles=["approver"]))
    assert "Change it" not in text_of(client.get("/services/rag-chat"))
    assert client.post("/services/rag-chat/autonomy", {"level": "observe", "reason": "x"}).status_code == 403


def test_the_api_sets_it_too(team: Team, service: Service) -> None:
    program = Program(make_user(team=team))
    answer: Any = program.call("PUT", "/api/v1/services/rag-chat/autonomy", {"level": "suggest", "reason": "x"})
    assert (answer.status_code, answer.json()["autonomy"]) == (200, "suggest")
    again = program.call("PUT", "/api/v1/services/rag-chat/autonomy", {"level": "suggest", "reason": "x"})
    assert again.status_code == 409


def test_a_suggestion_is_shown_and_answered(team: Team, service: Service, client: Client, world: World) -> None:
    Service.objects.update(autonomy="suggest")
    run = start(make_runbook(team, switching("set", ASKS)), make_actor(team), team, make_incident(team, service))
    pump()
    assert "Do this by hand: Switch off → b" in text_of(client.get("/"))
    assert "Do this by hand: Switch off → b" in text_of(client.get(f"/runs/{run.uuid}"))
    answered = client.post(f"/runs/{run.uuid}/steps/act/0/answer", {"decision": "done", "note": "By the console."})
    assert (answered.status_code, StepRun.objects.get().verdict, world.calls) == (302, "pass", [])
    assert "By the console." in step(run, "act").summary
