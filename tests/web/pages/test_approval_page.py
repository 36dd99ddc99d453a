"""The approval's page: what a decision rests on, what came of it, and never a dead end."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from catalog.models import Connection, ModelVersion, Team, User
from common import clock
from incidents.models import Incident
from runbooks import runs
from runbooks.models import ApprovalRequest, Decision, Run
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_checks import make_change
from tests.factories_runbooks import approve, make_runbook, pump, start
from tests.factories_web import signed_in, text_of
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

HEAD = """\
hypotheses:
  worse: {title: The version is worse, prior: 3, evidence: {looks_bad: {fail: 4}}}
"""
STEPS = """
  measure:
    - {id: looks_bad, name: Is it worse?, check: world.ask, fail_if: value > 0, pass_if: value == 0}
  remediate:
    - id: roll_back
      name: Let the previous version serve again
      action: model.rollback
      with: {to: v42}
      risk: high
      approval:
        from: [role:oncall]
        timeout: 20m
        escalate: [{after: 10m, to: "team:default"}]
        message: It did better.
  verify:
    - {id: quiet, name: Is it over?, check: world.ask, pass_if: value > 0}
"""


@pytest.fixture
def person(team: Team) -> User:
    return make_user("riley", team=team)


@pytest.fixture
def client(person: User) -> Client:
    return signed_in(person)


@pytest.fixture
def incident(team: Team, tmp_path: Path, settings: Any, moved_clock: Any) -> Incident:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path, "two_person": "off"})
    (tmp_path / "flags.json").write_text('{"model": {"value": "v43", "version": 1}}')
    Connection.objects.create(
        team=team, slug="flags", connector="file_flag", config={"path": "flags.json"}, created_at=clock.now()
    )
    service = make_service(team, "rag-chat", rollback={"connection": "flags", "flag": "model"})
    now = clock.now()
    ModelVersion.objects.create(
        service=service, version="v42", state="kept", served_from=now - timedelta(days=12), served_to=now
    )
    ModelVersion.objects.create(service=service, version="v43", state="serving", served_from=now)
    make_change(service, minutes_before=4, version="v43", summary="Deploy v43 with shorter prompts")
    return make_incident(team, service)


@pytest.fixture
def run(team: Team, incident: Incident, world: World) -> Run:
    """A run that asks whether to roll back."""
    made = start(make_runbook(team, STEPS, head=HEAD), make_actor(team), team, incident)
    pump()
    return made


def asked() -> ApprovalRequest:
    return ApprovalRequest.objects.latest("pk")


def shown(client: Client) -> str:
    answer = client.get(f"/approvals/{asked().uuid}")
    assert answer.status_code == 200, answer.content[:500]
    return text_of(answer)  # type: ignore[arg-type]


def decide(client: Client, **form: str) -> HttpResponse:
    form = {"decision": "approve", "digest": asked().digest, "typed": "v42", "note": ""} | form
    return client.post(f"/approvals/{asked().uuid}", form)  # type: ignore[return-value]


def test_it_answers_in_the_order_of_the_questions(client: Client, run: Run) -> None:
    page = client.get(f"/approvals/{asked().uuid}").content.decode()
    parts = re.findall(r'data-part="([a-z-]+)"', page)
    assert parts == ["action", "why", "if-you-do", "if-you-do-not", "checked", "undo", "who", "decide"]


def test_it_tells_what_is_known_and_says_unknown_for_the_rest(client: Client, run: Run) -> None:
    text = shown(client)
    for said in (
        "Roll back rag-chat: v43 → v42, 100 % of traffic, flag model",
        "Likely cause: The version is worse",
        "Takes unknown",
        "Touches all traffic of rag-chat; no service of the catalog relies on it",
        "Lost what v43 brought: Deploy v43 with shorter prompts",
        "Damage per hour unknown",
        "Is it worse? Problem found",
        "v42 is there Ready the catalog says kept",
        "v42 evaluated unknown",
        "v42 served 12 d, until",
        "Undo Let v43 serve again, by the same flag",
        "0 of 1 said yes. Asked role:oncall",
        "Escalates",
        "to team:default",
        "Expires",
        "Type v42 to confirm",
    ):
        assert said in text


def test_it_knows_how_long_it_took_before(client: Client, team: Team, run: Run) -> None:
    approve(run, "roll_back", make_actor(team))
    pump()
    runs.cancel(run, actor=make_actor(team)) if Run.objects.get().is_open else None
    ModelVersion.objects.filter(version="v43").update(state="serving")
    ModelVersion.objects.filter(version="v42").update(state="kept")
    start(make_runbook(team, STEPS, head=HEAD), make_actor(team), team, run.incident)
    pump()
    assert re.search(r"Takes [\d.]+ s \(median of the last 1 here, n = 1\)", shown(client))


def test_it_follows_the_change_in_stages(client: Client, run: Run) -> None:
    assert decide(client).status_code == 302
    text = shown(client)
    assert "Recorded" in text
    assert "Five-minute clock" in text
    pump()
    text = shown(client)
    for stage in ("Approved", "Sent", "Confirmed", "Traffic moved", "Signal back"):
        assert re.search(stage + r" \d\d:\d\d:\d\d \+", text), stage
    assert "the flag reads v42 for all traffic" in text
    assert "Undo it" in text


def test_a_second_tap_shows_the_first_result(client: Client, run: Run) -> None:
    first = decide(client)
    again = decide(client)
    assert first["Location"] == again["Location"]
    assert (Decision.objects.count(), Decision.objects.get().approve) == (1, True)


def test_somebody_else_finds_what_was_decided_and_no_error_page(client: Client, team: Team, run: Run) -> None:
    approve(run, "roll_back", make_actor(team, username="olga"))
    answer = decide(client)
    assert answer.status_code == 409
    text = text_of(answer)
    assert "It was approved already." in text
    assert "What became of it" in text


def test_a_changed_digest_shows_the_page_anew(client: Client, run: Run) -> None:
    answer = decide(client, digest="0" * 64)
    assert answer.status_code == 409
    assert "What you saw has changed since; nothing was applied." in text_of(answer)
    assert asked().digest in answer.content.decode()


def test_expired_is_not_dead(client: Client, run: Run, moved_clock: Any) -> None:
    moved_clock.forward(minutes=21)
    late = decide(client)
    assert late.status_code == 409
    assert "Expired; nothing was applied" in text_of(late)
    pump()
    text = shown(client)
    assert "Expired; nothing was applied" in text
    assert "First checked again: Is it worse?" in text
    first = asked()
    assert client.post(f"/approvals/{first.uuid}/ask-again").status_code == 302
    assert "It is being asked again: Is it worse?" in text_of(client.get(f"/approvals/{first.uuid}"))  # type: ignore[arg-type]
    pump()
    assert asked() != first
    assert "Open the request that waits now" in text_of(client.get(f"/approvals/{first.uuid}"))  # type: ignore[arg-type]
    assert decide(client).status_code == 302


def test_it_leads_to_act_now_when_the_run_is_over(client: Client, team: Team, run: Run, moved_clock: Any) -> None:
    moved_clock.forward(minutes=21)
    pump()
    runs.cancel(run, actor=make_actor(team))
    first = asked()
    page = client.get(f"/approvals/{first.uuid}").content.decode()
    assert f"/incidents/{run.incident.number}/act?action=model.rollback&amp;in-to=v42" in page  # type: ignore[union-attr]
    answer = client.post(f"/approvals/{first.uuid}/ask-again")
    assert answer.status_code == 409
    assert "Act now" in text_of(answer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        ({"decision": ""}, 422, "Press one of the buttons"),
        ({"decision": "maybe"}, 422, "Press one of the buttons"),
        ({"typed": ""}, 422, "This field is required"),
        ({"typed": "v43"}, 422, "This is not v42. Nothing was applied."),
        ({"typed": "V42"}, 422, "This is not v42"),
        ({"digest": ""}, 422, "The answer was incomplete"),
        ({"digest": "x" * 65}, 422, "The answer was incomplete"),
        ({"note": "n" * 2001}, 422, "at most 2000"),
        ({"decision": "reject", "reason": " "}, 422, "required"),
        ({"decision": "break_glass", "break_reason": ""}, 422, "required"),
    ],
)
def test_it_says_what_is_wrong_and_applies_nothing(
    client: Client, run: Run, form: dict[str, str], status: int, says: str
) -> None:
    answer = decide(client, **form)
    assert answer.status_code == status
    assert says in text_of(answer)
    assert Decision.objects.count() == 0


def test_it_is_framed_by_nobody(client: Client, run: Run) -> None:
    answer = client.get(f"/approvals/{asked().uuid}")
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]


def test_a_viewer_looks_but_decides_nothing(team: Team, run: Run) -> None:
    looker = signed_in(make_user("looker", roles=["viewer"], team=team))
    assert "You may look but not decide" in shown(looker)
    assert decide(looker).status_code == 403
    assert Decision.objects.count() == 0


def test_it_says_what_is_asked_again_and_what_that_said(
    team: Team, incident: Incident, world: World, client: Client, person: User
) -> None:
    steps = STEPS.replace("      risk: high", "      risk: high\n      recheck: [looks_bad]")
    asks = start(make_runbook(team, steps, head=HEAD), make_actor(team), team, incident)
    pump()
    address = f"/approvals/{ApprovalRequest.objects.get().uuid}"
    before = text_of(client.get(address))  # type: ignore[arg-type]
    assert "Asked again right before it is applied Is it worse? Not yet" in before
    world.checks = [0]
    approve(asks, "roll_back", make_actor(team))
    pump()
    after = text_of(client.get(address))  # type: ignore[arg-type]
    assert "Nothing was sent, because the facts have changed." in after
    assert "Is it worse? Ruled out Problem found before: The value is 0." in after
    assert "applying" not in after
