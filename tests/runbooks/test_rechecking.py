"""The last look before an action: what was approved must still hold under the lock (P4, P10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.models import Connection, ModelVersion, Service, Team
from common import clock
from common.errors import Conflict
from incidents.models import Evidence, Incident, TimelineEntry
from runbooks import approvals, runs
from runbooks.actions.base import NotApplied
from runbooks.checks.base import CheckError, Finding, Pending
from runbooks.models import ApprovalRequest, Effect, Lock, Run
from tests.factories import make_actor
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

STEPS = """
  check:
    - {{id: better, name: Is the old one better?, check: world.ask, with: {{to: x}}, fail_if: value > 5, {more}}}
  remediate:
    - id: act
      name: Switch it?
      action: world.set
      with: {{to: b}}
      approval: {{from: [role:oncall]}}
      recheck: [better]
"""
ROLL_BACK = """
  remediate:
    - id: roll_back
      action: model.rollback
      risk: high
      approval: {from: [role:oncall], timeout: 20m}
      irreversible: It stays in the registry.
"""


def asking(team: Team, incident: Incident, world: World, *answers: Any, more: str = "attempts: 1") -> Run:
    """A run that waits for a yes, because its check found a problem; `answers` come when it is asked again."""
    world.checks = [9.0, *answers]
    run = start(make_runbook(team, STEPS.format(more=more)), make_actor(team), team, incident)
    pump()
    assert states(run) == {"better": "fail", "act": "blocked approval"}
    return run


def parked(run: Run, name: str = "act") -> tuple[str, str, str]:
    """How the action waits: on what, with which proposed verdict, and why."""
    row = step(run, name)
    return row.blocked_on, row.proposed_verdict, row.reason


def entries(incident: Incident, words: str) -> list[TimelineEntry]:
    return list(TimelineEntry.objects.filter(incident=incident, text__contains=words).order_by("seq"))


def test_it_sends_what_still_holds(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident, world, 9.0)
    approve(run, "act", make_actor(team))
    pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 1)
    row = Evidence.objects.get(kind="recheck")
    assert (row.verdict, row.step, row.params["check"], row.params["was"]) == ("fail", "act", "better", "fail")
    assert row.params["with"] == {"to": "x"}
    assert len(entries(incident, "Is the old one better? still Problem found")) == 1


@pytest.mark.parametrize(
    "answer", [CheckError("unreachable", "Nobody listens."), Finding(None, "Nothing."), RuntimeError("a bug")]
)
def test_it_takes_no_answer_for_no_confirmation(team: Team, incident: Incident, world: World, answer: Any) -> None:
    run = asking(team, incident, world, answer)
    approve(run, "act", make_actor(team))
    pump()
    assert (world.calls, parked(run)) == ([], ("ask", "inconclusive", "stale_evidence"))


def test_it_takes_no_answer_for_a_problem_where_the_runbook_says_so(
    team: Team, incident: Incident, world: World
) -> None:
    run = asking(team, incident, world, Finding(None, "Nothing."), more="no_data: fail")
    approve(run, "act", make_actor(team))
    pump()
    assert states(run)["act"] == "pass"


def test_it_looks_again_before_each_try_that_was_not_sent(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = asking(team, incident, world, 9.0, 1.0)
    world.actions = [NotApplied("Nobody listens.")]
    approve(run, "act", make_actor(team))
    for _ in range(3):
        pump()
        moved_clock.forward(seconds=10)
    assert (len(world.calls), parked(run)) == (1, ("ask", "inconclusive", "stale_evidence"))


def test_it_waits_without_the_lock_for_a_check_that_takes_its_time(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = asking(team, incident, world, Pending(20, "Scoring."), 9.0)
    approve(run, "act", make_actor(team))
    pump()
    waiting = step(run, "act")
    assert (waiting.state, waiting.pending_note, waiting.attempts) == ("sleeping", "Scoring.", 0)
    assert not Lock.objects.exists()
    moved_clock.forward(seconds=21)
    pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 1)


def test_it_gives_up_on_a_check_that_takes_longer_than_the_action_has(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = asking(team, incident, world, *[Pending(240, "Scoring.")] * 3)
    approve(run, "act", make_actor(team))
    for _ in range(3):
        pump()
        moved_clock.forward(seconds=241)
    assert (world.calls, parked(run)) == ([], ("ask", "inconclusive", "stale_evidence"))


def test_it_compares_with_what_the_check_said_not_with_what_a_person_made_of_it(
    team: Team, incident: Incident, world: World
) -> None:
    run = asking(team, incident, world, 9.0, more="attempts: 1, on_verdict: {fail: continue}")
    check = step(run, "better")
    check.verdict, check.overridden_by = "pass", "ada"
    check.save()
    approve(run, "act", make_actor(team))
    pump()
    assert states(run)["act"] == "pass"


def test_it_asks_anew_when_a_person_says_again(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident, world, 1.0, 9.0)
    approve(run, "act", make_actor(team))
    pump()
    runs.answer(step(run, "act"), actor=make_actor(team), decision="again")
    pump()
    assert states(run)["act"] == "blocked approval"
    approve(run, "act", make_actor(team))
    pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 1)


# --- one thing at a time is changed between page and click -----------------------------------------------------------
@pytest.fixture
def service(team: Team, incident: Incident, tmp_path: Path, settings: Any) -> Service:
    """A service whose version is decided by a flag in a file, as the demo's; a second file waits beside it."""
    found = incident.service
    assert found is not None
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    for name in ("flags", "others"):
        (tmp_path / f"{name}.json").write_text('{"chat": {"value": "v43", "version": 1}, "web": {"value": "v43"}}')
        Connection.objects.create(
            team=team, slug=name, connector="file_flag", config={"path": f"{name}.json"}, created_at=clock.now()
        )
    found.rollback = {"connection": "flags", "flag": "chat"}
    found.save(update_fields=["rollback"])
    for version, state in (("v41", "kept"), ("v42", "kept"), ("v43", "serving")):
        ModelVersion.objects.create(service=found, version=version, state=state, served_from=clock.now())
    return found


