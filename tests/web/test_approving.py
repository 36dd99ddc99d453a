"""Who may say yes, through which door, and how often: the page, the API and the verb decide alike (A3, A7, A8, A10)."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connections
from django.test import Client

from catalog import people
from catalog.actors import ENGINE, person
from catalog.models import Connection, ModelVersion, Team, User
from common import clock
from common.errors import Conflict, DomainError, Forbidden, Invalid
from incidents import lifecycle
from incidents.models import Gate, Incident, Message, TimelineEntry
from runbooks import approvals, revisions, runs
from runbooks.models import ApprovalRequest, Decision, Run, Runbook, StepRun
from tests.factories import make_incident, make_service, make_team, make_user
from tests.factories_runbooks import make_runbook, pump, start, step
from tests.factories_web import Program, problem, signed_in

BOOK = """
  remediate:
    - id: roll_back
      name: Roll back?
      action: model.rollback
      with: {to: v42}
      risk: high
      lock: "service:rag-chat"
      approval: {from: [role:oncall], timeout: 20m, count: COUNT}
"""


class Case:
    """A high-risk action of a team that waits for its approval."""

    def __init__(self, tmp_path: Path, *, four_eyes: bool = True, count: int = 1) -> None:
        self.team = make_team(four_eyes=four_eyes)
        self.book = BOOK.replace("COUNT", str(count))
        service = make_service(self.team, "rag-chat", rollback={"connection": "flags", "flag": "model"})
        self.incident = make_incident(self.team, service)
        self.flag = tmp_path / "flags.json"
        self.flag.write_text('{"model": {"value": "v43", "version": 1}}')
        Connection.objects.create(
            team=self.team, slug="flags", connector="file_flag", config={"path": "flags.json"}, created_at=clock.now()
        )
        for version, state in (("v42", "kept"), ("v43", "serving")):
            ModelVersion.objects.create(service=service, version=version, state=state, served_from=clock.now())
        self.requester = make_user("riley", team=self.team)
        self.other = make_user("olga", team=self.team)

    def wait(self, runbook: Runbook | None = None) -> Case:
        """Start it by the requester; the action waits."""
        book = runbook or make_runbook(self.team, self.book)
        self.run: Run = start(book, person(self.requester), self.team, self.incident)
        pump()
        self.step: StepRun = step(self.run, "roll_back")
        self.asked = ApprovalRequest.objects.get(step_run=self.step)
        return self

    def approve(self, user: User, **words: Any) -> ApprovalRequest:
        """The verb."""
        return approvals.approve(self.step, digest=self.asked.digest, actor=person(user), **words)

    def page(self, client: Client, **form: str) -> int:
        """The page's form, complete."""
        form = {"decision": "approve", "digest": self.asked.digest, "typed": "v42", "note": ""} | form
        return client.post(f"/approvals/{self.asked.uuid}", form).status_code

    def api(self, client: Client, act: str = "approve", **body: str) -> Any:
        """The API's operation, as a signed-in browser."""
        path = f"/api/v1/runs/{self.run.uuid}/steps/roll_back/{act}"
        body = {"digest": self.asked.digest} | body
        return client.post(path, body, content_type="application/json")

    @property
    def state(self) -> str:
        """What became of the request."""
        return ApprovalRequest.objects.get(pk=self.asked.pk).state


@pytest.fixture
def case(db: None, tmp_path: Path, settings: Any) -> Case:
    """Two people are meant: BACKSTOP_TWO_PERSON is on, and the team asks for four eyes."""
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path, "two_person": "on"})
    return Case(tmp_path)


