"""Asking people: quorum, time, escalation, new facts (promises P6, P10)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings

from catalog.actors import ALERT, person
from catalog.models import Group, Team
from common.errors import Conflict, Forbidden, Invalid
from incidents.models import Alert, Endpoint, Incident, Message
from runbooks import approvals, repeating, runs, trigger
from runbooks.models import ApprovalRequest, Decision, Run
from tests.factories import make_actor, make_user
from tests.factories_intake import make_endpoint, make_notice, take, tell
from tests.factories_postmortems import make_address
from tests.factories_runbooks import approve, make_runbook, pump, start, step, switching
from tests.fakes.world import World

pytestmark = pytest.mark.django_db


def asks(more: str = "", risk: str = "medium") -> str:
    return switching("set", f"risk: {risk}", f"approval: {{from: [role:oncall], timeout: 20m{more}}}")


def asking(team: Team, incident: Incident | None, more: str = "", risk: str = "medium", **given: Any) -> Run:
    runbook = make_runbook(team, asks(more, risk))
    run = start(runbook, given.pop("actor", None) or make_actor(team), team, incident)
    pump()
    return run


def request_of(run: Run) -> ApprovalRequest:
    return ApprovalRequest.objects.filter(step_run__run=run).first() or pytest.fail("nothing was asked")


def told(kind: str) -> list[str]:
    return list(Message.objects.filter(kind=kind).order_by("pk").values_list("recipient", flat=True))


@pytest.fixture
def leads(team: Team) -> Group:
    """A group of one approver with an address, who is not on call."""
    lead = make_user("lead", team=team, oncall=False)
    group = Group.objects.create(team=team, slug="leads")
    group.members.add(lead)
    make_address("http://127.0.0.1:9/", user=lead)
    return group


def test_it_is_rejected_only_by_those_who_are_asked(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident)
    request = request_of(run)
    outsider = person(make_user(team=team, oncall=False))
    with pytest.raises(Forbidden):
        approvals.reject(step(run, "act"), digest=request.digest, actor=outsider, reason="I do not like it.")
    with pytest.raises(Invalid):
        approvals.reject(step(run, "act"), digest=request.digest, actor=make_actor(team), reason=" ")
    assert step(run, "act").blocked_on == "approval"


def test_it_asks_further_people_about_a_manual_step(
    team: Team, incident: Incident, moved_clock: Any, leads: Group
) -> None:
    steps = """
  triage:
    - {id: look, name: Look at it, manual: Look., timeout: 1h, escalate: [{after: 10m, to: role:leads}]}