@pytest.fixture
def shown(team: Team, incident: Incident, service: Service) -> tuple[Run, ApprovalRequest]:
    """Somebody has the page of the approval open."""
    run = start(make_runbook(team, ROLL_BACK, slug="rolls_back"), make_actor(team), team, incident)
    pump()
    return run, ApprovalRequest.objects.get()


def move_flag(service: Service, folder: Path) -> None:
    (folder / "flags.json").write_text('{"chat": {"value": "v44", "version": 2}, "web": {"value": "v43"}}')


def move_flag_and_back(service: Service, folder: Path) -> None:
    (folder / "flags.json").write_text('{"chat": {"value": "v43", "version": 3}, "web": {"value": "v43"}}')


def bind_to_another_flag(service: Service, folder: Path) -> None:
    Service.objects.update(rollback={"connection": "flags", "flag": "web"})


def bind_to_another_connection(service: Service, folder: Path) -> None:
    Service.objects.update(rollback={"connection": "others", "flag": "chat"})


def unbind(service: Service, folder: Path) -> None:
    Service.objects.update(rollback={})


def let_the_connection_lead_elsewhere(service: Service, folder: Path) -> None:
    Connection.objects.filter(slug="flags").update(config={"path": "others.json"})


def serve_another_version(service: Service, folder: Path) -> None:
    ModelVersion.objects.filter(version="v42").update(state="retired")


CHANGES = [
    (move_flag, "Value was v43 when it was approved, now v44."),
    (move_flag_and_back, "Version was 1 when it was approved, now 3."),
    (bind_to_another_flag, "Flag goes by chat when it was approved, now web."),
    (bind_to_another_connection, "Connection goes by flags when it was approved, now others."),
    (unbind, "names no flag"),
    (let_the_connection_lead_elsewhere, "Settings of the connection"),
    (serve_another_version, "Value was to become v42 when it was approved, now v41."),
]


@pytest.mark.parametrize("after_the_click", [False, True])
@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_it_changes_nothing_that_is_not_what_was_shown(
    team: Team,
    shown: tuple[Run, ApprovalRequest],
    service: Service,
    tmp_path: Path,
    change: Any,
    words: str,
    after_the_click: bool,
) -> None:
    run, request = shown
    if not after_the_click:
        change(service, tmp_path)
    approvals.approve(step(run, "roll_back"), digest=request.digest, actor=make_actor(team))
    if after_the_click:
        change(service, tmp_path)
    pump()
    assert parked(run, "roll_back") == ("ask", "inconclusive", "stale_evidence")
    assert words in step(run, "roll_back").summary
    assert not Effect.objects.filter(times_sent__gt=0).exists()
    assert not Lock.objects.exists()
    assert "v42" not in (tmp_path / "flags.json").read_text() + (tmp_path / "others.json").read_text()


def test_it_sends_nothing_when_the_rendered_inputs_are_no_longer_those_of_the_page(
    team: Team, shown: tuple[Run, ApprovalRequest], tmp_path: Path
) -> None:
    run, request = shown
    # No verb changes them: this is a hand in the database.
    row = step(run, "roll_back")
    row.params = {"to": "v41"}
    row.save()
    approvals.approve(row, digest=request.digest, actor=make_actor(team))
    pump()
    assert (step(run, "roll_back").reason, Effect.objects.count()) == ("stale_evidence", 0)
    assert '"v43"' in (tmp_path / "flags.json").read_text()


def test_a_digest_of_before_is_refused_once_it_is_asked_anew(
    team: Team, incident: Incident, shown: tuple[Run, ApprovalRequest], tmp_path: Path
) -> None:
    run, request = shown
    move_flag(Service.objects.get(), tmp_path)
    approvals.ask_anew(run, step(run, "roll_back"), fact="the flag was moved", now=clock.now())
    pump()
    with pytest.raises(Conflict):
        approvals.approve(step(run, "roll_back"), digest=request.digest, actor=make_actor(team))
    assert states(run)["roll_back"] == "blocked approval"


def test_a_new_revision_leaves_the_open_approval_to_its_own(
    team: Team, shown: tuple[Run, ApprovalRequest], tmp_path: Path
) -> None:
    run, request = shown
    newer = make_runbook(team, ROLL_BACK.replace("20m", "45m"), slug="rolls_back")
    assert newer.current_id != run.revision_id
    approvals.approve(step(run, "roll_back"), digest=request.digest, actor=make_actor(team))
    pump()
    assert states(run)["roll_back"] == "pass"
    assert '"v42"' in (tmp_path / "flags.json").read_text()
    run.refresh_from_db()
    assert run.revision.number == 1
