"""The kill switch on pages, in the API and from the shell: the same verbs, and a banner that nobody can miss."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from catalog.models import KillSwitch, Team
from incidents.models import Incident
from runbooks import killswitch
from runbooks.models import ApprovalRequest
from tests.factories import make_actor, make_incident, make_service, make_team, make_user
from tests.factories_runbooks import ASKS, approve, make_runbook, pump, start, switching
from tests.factories_web import Program, signed_in
from tests.factories_web import text_of as text_in
from tests.fakes.world import World

pytestmark = pytest.mark.django_db


def text_of(answer: Any) -> str:
    return text_in(answer)


@pytest.fixture
def client(team: Team) -> Client:
    return signed_in(make_user("riley", team=team))


def incident_of_chat(team: Team) -> Incident:
    return make_incident(team, make_service(team, "rag-chat"))


def test_it_stops_and_allows_with_a_reason_and_every_page_says_so(team: Team, client: Client, world: World) -> None:
    start(
        make_runbook(team, switching("set", ASKS)),
        make_actor(team),
        team,
        make_incident(team, make_service(team, "rag-chat")),
    )
    pump()
    assert "Stop all effects" in text_of(client.get("/"))
    assert "Switch it?" in text_of(client.get("/effects"))
    assert client.post("/effects/stop", {"reason": " "}).status_code == 422
    assert client.post("/effects/stop", {"reason": "Flags are broken."}).status_code == 302
    for page in ("/", "/incidents", "/effects", "/pulse"):
        assert "All effects are stopped by riley" in text_of(client.get(page)), page
    again = client.post("/effects/stop", {"reason": "Again."})
    assert (again.status_code, "stopped all effects already" in text_of(again)) == (422, True)
    assert client.post("/effects/allow", {"reason": "Mended."}).status_code == 302
    assert "Stopped by riley" in text_of(client.get("/effects"))
    assert "All effects are stopped by" not in text_of(client.get("/"))


def test_an_approval_that_is_held_back_says_so(team: Team, client: Client, world: World) -> None:
    run = start(
        make_runbook(team, switching("set", ASKS)),
        make_actor(team),
        team,
        make_incident(team, make_service(team, "rag-chat")),
    )
    pump()
    killswitch.pull(reason="Flags are broken.", actor=make_actor(team, username="ada"))
    approve(run, "act", make_actor(team))
    pump()
    page = text_of(client.get(f"/approvals/{ApprovalRequest.objects.get().uuid}"))
    assert "Held back. All effects are stopped by ada: Flags are broken." in page
    assert "applying" not in page
    assert "Five-minute clock" not in page
    assert "Held back: all effects are stopped" in text_of(client.get(f"/runs/{run.uuid}"))


def test_it_shows_no_actions_of_other_teams(client: Client, world: World) -> None:
    other = make_team()
    start(make_runbook(other, switching("set", ASKS)), make_actor(other), other)
    pump()
    page = text_of(client.get("/effects"))
    assert "Switch it?" not in page
    assert "1 action of open runs has not ended yet" in page


def test_a_responder_may_only_look(team: Team) -> None:
    client = signed_in(make_user(team=team, roles=["responder"]))
    assert "Approvers, admins and org admins may stop them." in text_of(client.get("/effects"))
    assert client.post("/effects/stop", {"reason": "x"}).status_code == 403
    assert not KillSwitch.objects.exists()


def test_a_program_stops_but_only_a_person_allows(team: Team, client: Client) -> None:
    program = Program(make_user(team=team))
    assert told(program.get("effects"))["stopped"] is False
    answer = program.call("POST", "/api/v1/effects/stop", {"reason": "Flags are broken."})
    assert (answer.status_code, told(answer)["stopped"]) == (200, True)
    assert program.call("POST", "/api/v1/effects/allow", {"reason": "x"}).status_code == 403
    allowed = client.post("/api/v1/effects/allow", {"reason": "Mended."}, content_type="application/json")
    assert (allowed.status_code, allowed.json()["stopped"]) == (200, False)


def told(answer: Any) -> Any:
    return answer.json()


def test_it_works_from_the_shell() -> None:
    out = StringIO()
    call_command("effects", "stop", "--reason", "Flags are broken.", stdout=out)
    assert "All effects are stopped by operator (command line)" in out.getvalue()
    with pytest.raises(CommandError, match="already"):
        call_command("effects", "stop", "--reason", "x")
    with pytest.raises(CommandError, match="needs a reason"):
        call_command("effects", "allow")
    out = StringIO()
    call_command("effects", "allow", "--reason", "Mended.", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"stopped": False, "by": None, "reason": None, "waiting": 0}
    assert killswitch.engaged() is None
