"""The state machine of a run, on the shipped checks and actions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from catalog.models import Connection, ModelVersion, Team
from common import clock
from common.errors import Conflict, Invalid
from incidents.models import Incident, TimelineEntry
from runbooks import approvals, runs, ticker, transitions
from runbooks.models import ApprovalRequest, Effect, Lock, Run, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, states, step

pytestmark = pytest.mark.django_db

CHECKS = """
  check:
    - id: a
      check: result.test
      with: {value: 1}
      fail_if: value > 5
    - id: b
      check: result.test
      with: {value: 9}
      fail_if: value > 5
    - id: c
      check: result.test
      with: {value: "{{ steps.a.value }}"}
      pass_if: value == 1
    - id: d
      manual: Look at it.
"""


def texts(incident: Incident) -> list[str]:
    return list(TimelineEntry.objects.filter(incident=incident).order_by("seq").values_list("text", flat=True))


def test_it_runs_neighbouring_checks_together_and_waits_for_what_is_mentioned(team: Team) -> None:
    run = start(make_runbook(team, CHECKS), make_actor(team), team)
    assert states(run) == {"a": "ready", "b": "ready", "c": "pending", "d": "pending"}
    pump()
    assert states(run) == {"a": "pass", "b": "fail", "c": "pass", "d": "blocked human"}


def test_it_ends_with_an_outcome_on_the_timeline(team: Team, incident: Incident) -> None:
    steps = "  check:\n    - {id: a, check: result.test, with: {value: 1}, pass_if: value > 0}\n"
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    pump()
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "no_action")
    assert any("ended, no action" in text for text in texts(incident))


def test_every_step_is_on_the_timeline_and_pin_makes_key_moments(
    team: Team, incident: Incident, moved_clock: Any
) -> None:
    steps = """
  check:
    - {id: a, name: Fine?, check: result.test, with: {value: 1}, pass_if: value > 0}
    - {id: b, name: Shown?, check: result.test, with: {value: 1}, pass_if: value > 0, pin: always}
    - {id: c, name: Needed?, if: 1 > 2, check: result.test, with: {value: 1}, pass_if: value > 0}
    - {id: d, name: Let it settle, wait: 1s}
    - {id: e, name: Look at it, manual: Look.}
"""
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    pump()
    moved_clock.forward(seconds=2)
    pump()
    runs.answer(step(run, "e"), actor=make_actor(team), decision="done")
    told = TimelineEntry.objects.filter(incident=incident, kind__in=["check", "answer"]).order_by("seq")
    assert [(entry.data["step"], entry.pinned) for entry in told] == [
        ("c", False),
        ("a", False),
        ("b", True),
        ("d", False),
        ("e", False),
    ]
    assert told[3].text == "Let it settle Done: The time is over."
    assert told[4].text.startswith("Look at it Done")


def test_it_keeps_evidence_with_the_rule_that_decided(team: Team, incident: Incident) -> None:
    steps = "  check:\n    - {id: a, name: Too high?, check: result.test, with: {value: 9}, fail_if: value > 5}\n"
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    pump()
    entry = TimelineEntry.objects.get(incident=incident, kind="check")
    assert entry.evidence == [1]
    assert "Problem found" in entry.text
    assert step(run, "a").evidence_id is not None


def test_it_joins_the_open_run_of_the_same_service(team: Team, incident: Incident) -> None:
    head = "inputs:\n  service: {type: string}\n"
    steps = "  check:\n    - {id: a, manual: 'Wait {{ inputs.service }}'}\n"
    runbook, actor = make_runbook(team, steps, head=head), make_actor(team)
    first = start(runbook, actor, team, incident, service="rag-chat")
    second = runs.start(runbook, given={"service": "rag-chat"}, actor=actor, team=team, incident=incident)
    assert (second.decision, second.run) == ("joined", first)
    assert Run.objects.count() == 1


def test_it_creates_no_run_from_a_bad_input(team: Team) -> None:
    head = "inputs:\n  floor: {type: number, min: 0, max: 1}\n"
    runbook = make_runbook(team, "  check:\n    - {id: a, manual: 'Above {{ inputs.floor }}?'}\n", head=head)
    with pytest.raises(Invalid) as error:
        runs.start(runbook, given={"floor": "7"}, actor=make_actor(team), team=team)
    assert "at most 1" in error.value.sentence
    assert not Run.objects.exists()


ROLL_BACK = """
  remediate:
    - id: roll_back
      name: Roll back?
      action: model.rollback
      with: {to: v42}
      risk: high
      lock: "service:rag-chat"
      approval: {from: [role:oncall], timeout: 20m}