# --- four eyes -------------------------------------------------------------------------------------------------------
def test_the_requester_does_not_approve_by_any_door(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.wait()
    client = signed_in(case.requester)
    assert case.page(client) == 403
    assert case.page(signed_in(case.requester)) == 403, "a second session is the same person"
    told = problem(case.api(client))
    assert (told["status"], "started this run" in told["detail"]) == (403, True)
    answer = Program(case.requester).post(f"runs/{case.run.uuid}/steps/roll_back/approve", {"digest": "d" * 64})
    assert problem(answer)["status"] == 403
    assert case.state == "open"
    assert not Decision.objects.exists()
    assert caplog.text.count("refused: POST") == 4, "each try is in the log"


def test_another_person_approves_on_the_page(case: Case) -> None:
    case.wait()
    assert case.page(signed_in(case.other)) == 302
    pump()
    assert case.state == "approved"
    assert "v42" in case.flag.read_text()


def test_another_person_approves_by_the_api(case: Case) -> None:
    case.wait()
    answer = case.api(signed_in(case.other), note="seen")
    assert answer.status_code == 200
    assert case.state == "approved"


def test_the_last_editor_does_not_approve(case: Case) -> None:
    book = make_runbook(case.team, case.book)
    assert book.current is not None
    text = book.current.text.replace("A runbook for a test", "A changed runbook")
    edited = revisions.save(book, text=text, actor=person(case.other), team=case.team, note="", source="editor")
    revisions.publish(edited, actor=person(case.requester))
    case.wait(Runbook.objects.get(pk=book.pk))
    assert "Nobody can approve" in case.run.warning
    with pytest.raises(Forbidden, match="wrote this revision"):
        case.approve(case.other)


def test_a_run_that_an_alert_started_has_no_requester(case: Case) -> None:
    case.wait()
    Run.objects.filter(pk=case.run.pk).update(requester_id=None)
    case.approve(case.requester)
    assert case.state == "approved"


def test_a_team_without_four_eyes_lets_the_requester_approve(case: Case) -> None:
    Team.objects.filter(pk=case.team.pk).update(four_eyes=False)
    case.team.refresh_from_db()
    case.wait()
    case.approve(case.requester)
    assert Decision.objects.get().override == ""


def test_with_the_rule_off_own_work_is_an_override_on_the_timeline(case: Case, settings: Any) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"two_person": "off"})
    case.wait()
    case.approve(case.requester)
    assert "two-person rule is off" in Decision.objects.get().override
    assert TimelineEntry.objects.filter(incident=case.incident, text__contains="Override by riley").exists()


@pytest.mark.parametrize("role", ["viewer", "responder", "author", "admin"])
def test_a_role_without_approve_is_refused(case: Case, role: str) -> None:
    case.wait()
    client = signed_in(make_user(team=case.team, roles=[role]))
    assert case.page(client) == 403
    assert case.api(client).status_code == 403
    assert case.page(client, decision="reject", reason="no") == 403
    assert case.state == "open"


def test_a_stranger_finds_no_approval(case: Case) -> None:
    case.wait()
    client = signed_in(make_user(team=make_team()))
    assert case.page(client) == 404
    assert case.api(client).status_code == 404


# --- a fresh proof (A3) ----------------------------------------------------------------------------------------------
def test_approving_wants_a_fresh_sign_in_at_every_door(case: Case) -> None:
    case.wait()
    with time_machine.travel(clock.now() + timedelta(seconds=1), tick=False) as now:
        client = signed_in(case.other)
        now.shift(timedelta(minutes=10))
        answer = client.post(f"/approvals/{case.asked.uuid}", {"decision": "approve", "digest": case.asked.digest})
        assert answer["Location"].startswith("/reauthenticate?next=")
        assert problem(case.api(client))["code"] == "sign_in_again"
        assert "Confirm that it is you" in client.get(f"/approvals/{case.asked.uuid}").content.decode()
        assert case.state == "open"
        assert case.page(signed_in(case.other)) == 302
    assert case.state == "approved"


# --- once (A8, A10) --------------------------------------------------------------------------------------------------
def test_a_second_click_an_old_digest_and_an_ended_request_are_conflicts(case: Case) -> None:
    case.wait()
    client = signed_in(case.other)
    for digest in ("0" * 64, "0" * 65, "short", ""):
        assert problem(case.api(client, digest=digest))["status"] == 409
        assert problem(case.api(client, "reject", digest=digest, reason="no"))["status"] == 409
    assert case.page(client, digest="0" * 64) == 409
    assert case.page(client, typed="v43") == 422, "the target is typed"
    assert case.state == "open"
    assert case.page(client) == 302
    assert case.page(client) == 302, "a second tap shows the first result"
    assert Decision.objects.count() == 1
    assert case.page(client, decision="reject", reason="no") == 409
    assert problem(case.api(client))["state"] == "approved"
    assert problem(case.api(client, "reject", reason="late"))["status"] == 409
    assert Decision.objects.count() == 1