"""
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    moved_clock.forward(minutes=11)
    for _ in range(3):
        pump()
    assert told("waits_for_you").count("lead (phone)") == 1
    assert (step(run, "look").params or {})["asked"] == ["role:oncall", "role:leads"]
    moved_clock.forward(hours=1)
    pump()
    assert (step(run, "look").verdict, step(run, "look").reason) == ("inconclusive", "timeout")


def test_it_keeps_time_while_the_run_is_paused(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    run = asking(team, incident)
    runs.pause(run, actor=make_actor(team))
    moved_clock.forward(minutes=21)
    pump()
    assert step(run, "act").blocked_on == "ask"
    assert request_of(run).state == "expired"


def test_it_is_recorded_while_paused_and_applied_after(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident)
    runs.pause(run, actor=make_actor(team))
    approve(run, "act", make_actor(team))
    pump()
    assert (world.calls, Decision.objects.count()) == ([], 1)
    runs.resume(run, actor=make_actor(team))
    pump()
    assert len(world.calls) == 1


@pytest.mark.parametrize("way", ["skip", "rerun"])
def test_it_is_withdrawn_when_the_step_goes_on_without_it(
    team: Team, incident: Incident, world: World, way: str
) -> None:
    run = asking(team, incident)
    first, actor = request_of(run), make_actor(team)
    if way == "skip":
        runs.skip(step(run, "act"), actor=actor, reason="Repaired by hand.")
    else:
        repeating.rerun(step(run, "act"), actor=actor)
    pump()
    first.refresh_from_db()
    assert first.state == "superseded"
    with pytest.raises(Conflict):
        approvals.approve(step(run, "act"), digest=first.digest, actor=make_actor(team))
    assert ApprovalRequest.objects.filter(state="open").count() == (way == "rerun")


def test_it_says_that_the_alert_resolved_before_anybody_was_asked(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    [touched] = tell(make_endpoint(team, service=incident.service), make_notice())
    runbook = make_runbook(team, asks())
    runs.start(
        runbook, given={}, actor=ALERT, team=team, incident=touched.incident, alert=touched.alert, reason="it fired"
    )
    Alert.objects.update(status="resolved", ends_at=datetime(2026, 11, 21, 3, 14, tzinfo=UTC))
    pump()
    assert ApprovalRequest.objects.get().new_fact == "the alert resolved at 03:14 UTC"
    assert world.calls == []


def told_of(endpoint: Endpoint, key: str, status: str, text: str = "") -> None:
    """A sender tells of an alert, and workers do what follows from it."""
    body = {"title": f"Accuracy {key}", "dedup_key": key, "status": status, "severity": "high", "description": text}
    trigger.receive(take(endpoint, body)[0].pk)
    pump()


@pytest.fixture
def fired(team: Team, incident: Incident, world: World) -> tuple[Endpoint, Run]:
    """An endpoint with two alerts that fire on one incident, and a run that asks there."""
    endpoint = make_endpoint(team, "generic", service=incident.service)
    for key in ("k1", "k2"):
        told_of(endpoint, key, "firing")
    alert = Alert.objects.first()
    assert alert is not None
    return endpoint, asking(team, alert.incident)


def test_it_is_asked_anew_when_an_alert_resolves_and_not_when_that_is_told_again(
    fired: tuple[Endpoint, Run], moved_clock: Any
) -> None:
    endpoint, run = fired
    told_of(endpoint, "k1", "resolved")
    asked = request_of(run)
    assert asked.new_fact.endswith("UTC; 1 alerts still fire")
    for minute in range(2):
        moved_clock.forward(minutes=1)
        told_of(endpoint, "k1", "resolved", f"told again {minute}")
    assert request_of(run) == asked
    assert step(run, "act").due_at == asked.due_at
    told_of(endpoint, "k2", "resolved")
    assert request_of(run) != asked
    assert ApprovalRequest.objects.filter(state="open").count() == 1


def test_it_is_asked_anew_after_a_pause_in_which_the_alerts_resolved(fired: tuple[Endpoint, Run]) -> None:
    endpoint, run = fired
    first = request_of(run)
    runs.pause(run, actor=make_actor(run.team))
    told_of(endpoint, "k1", "resolved")
    with pytest.raises(Conflict):
        approvals.approve(step(run, "act"), digest=first.digest, actor=make_actor(run.team))
    told_of(endpoint, "k2", "resolved")
    runs.resume(run, actor=make_actor(run.team))
    pump()
    assert request_of(run) != first
    assert "resolved at" in request_of(run).new_fact
    assert "still fire" not in request_of(run).new_fact


def test_it_binds_to_what_was_shown(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident)
    approve(run, "act", make_actor(team))
    request = request_of(run)
    request.preview["after"] = {"value": "something else"}
    request.save()
    pump()
    assert (world.calls, step(run, "act").reason) == ([], "stale_evidence")


@pytest.mark.parametrize("four_eyes", [False, True])
@pytest.mark.parametrize("two_person", ["on", "off"])
def test_it_needs_another_person_only_where_that_is_asked_for(
    team: Team, incident: Incident, world: World, monkeypatch: pytest.MonkeyPatch, two_person: str, four_eyes: bool
) -> None:
    monkeypatch.setattr(settings.BACKSTOP, "two_person", two_person)
    team.four_eyes = four_eyes
    team.save()
    actor = make_actor(team)
    run = asking(team, incident, risk="high", actor=actor)
    if four_eyes and two_person == "on":
        with pytest.raises(Forbidden, match="started this run"):
            approve(run, "act", actor)
        approve(run, "act", actor, break_glass=True, reason="Nobody else is awake.")
    else:
        approve(run, "act", actor)
    decision = Decision.objects.get()
    assert bool(decision.override) is four_eyes
    assert decision.break_glass is (four_eyes and two_person == "on")
    assert Message.objects.filter(kind="break_glass").exists() is four_eyes


def test_it_counts_an_escalation_as_somebody_who_can(
    team: Team, incident: Incident, world: World, leads: Group
) -> None:
    team.groups.get(slug="oncall").members.clear()
    actor = person(make_user(team=team, oncall=False))
    alone = asking(team, incident, actor=actor)
    assert "Nobody can approve: act asks role:oncall: 0 of 1 people" in alone.warning
    escalated = asking(team, incident, ", escalate: [{after: 5m, to: role:leads}]", actor=actor)
    assert escalated.warning == ""
