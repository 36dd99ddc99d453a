"""How far runs may go by themselves on a service: each level, and the stricter one right before the send."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Service, Team
from common.errors import Conflict, Forbidden, Invalid
from incidents.models import Evidence, Incident, Message, TimelineEntry
from runbooks import acting, autonomy, runs
from runbooks.actions.base import Ambiguous
from runbooks.models import ApprovalRequest, Effect, Lock, Run
from tests.factories import make_actor
from tests.factories_runbooks import ASKS, approve, carry_out, claim, make_runbook, pump, start, states, step, switching
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

UNDO = "undo: {action: world.set, with: {to: off}}"


def acting_at(
    team: Team, incident: Incident, level: str, more: str = ASKS, *, risk: str = "medium", effect: str = "set"
) -> Run:
    set_to(level)
    runbook = make_runbook(team, switching(effect, f"risk: {risk}", more))
    run = start(runbook, make_actor(team), team, incident)
    pump()
    return run


def set_to(level: str) -> None:
    Service.objects.filter(slug="rag-chat").update(autonomy=level)


def entries(incident: Incident, words: str) -> list[str]:
    rows = TimelineEntry.objects.filter(incident=incident, text__contains=words)
    return list(rows.values_list("text", flat=True))


# --- the four levels -------------------------------------------------------------------------------------------------
def test_observe_proposes_nothing_that_changes_something(team: Team, incident: Incident, world: World) -> None:
    run = acting_at(team, incident, "observe")
    assert (states(run)["act"], step(run, "act").reason, world.calls) == ("skipped", "observe", [])
    assert not ApprovalRequest.objects.exists()
    assert entries(incident, "Switch it? Skipped: Not proposed: rag-chat is set to observe.")


def test_observe_lets_people_be_told(team: Team, incident: Incident, world: World) -> None:
    run = acting_at(team, incident, "observe", "pin: always", risk="low", effect="notify")
    assert states(run)["act"] == "pass"


@pytest.mark.parametrize(("said", "verdict"), [("done", "pass"), ("could_not", "fail"), ("skip", "skipped")])
def test_suggest_shows_what_to_do_and_sends_nothing(
    team: Team, incident: Incident, world: World, said: str, verdict: str
) -> None:
    run = acting_at(team, incident, "suggest")
    row = step(run, "act")
    assert (row.blocked_on, row.summary) == ("human", "Do this by hand: Switch off → b")
    assert Message.objects.filter(kind="waits_for_you").exists()
    runs.answer(row, actor=make_actor(team, username="ada"), decision=said)
    pump()
    assert (states(run)["act"], world.calls, Effect.objects.count()) == (verdict, [], 0)
    told = entries(incident, "ada says that it was done by hand: Switch off → b")
    assert len(told) == (said == "done")


def test_what_was_done_by_hand_counts_as_a_change(team: Team, incident: Incident, world: World) -> None:
    run = acting_at(team, incident, "suggest")
    runs.answer(step(run, "act"), actor=make_actor(team), decision="done")
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "unverified")


def test_a_suggestion_that_nobody_answers_asks_what_to_do(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = acting_at(team, incident, "suggest")
    moved_clock.forward(minutes=31)
    pump()
    assert (states(run)["act"], step(run, "act").reason, world.calls) == ("blocked ask", "timeout", [])


@pytest.mark.parametrize("effect", ["set", "keyed", "probe", "once"])
def test_approve_adds_an_approval_where_the_runbook_asks_nobody(
    team: Team, incident: Incident, world: World, effect: str
) -> None:
    run = acting_at(team, incident, "approve", "pin: always", effect=effect)
    assert ApprovalRequest.objects.get().principals == ["role:oncall"]
    assert world.calls == []
    approve(run, "act", make_actor(team))
    pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 1)


def test_approve_lets_low_risk_go_as_it_is_written(team: Team, incident: Incident, world: World) -> None:
    run = acting_at(team, incident, "approve", "pin: always", risk="low")
    assert (states(run)["act"], ApprovalRequest.objects.count()) == ("pass", 0)


def test_a_run_whose_added_approval_nobody_can_give_says_so(team: Team, incident: Incident, world: World) -> None:
    actor = make_actor(team)
    team.groups.get(slug="oncall").members.clear()
    run = start(make_runbook(team, switching("set", "risk: medium")), actor, team, incident)
    assert "Nobody can approve: act asks role:oncall" in run.warning


def test_auto_reversible_goes_without_asking_and_says_so_loudly(team: Team, incident: Incident, world: World) -> None:
    run = acting_at(team, incident, "auto_reversible", UNDO)
    assert (states(run)["act"], len(world.calls), ApprovalRequest.objects.count()) == ("pass", 1, 0)
    told = entries(incident, "Goes without asking, because rag-chat is set to auto-reversible: Switch off → b.")
    assert "The way back: world.set." in told[0]
    assert Message.objects.filter(kind="goes_alone").count() == 1


@pytest.mark.parametrize(
    ("more", "risk", "effect"),
    [
        (UNDO, "medium", "once"),  # may not be repeated
        ("pin: always", "medium", "set"),  # no way back
        ("undo: {action: world.once, with: {to: off}}", "medium", "set"),  # its way back may not be repeated
        (f"{ASKS}\n      {UNDO}", "medium", "set"),  # the runbook asks
        (f"{ASKS}\n      {UNDO}", "high", "set"),
    ],
)
def test_auto_reversible_widens_nothing_else(
    team: Team, incident: Incident, world: World, more: str, risk: str, effect: str
) -> None:
    run = acting_at(team, incident, "auto_reversible", more, risk=risk, effect=effect)
    assert (states(run)["act"], world.calls) == ("blocked approval", [])


# --- changed while something waits: the stricter level wins ----------------------------------------------------------
@pytest.mark.parametrize(("level", "state"), [("observe", "skipped"), ("suggest", "blocked human")])
def test_a_yes_sends_nothing_once_the_level_is_stricter(
    team: Team, incident: Incident, world: World, level: str, state: str
) -> None:
    run = acting_at(team, incident, "approve")
    set_to(level)
    approve(run, "act", make_actor(team))
    pump()
    assert (states(run)["act"], world.calls, Effect.objects.count()) == (state, [], 0)
    assert not Lock.objects.exists()


def test_what_would_have_gone_alone_asks_once_the_level_is_stricter(
    team: Team, incident: Incident, world: World
) -> None:
    set_to("auto_reversible")
    runbook = make_runbook(team, switching("set", "risk: medium", UNDO))
    run = start(runbook, make_actor(team), team, incident)
    carry_out(claim(run, "act"))
    assert (step(run, "act").state, step(run, "act").stage) == ("ready", "apply")
    set_to("approve")
    pump()
    assert (states(run)["act"], world.calls) == ("blocked approval", [])
    approve(run, "act", make_actor(team))
    pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 1)


def test_a_yes_stays_needed_when_the_level_is_wider_by_then(team: Team, incident: Incident, world: World) -> None:
    run = acting_at(team, incident, "approve", f"{ASKS}\n      {UNDO}")
    set_to("auto_reversible")
    pump()
    assert (states(run)["act"], world.calls) == ("blocked approval", [])


def test_what_may_have_happened_is_not_repeated_but_asked_about(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = acting_at(team, incident, "approve")
    world.actions = [Ambiguous("No answer.")]
    approve(run, "act", make_actor(team))
    pump()
    assert len(world.calls) == 1
    set_to("observe")
    moved_clock.forward(seconds=30)
    pump()
    assert (states(run)["act"], len(world.calls)) == ("unknown", 1)


# --- act now ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("level", ["observe", "suggest"])
def test_nobody_acts_from_here_where_nothing_may_be_changed(
    team: Team, incident: Incident, world: World, level: str
) -> None:
    set_to(level)
    incident = Incident.objects.get(pk=incident.pk)
    with pytest.raises(Conflict, match=f"rag-chat is set to {level}"):
        acting.act(incident, action="world.set", given={"to": "b"}, reason="Now.", actor=make_actor(team))


# --- changing it -----------------------------------------------------------------------------------------------------
def test_it_is_set_by_who_configures_and_stays_on_record(team: Team, incident: Incident) -> None:
    service = Service.objects.get(slug="rag-chat")
    ada = make_actor(team, ["admin"], username="ada")
    with pytest.raises(Forbidden):
        autonomy.set_level(service, "observe", reason="x", actor=make_actor(team, ["approver"]))
    with pytest.raises(Invalid, match="no level"):
        autonomy.set_level(service, "everything", reason="x", actor=ada)
    with pytest.raises(Invalid, match="needs a reason"):
        autonomy.set_level(service, "observe", reason=" ", actor=ada)
    autonomy.set_level(service, "observe", reason="A migration.", actor=ada)
    with pytest.raises(Conflict, match="already"):
        autonomy.set_level(service, "observe", reason="x", actor=ada)
    row = autonomy.history(service)[0]
    assert row.params == {"was": "approve", "now": "observe", "reason": "A migration.", "actor": "ada"}
    assert entries(incident, "ada set rag-chat from approve to observe: A migration.")


def test_it_records_what_a_file_changed_once(team: Team, incident: Incident) -> None:
    service = Service.objects.get(slug="rag-chat")
    actor = make_actor(team, username="ada")
    autonomy.note_loaded([service], actor=actor)
    assert not Evidence.objects.filter(kind="autonomy").exists()
    service.autonomy, service.source_file = "suggest", "chat.yaml"
    service.save()
    for _ in range(2):
        autonomy.note_loaded([service], actor=actor)
    assert [row.summary for row in autonomy.history(service)] == [
        "ada set rag-chat from approve to suggest: loaded from chat.yaml"
    ]
