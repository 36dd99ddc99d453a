"""Cases 23, 24: storms on one service, and cancelling from everywhere."""

from __future__ import annotations

import pytest

from catalog.models import Team
from common.errors import Conflict
from incidents.models import Incident, TimelineEntry
from runbooks import execution, runs, ticker
from runbooks.models import ApprovalRequest, Lock, Run, Runbook, RunEvent
from tests.factories import make_actor
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.world import World
from tests.runbooks.test_races import AT_ONCE, together

pytestmark = pytest.mark.django_db
SERVICE = "inputs:\n  service: {type: string}\n"
MANUAL = "  check:\n    - {id: a, manual: 'Look at {{ inputs.service }}.'}\n"


def busy(team: Team, when_busy: str) -> Runbook:
    head = SERVICE + f'concurrency: {{key: "{{{{ inputs.service }}}}", when_busy: {when_busy}}}\n'
    return make_runbook(team, MANUAL, head=head)


def begin(runbook: Runbook, team: Team, incident: Incident) -> runs.Started:
    given = {"service": "rag-chat"}
    return runs.start(runbook, given=given, actor=make_actor(team), team=team, incident=incident, reason="it fired")


@pytest.mark.django_db(transaction=True)
def test_case_23_storm(team: Team, incident: Incident) -> None:
    runbook, actor = busy(team, "join"), make_actor(team)

    def at_once(_: int) -> str:
        given = {"service": "rag-chat"}
        return runs.start(runbook, given=given, actor=actor, team=team, incident=incident).decision

    assert sorted(together(at_once)) == ["joined"] * (AT_ONCE - 1) + ["started"]
    assert Run.objects.count() == 1
    assert TimelineEntry.objects.filter(text__contains="joined it").count() == AT_ONCE - 1


def test_case_23_queued_behind_one_that_is_stopping(team: Team, incident: Incident, world: World) -> None:
    steps = "  remediate:\n    - {id: act, action: world.set, with: {to: '{{ inputs.service }}'}}\n"
    runbook = make_runbook(team, steps, head=SERVICE)
    first = begin(runbook, team, incident).run
    assert first is not None
    later: list[runs.Started] = []

    def while_it_is_sent() -> None:
        runs.cancel(first, actor=make_actor(team))
        later.append(begin(runbook, team, incident))

    world.actions = [while_it_is_sent]
    ticker.tick("w")
    execution.execute(step(first, "act").pk, "w")
    assert [one.decision for one in later] == ["queued"]
    pump()
    assert list(Run.objects.order_by("pk").values_list("state", flat=True)) == ["cancelled", "finished"]
    assert len(set(world.calls)) == 2


def test_case_23_replace_names_the_second(team: Team, incident: Incident) -> None:
    runbook = busy(team, "replace")
    first, second = begin(runbook, team, incident).run, begin(runbook, team, incident).run
    assert first is not None
    assert second is not None
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("cancelled", "active")
    assert str(second.uuid) in first.stop_reason


def test_who_is_in_line_comes_before_a_newcomer(team: Team, incident: Incident) -> None:
    runbook = busy(team, "queue")
    first, second = begin(runbook, team, incident).run, begin(runbook, team, incident).run
    assert first is not None
    assert second is not None
    runs.cancel(first, actor=make_actor(team))
    assert Run.objects.get(pk=second.pk).state == "queued"
    assert begin(runbook, team, incident).decision == "queued"
    assert list(Run.objects.order_by("pk").values_list("state", flat=True)) == ["cancelled", "active", "queued"]


def test_a_run_of_a_step_waits_in_line_too(team: Team, incident: Incident) -> None:
    runbook, actor = busy(team, "queue"), make_actor(team)
    first, second = begin(runbook, team, incident).run, begin(runbook, team, incident).run
    assert first is not None
    assert second is not None
    runs.cancel(first, actor=actor)
    call = f"  check:\n    - {{id: call, runbook: {runbook.slug}, with: {{service: rag-chat}}}}\n"
    outer = start(make_runbook(team, call), actor, team, incident)
    child = Run.objects.get(parent_step__run=outer)
    assert (child.state, Run.objects.get(pk=second.pk).state) == ("queued", "queued")
    ticker.tick("w")
    child.refresh_from_db()
    assert (child.state, Run.objects.get(pk=second.pk).state) == ("queued", "active")


SET = "    - {id: act, action: world.set, with: {to: b}}\n"
WHERE = {
    "approval": SET.replace("}}", "}, approval: {from: [role:oncall]}}"),
    "human": "    - {id: act, manual: Look.}\n",
    "wait": "    - {id: act, wait: 1h}\n",
    "ready": SET,
}


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("where", WHERE)
def test_case_24_cancel_everywhere(team: Team, incident: Incident, world: World, where: str, paused: bool) -> None:
    run = start(make_runbook(team, f"  remediate:\n{WHERE[where]}"), make_actor(team), team, incident)
    ticker.tick("w")
    if where != "ready":
        pump()
    actor = make_actor(team)
    if paused:
        runs.pause(run, actor=actor)
    runs.cancel(run, actor=actor, reason="wrong service")
    run.refresh_from_db()
    assert (run.state, run.outcome, states(run)) == ("cancelled", "", {"act": "cancelled"})
    assert "wrong service" in run.stop_reason
    assert not Lock.objects.exists()
    assert not ApprovalRequest.objects.filter(state="open").exists()
    assert RunEvent.objects.get(run=run, step="act", state="cancelled").transition == "S18"
    with pytest.raises(Conflict):
        runs.cancel(run, actor=actor)
    pump()
    assert world.calls == []


def test_case_24_cancel_while_queued(team: Team, incident: Incident) -> None:
    runbook = busy(team, "queue")
    begin(runbook, team, incident)
    second = begin(runbook, team, incident).run
    assert second is not None
    runs.cancel(second, actor=make_actor(team))
    second.refresh_from_db()
    assert (second.state, second.started_at) == ("cancelled", None)


def test_case_24_cancel_a_check_at_work(team: Team, world: World) -> None:
    steps = "  check:\n    - {id: a, check: world.ask, pass_if: value > 0}\n"
    run = start(make_runbook(team, steps), make_actor(team), team)
    claimed = execution.claim(step(run, "a").pk, "w")
    assert claimed is not None
    runs.cancel(run, actor=make_actor(team))
    execution._check(*claimed)
    assert states(run)["a"] == "cancelled"
    assert RunEvent.objects.get(run=run, step="a", state="cancelled").transition == "S19"
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_case_24_cancel_after_the_send(team: Team, incident: Incident, world: World) -> None:
    run = start(make_runbook(team, f"  remediate:\n{WHERE['approval']}"), make_actor(team), team, incident)
    pump()
    actor = make_actor(team)
    approve(run, "act", actor)
    world.actions = [lambda: runs.cancel(run, actor=actor)]
    pump()
    run.refresh_from_db()
    assert (run.state, states(run), len(world.calls)) == ("cancelled", {"act": "pass"}, 1)
    assert not Lock.objects.exists()
    with pytest.raises(Conflict):
        runs.cancel(run, actor=actor)