def test_an_expired_request_is_a_conflict(case: Case) -> None:
    case.wait()
    ApprovalRequest.objects.update(due_at=clock.now() - timedelta(seconds=1))
    assert problem(case.api(signed_in(case.other)))["state"] == "expired"
    assert "v43" in case.flag.read_text()


@pytest.mark.django_db(transaction=True)
def test_of_twenty_clicks_at_once_one_counts(tmp_path: Path, settings: Any) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path, "two_person": "on"})
    case = Case(tmp_path).wait()
    outcomes: list[str] = []

    def click() -> None:
        try:
            case.approve(case.other)
            outcomes.append("approved")
        except DomainError as error:
            outcomes.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=click) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["approved"] + ["conflict"] * 19
    assert Decision.objects.count() == 1


# --- breaking the glass ----------------------------------------------------------------------------------------------
def test_a_lone_on_call_breaks_the_glass_with_a_reason(case: Case) -> None:
    case.wait()
    boss = people.create_user(username="boss", email="boss@example.com", is_org_admin=True)
    people.add_address(url="https://x.example/y", label="", channel="webhook", hint="x.example", user=boss)
    client = signed_in(case.requester)
    assert case.page(client, decision="break_glass") == 422, "without a reason"
    assert case.page(client, decision="break_glass", break_reason="All others sleep") == 302
    assert case.state == "approved"
    assert Decision.objects.get().override == "break-glass: All others sleep"
    assert TimelineEntry.objects.filter(incident=case.incident, text__contains="All others sleep").exists()
    assert "boss (webhook)" in Message.objects.filter(kind="break_glass").values_list("recipient", flat=True)


def test_a_broken_glass_must_be_reviewed_before_the_incident_closes(case: Case) -> None:
    case.wait().approve(case.requester, break_glass=True, reason="All others sleep")
    gate = Gate.objects.get(incident=case.incident)
    assert "riley broke the glass" in gate.title
    case.run.refresh_from_db()
    runs.cancel(case.run, actor=ENGINE)
    incident = Incident.objects.get(pk=case.incident.pk)
    lifecycle.resolve(incident, actor=person(case.other))
    with pytest.raises(Conflict, match="broke the glass"):
        lifecycle.close(incident, actor=person(case.other), reason="done")
    lifecycle.answer_gate(gate, answer="Yes: users were harmed.", actor=person(case.other))
    assert lifecycle.close(incident, actor=person(case.other), reason="done").state == "closed"


def test_breaking_the_glass_wants_a_fresh_sign_in(case: Case) -> None:
    case.wait()
    with time_machine.travel(clock.now() + timedelta(seconds=1), tick=False) as now:
        client = signed_in(case.requester)
        now.shift(timedelta(minutes=10))
        case.page(client, decision="break_glass", break_reason="All others sleep")
    assert case.state == "open"


def test_one_who_approved_may_still_break_the_glass(tmp_path: Path, case: Case) -> None:
    case.book = BOOK.replace("COUNT", "2")
    case.wait().approve(case.other)
    assert case.state == "open"
    assert "Break glass" in signed_in(case.other).get(f"/approvals/{case.asked.uuid}").content.decode()
    case.approve(case.other, break_glass=True, reason="Nobody else is up")
    assert case.state == "approved"
    assert Decision.objects.get().break_glass


@pytest.mark.parametrize("role", ["viewer", "responder", "author"])
def test_not_everybody_breaks_the_glass(case: Case, role: str) -> None:
    case.wait()
    with pytest.raises(Forbidden):
        case.approve(make_user(team=case.team, roles=[role]), break_glass=True, reason="please")
    with pytest.raises(Invalid):
        case.approve(case.other, break_glass=True, reason="  ")
    assert case.state == "open"
