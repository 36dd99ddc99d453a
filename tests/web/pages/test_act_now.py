"""Act now from an incident: choose, say why, see what would change, ask; through the page and the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from catalog.models import Connection, ModelVersion, Team, User
from common import clock
from incidents.models import Incident
from runbooks.models import ApprovalRequest, Effect, Run
from tests.factories import make_incident, make_service, make_user
from tests.factories_runbooks import pump
from tests.factories_web import Program, problem, signed_in

pytestmark = pytest.mark.django_db

ROLLBACK = {"action": "model.rollback", "in-to": "v42", "reason": "It answers nonsense."}


@pytest.fixture
def person(team: Team) -> User:
    return make_user("riley", team=team)


@pytest.fixture
def client(person: User) -> Client:
    return signed_in(person)


@pytest.fixture
def incident(team: Team, tmp_path: Path, settings: Any) -> Incident:
    """An incident of a service that can go back from v43 to v42."""
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    (tmp_path / "flags.json").write_text('{"model": {"value": "v43", "version": 1}}')
    Connection.objects.create(
        team=team, slug="flags", connector="file_flag", config={"path": "flags.json"}, created_at=clock.now()
    )
    service = make_service(team, "rag-chat", rollback={"connection": "flags", "flag": "model"})
    for version, state in (("v42", "kept"), ("v43", "serving")):
        ModelVersion.objects.create(service=service, version=version, state=state, served_from=clock.now())
    return make_incident(team, service)


def read(answer: HttpResponse) -> Any:
    return json.loads(answer.content)


def url(incident: Incident) -> str:
    return f"/incidents/{incident.number}/act"


def test_it_shows_what_would_change_before_it_asks(client: Client, incident: Incident) -> None:
    page = client.post(url(incident), ROLLBACK | {"step": "preview"})
    assert page.status_code == 200
    text = page.content.decode()
    assert "Roll back rag-chat: v43 → v42, 100 % of traffic, flag model" in text
    assert "Ask for approval" in text
    assert Run.objects.count() == 0


def test_it_asks_and_leads_to_what_follows(client: Client, incident: Incident) -> None:
    answer = client.post(url(incident), ROLLBACK | {"step": "act"})
    run = Run.objects.get()
    assert answer["Location"] == f"/runs/{run.uuid}"
    pump()
    again = client.post(url(incident), ROLLBACK | {"step": "act"})
    assert again["Location"] == f"/approvals/{ApprovalRequest.objects.get().uuid}"
    assert (Run.objects.count(), Effect.objects.count()) == (1, 0)


def test_it_says_why_an_action_cannot_be_chosen(client: Client, team: Team) -> None:
    page = client.get(url(make_incident(team, make_service(team, "bare")))).content.decode()
    assert "Not here: bare names no flag" in page
    assert "Tell the team" in page


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"reason": " "}, 422, "This field is required"),
        ({"reason": "x" * 501}, 422, "at most 500"),
        ({"in-to": "v99"}, 422, "v99"),
        ({"action": "model.nothing"}, 422, "There is no action"),
        ({"action": "notify.send", "in-text": "<script>alert(1)</script>" * 300}, 422, "at most 5000"),
    ],
)
def test_it_names_what_is_wrong_and_keeps_what_was_typed(
    client: Client, incident: Incident, changed: dict[str, str], status: int, says: str
) -> None:
    page = client.post(url(incident), ROLLBACK | {"step": "act"} | changed)
    assert page.status_code == status
    assert says in page.content.decode()
    assert Run.objects.count() == 0


@pytest.mark.parametrize("text", ['"><img src=x onerror=alert(1)>', "\u202eevil", "e" + "\u0301" * 300])
def test_it_shows_a_reason_as_text(client: Client, incident: Incident, text: str) -> None:
    page = client.post(url(incident), ROLLBACK | {"step": "preview", "reason": text}).content.decode()
    assert "<img src=x" not in page
    client.post(url(incident), ROLLBACK | {"step": "act", "reason": text})
    pump()
    shown = client.get(f"/approvals/{ApprovalRequest.objects.get().uuid}").content.decode()
    assert "<img src=x" not in shown


def test_it_refuses_those_who_may_not_and_hides_the_incidents_of_others(team: Team, incident: Incident) -> None:
    assert signed_in(make_user("looker", roles=["viewer"], team=team)).get(url(incident)).status_code == 403
    assert signed_in(make_user("stranger")).get(url(incident)).status_code in (403, 404)
    assert Client().get(url(incident)).status_code == 302
    assert Client().post(url(incident), ROLLBACK | {"step": "act"}).status_code in (302, 403)
    assert Run.objects.count() == 0


def test_a_program_lists_and_asks_but_approves_nothing(person: User, incident: Incident) -> None:
    program = Program(person)
    path = f"incidents/{incident.number}/act"
    offered = read(program.get(path))["items"]
    assert [(row["action"], row["needs_approval"]) for row in offered] == [
        ("model.rollback", True),
        ("notify.send", False),
    ]
    body = {"action": "model.rollback", "params": {"to": "v42"}, "reason": "It answers nonsense."}
    made = program.post(path, body)
    assert made.status_code == 201
    run = read(made)["id"]
    assert read(program.post(path, body))["id"] == run
    pump()
    step = read(program.get(f"runs/{run}"))["steps"][0]
    refused = program.post(f"runs/{run}/steps/act/approve", {"digest": step["approval"]["digest"]})
    assert refused.status_code == 403
    assert "token" in problem(refused)["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "model.rollback", "params": {"to": "v42"}}, 422),
        ({"action": "model.rollback", "params": {"to": "v42"}, "reason": "  "}, 422),
        ({"action": "model.rollback", "params": {"to": ["v42"]}, "reason": "x"}, 422),
        ({"action": "model.rollback", "params": {"too": "v42"}, "reason": "x"}, 422),
        ({"action": "\u0000", "params": {}, "reason": "x"}, 400),
        ({"action": "model.rollback", "params": [], "reason": "x"}, 422),
        ("{", 400),
    ],
)
def test_a_program_is_told_what_is_wrong(person: User, incident: Incident, body: Any, status: int) -> None:
    answer = Program(person).post(f"incidents/{incident.number}/act", body)
    assert (answer.status_code, Run.objects.count()) == (status, 0), answer.content
    problem(answer)


def test_a_program_needs_the_scope(person: User, incident: Incident) -> None:
    answer = Program(person, ["read", "incidents:write"]).post(
        f"incidents/{incident.number}/act", {"action": "notify.send", "params": {"text": "x"}, "reason": "x"}
    )
    assert answer.status_code == 403