"""


@pytest.fixture
def flagged(team: Team, incident: Incident, tmp_path: Path, settings: Any) -> Path:
    """A service whose versions are switched by a flag in a file."""
    service = incident.service
    assert service is not None
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    flag = tmp_path / "flags.json"
    flag.write_text('{"rag-chat-model": {"value": "v43", "version": 1}}')
    Connection.objects.create(
        team=team, slug="flags", connector="file_flag", config={"path": "flags.json"}, created_at=clock.now()
    )
    service.rollback = {"connection": "flags", "flag": "rag-chat-model"}
    service.save(update_fields=["rollback"])
    for version, state in (("v42", "kept"), ("v43", "serving")):
        ModelVersion.objects.create(service=service, version=version, state=state, served_from=clock.now())
    return flag


def rolled(team: Team, incident: Incident) -> tuple[Run, StepRun]:
    run = start(make_runbook(team, ROLL_BACK), make_actor(team), team, incident)
    pump()
    return run, step(run, "roll_back")


def test_it_shows_the_exact_change_and_applies_it_once_after_approval(
    team: Team, incident: Incident, flagged: Path
) -> None:
    run, waiting = rolled(team, incident)
    request = ApprovalRequest.objects.get(step_run=waiting)
    assert "v43" in request.preview["sentence"]
    assert "v42" in request.preview["sentence"]
    assert "v43" in flagged.read_text()
    approvals.approve(waiting, digest=request.digest, actor=make_actor(team))
    pump()
    assert states(run) == {"roll_back": "pass"}
    assert "v42" in flagged.read_text()
    assert list(Effect.objects.values_list("state", "times_sent")) == [("confirmed", 1)]
    assert not Lock.objects.exists()
    assert any(re.search(r"It took \d+ s from approval", text) for text in texts(incident))


def test_it_changes_nothing_when_the_flag_moved_after_the_approval(
    team: Team, incident: Incident, flagged: Path
) -> None:
    run, waiting = rolled(team, incident)
    approvals.approve(waiting, digest=ApprovalRequest.objects.get().digest, actor=make_actor(team))
    flagged.write_text(flagged.read_text().replace("v43", "v44"))
    pump()
    assert (states(run), step(run, "roll_back").reason) == ({"roll_back": "blocked ask"}, "stale_evidence")
    assert "Value was v43 when it was approved, now v44" in step(run, "roll_back").summary
    assert "v44" in flagged.read_text()


def test_it_refuses_an_approval_of_something_else(team: Team, incident: Incident, flagged: Path) -> None:
    _, waiting = rolled(team, incident)
    with pytest.raises(Conflict):
        approvals.approve(waiting, digest="0" * 64, actor=make_actor(team))
    assert "v43" in flagged.read_text()


def test_it_never_applies_what_nobody_approved_in_time(
    team: Team, incident: Incident, flagged: Path, moved_clock: Any
) -> None:
    run, waiting = rolled(team, incident)
    digest = ApprovalRequest.objects.get().digest
    moved_clock.forward(minutes=21)
    pump()
    late = step(run, "roll_back")
    assert (late.state, late.blocked_on, late.proposed_verdict, late.reason) == (
        "blocked",
        "ask",
        "inconclusive",
        "approval_timeout",
    )
    with pytest.raises(Conflict):
        approvals.approve(waiting, digest=digest, actor=make_actor(team))
    assert "v43" in flagged.read_text()
    runs.answer(late, actor=make_actor(team), decision="again")
    pump()
    assert ApprovalRequest.objects.filter(state="open").count() == 1


def test_it_stops_when_an_action_is_rejected(team: Team, incident: Incident, flagged: Path) -> None:
    run, waiting = rolled(team, incident)
    digest = ApprovalRequest.objects.get().digest
    approvals.reject(waiting, digest=digest, actor=make_actor(team), reason="It is the data.")
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "aborted")
    assert "v43" in flagged.read_text()
    assert any("It is the data." in text for text in texts(incident))


def test_it_asks_anew_when_the_alert_resolves_meanwhile(team: Team, incident: Incident, flagged: Path) -> None:
    run, waiting = rolled(team, incident)
    first = ApprovalRequest.objects.get()
    with transaction.atomic():
        approvals.ask_anew(
            transitions.lock_run(run.pk), waiting, fact="the alert resolved at 03:14 UTC", now=clock.now()
        )
    pump()
    second = ApprovalRequest.objects.get(state="open")
    assert second.digest != first.digest
    assert second.new_fact == "the alert resolved at 03:14 UTC"
    with pytest.raises(Conflict):
        approvals.approve(waiting, digest=first.digest, actor=make_actor(team))


@pytest.mark.parametrize("state", ["active", "paused"])
def test_it_can_be_cancelled_and_leaves_no_lock(team: Team, incident: Incident, flagged: Path, state: str) -> None:
    run, _ = rolled(team, incident)
    actor = make_actor(team)
    if state == "paused":
        runs.pause(run, actor=actor)
    runs.cancel(run, actor=actor, reason="wrong service")
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert states(run) == {"roll_back": "cancelled"}
    assert not Lock.objects.exists()
    with pytest.raises(Conflict):
        runs.cancel(run, actor=actor)


def test_it_expires_at_its_deadline(team: Team, moved_clock: Any) -> None:
    run = start(make_runbook(team, CHECKS, head="deadline: 2h\n"), make_actor(team), team)
    pump()
    StepRun.objects.filter(run=run, step="d").update(due_at=None)
    moved_clock.forward(hours=3)
    pump()
    run.refresh_from_db()
    assert run.state == "expired"


def test_it_warns_at_once_when_nobody_could_approve(team: Team, incident: Incident, flagged: Path) -> None:
    for member in team.memberships.all():
        member.delete()
    lone = make_actor(team, ["responder"])
    run = start(make_runbook(team, ROLL_BACK), lone, team, incident)
    assert "Nobody can approve" in run.warning


def test_it_leaves_every_open_run_with_a_step_that_will_move(team: Team, incident: Incident, flagged: Path) -> None:
    rolled(team, incident)
    start(make_runbook(team, CHECKS), make_actor(team), team)
    assert ticker.wedged() == []
