"""Cases 7, 8, 22: who may say yes, until when, and to which revision of what."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.actors import person
from catalog.models import Group, Team
from common import clock
from common.errors import Conflict, Forbidden
from incidents.models import Incident, Message, TimelineEntry
from runbooks import approvals, revisions, runs
from runbooks.models import ApprovalRequest, Attempt, Decision, Effect, Run, Runbook, RunEvent, Worker
from tests.factories import make_actor, make_user
from tests.factories_postmortems import make_address
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step, switching
from tests.fakes.world import World, known

pytestmark = pytest.mark.django_db


def asks(more: str = "") -> str:
    return switching("set", "risk: medium", f"approval: {{from: [role:oncall], timeout: 20m{more}}}")


def asking(team: Team, incident: Incident, more: str = "") -> Run:
    run = start(make_runbook(team, asks(more)), make_actor(team), team, incident)
    pump()
    return run


def told(kind: str) -> list[str]:
    return list(Message.objects.filter(kind=kind).order_by("pk").values_list("recipient", flat=True))


def transitions_of(run: Run, name: str) -> list[str]:
    return list(RunEvent.objects.filter(run=run, step=name).order_by("seq").values_list("transition", flat=True))


def test_case_07_quorum(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident, ", count: 2")
    first, outsider = make_actor(team), person(make_user(team=team, oncall=False))
    approve(run, "act", first)
    with pytest.raises(Conflict, match="decided already"):
        approve(run, "act", first)
    with pytest.raises(Forbidden, match="not among them"):
        approve(run, "act", outsider)
    assert step(run, "act").blocked_on == "approval"
    digest = ApprovalRequest.objects.get().digest
    approve(run, "act", make_actor(team))
    assert step(run, "act").state == "ready"
    with pytest.raises(Conflict, match="approved already"):
        approvals.approve(step(run, "act"), digest=digest, actor=make_actor(team))
    pump()
    assert (len(world.calls), Effect.objects.count(), Decision.objects.count()) == (1, 1, 2)
    assert Attempt.objects.filter(step_run__step="act", outcome="done").count() == 2  # the preview, and the effect
    assert transitions_of(run, "act") == ["S3", "S8", "S4", "S6", "S7", "S8", "S9"]


def test_case_07_one_no_is_enough(team: Team, incident: Incident, world: World) -> None:
    run = asking(team, incident, ", count: 2")
    approve(run, "act", make_actor(team))
    digest = ApprovalRequest.objects.get().digest
    approvals.reject(step(run, "act"), digest=digest, actor=make_actor(team), reason="It is the data.")
    run.refresh_from_db()
    assert (states(run), step(run, "act").reason) == ({"act": "fail"}, "rejected")
    assert (run.state, run.outcome, world.calls) == ("finished", "aborted", [])
    assert transitions_of(run, "act")[-1] == "S6"


@pytest.fixture
def leads(team: Team) -> Group:
    """A group of one approver with an address, who is not on call."""
    lead = make_user("lead", team=team, oncall=False)
    group = Group.objects.create(team=team, slug="leads")
    group.members.add(lead)
    make_address("http://127.0.0.1:9/", user=lead)
    return group


def test_case_08_approval_timeout(team: Team, incident: Incident, world: World, moved_clock: Any, leads: Group) -> None:
    run = asking(team, incident, ", escalate: [{after: 11m, to: role:leads}]")
    digest, lead = ApprovalRequest.objects.get().digest, person(leads.members.get())
    with pytest.raises(Forbidden):
        approve(run, "act", lead)
    moved_clock.forward(minutes=10)
    pump()
    assert (len(told("approval_half")), "lead" in str(told("waits_for_you"))) == (1, False)
    moved_clock.forward(minutes=1)
    for _ in range(3):
        pump()
    assert [who for who in told("waits_for_you") if "lead" in who] == ["lead (phone)"]
    assert ApprovalRequest.objects.get().principals == ["role:oncall", "role:leads"]
    assert TimelineEntry.objects.filter(text__contains="role:leads is asked too").count() == 1
    moved_clock.forward(minutes=9)
    pump()
    late = step(run, "act")
    assert (late.blocked_on, late.proposed_verdict, late.reason) == ("ask", "inconclusive", "approval_timeout")
    assert told("approval_expired") == ["lead (phone)"]
    moved_clock.forward(minutes=1)
    with pytest.raises(Conflict, match="expired"):
        approvals.approve(late, digest=digest, actor=lead)
    assert world.calls == []
    assert transitions_of(run, "act")[-1] == "S16"


def test_case_08_those_escalated_to_may_decide(
    team: Team, incident: Incident, world: World, moved_clock: Any, leads: Group
) -> None:
    run = asking(team, incident, ", escalate: [{after: 5m, to: role:leads}]")
    moved_clock.forward(minutes=6)
    pump()
    approve(run, "act", person(leads.members.get()))
    pump()
    assert states(run) == {"act": "pass"}


def test_case_22_pinning(team: Team, incident: Incident, world: World) -> None:
    runbook = make_runbook(team, asks())
    first = start(runbook, make_actor(team), team, incident)
    pump()
    text = runbook.revisions.get().text.replace("to: b", "to: c")
    author = make_actor(team)
    revisions.publish(
        revisions.save(runbook, text=text, actor=author, team=team, note="", source="editor"), actor=author
    )
    Runbook.objects.filter(pk=runbook.pk).update(enabled=False, deleted_at=clock.now())
    assert ApprovalRequest.objects.get().preview["after"] == {"value": "b"}
    approve(first, "act", make_actor(team))
    pump()
    assert Effect.objects.get().after == {"value": "b"}
    Runbook.objects.filter(pk=runbook.pk).update(enabled=True, deleted_at=None)
    assert start(Runbook.objects.get(pk=runbook.pk), make_actor(team), team).revision.number == 2
    assert first.revision.number == 1


def test_case_22_deploy_without_the_provider(team: Team, moved_clock: Any) -> None:
    with known():
        steps = "  check:\n    - {id: a, check: world.ask, pass_if: value > 0}\n"
        run = start(make_runbook(team, steps), make_actor(team), team)
    pump()
    moved_clock.forward(minutes=9)
    pump()
    assert states(run)["a"] == "ready"
    moved_clock.forward(minutes=2)
    Worker.objects.update_or_create(
        name="newer", defaults={"providers": ["world.ask"], "started_at": clock.now(), "ticked_at": clock.now()}
    )
    pump()
    assert states(run)["a"] == "ready"
    Worker.objects.filter(name="newer").delete()
    pump()
    waiting = step(run, "a")
    assert (waiting.blocked_on, waiting.proposed_verdict, waiting.reason) == ("ask", "error", "provider_missing")
    run.refresh_from_db()
    assert run.state == "active"
    runs.answer(waiting, actor=make_actor(team), decision="accept")
    assert states(run) == {"a": "error"}
    assert transitions_of(run, "a") == ["S3", "S16", "S17"]
