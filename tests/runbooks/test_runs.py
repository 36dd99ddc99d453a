"""Starting, ordering, stopping and ending runs (conformance cases 1, 6, 21, 22, 23, 24 and promises P5, P9)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Q

from catalog.models import Team
from common import background, clock
from common.errors import Conflict, Invalid, NotFound
from incidents.models import Incident, TimelineEntry
from runbooks import execution, revisions, runs, ticker
from runbooks.actions.base import Refused
from runbooks.models import ApprovalRequest, Effect, Lock, Run, Runbook, RunEvent, StepRun, Worker
from tests.factories import make_actor, make_incident, make_service, make_team
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.world import World, known

pytestmark = pytest.mark.django_db
SERVICE = "inputs:\n  service: {type: string}\n"
MANUAL = "  check:\n    - {id: a, manual: 'Look at {{ inputs.service }}.'}\n"


def busy(team: Team, when_busy: str) -> Runbook:
    head = SERVICE + f'concurrency: {{key: "{{{{ inputs.service }}}}", when_busy: {when_busy}}}\n'
    return make_runbook(team, MANUAL, head=head)


def begin(runbook: Runbook, team: Team, incident: Incident) -> runs.Started:
    given = {"service": "rag-chat"}
    return runs.start(runbook, given=given, actor=make_actor(team), team=team, incident=incident, reason="it fired")


def texts(incident: Incident) -> str:
    return "\n".join(TimelineEntry.objects.filter(incident=incident).values_list("text", flat=True))


def everyone_is_waited_for() -> bool:
    """P5: every open run has a step that a worker holds, a worker will take, a timer rings or a person answers."""
    waiting = Q(state__in=["ready", "unknown"]) | Q(state="leased", lease_until__isnull=False)
    waiting |= Q(state="sleeping", due_at__isnull=False) | Q(state="blocked")
    moving = StepRun.objects.filter(waiting).values("run")
    return not Run.objects.filter(state__in=["active", "paused", "stopping"]).exclude(pk__in=moving).exists()


def test_it_joins_and_says_so_on_both_incidents(team: Team, incident: Incident) -> None:
    runbook, other = busy(team, "join"), make_incident(team, incident.service)
    first, second = begin(runbook, team, incident), begin(runbook, team, other)
    assert (first.decision, second.decision, second.run) == ("started", "joined", first.run)
    assert "is running already (it waits at a)" in texts(incident)
    assert "joined it (it fired)" in texts(other)
    assert Run.objects.count() == 1


def test_it_skips_without_a_run(team: Team, incident: Incident) -> None:
    runbook = busy(team, "skip")
    first = begin(runbook, team, incident)
    assert begin(runbook, team, incident).decision == "skipped"
    assert Run.objects.get() == first.run


def test_it_waits_in_line_and_starts_after_the_holder_even_when_the_hint_is_lost(
    team: Team, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    runbook = busy(team, "queue")
    started = [begin(runbook, team, incident).run for _ in range(3)]
    assert [run.state for run in started if run] == ["active", "queued", "queued"]
    # The broker is gone for good: no hint ever arrives.
    monkeypatch.setattr(background, "_ensure_thread", lambda: None)
    for index, run in enumerate(started):
        assert run is not None
        ticker.tick("w")
        run.refresh_from_db()
        assert run.state == "active"
        later = [other.pk for other in started[index + 1 :] if other]
        assert set(Run.objects.filter(pk__in=later).values_list("state", flat=True)) <= {"queued"}
        runs.cancel(run, actor=make_actor(team))


def test_it_queues_behind_a_run_that_is_stopping(team: Team, incident: Incident, world: World) -> None:
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


def test_it_replaces_the_holder_and_names_itself(team: Team, incident: Incident) -> None:
    runbook = busy(team, "replace")
    first, second = begin(runbook, team, incident).run, begin(runbook, team, incident).run
    assert first is not None
    assert second is not None
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("cancelled", "active")
    assert str(second.uuid) in first.stop_reason


def test_it_refuses_what_belongs_to_another_team(team: Team, incident: Incident) -> None:
    other = make_team("other")
    runbook = make_runbook(team, "  check:\n    - {id: a, manual: Look.}\n")
    with pytest.raises(NotFound):
        runs.start(runbook, given={}, actor=make_actor(other), team=other)
    mine = make_runbook(other, "  check:\n    - {id: a, manual: Look.}\n")
    with pytest.raises(NotFound):
        runs.start(mine, given={}, actor=make_actor(other), team=other, incident=incident)
    with pytest.raises(Invalid, match="looks after no service"):
        begin(busy(other, "join"), other, make_incident(other, make_service(other, "else")))


ORDER = """
  check:
    - {id: a, check: world.ask, pass_if: value > 0}
    - {id: b, check: world.ask, pass_if: value > 0}
    - {id: c, check: world.ask, if: steps.a.value > 0, pass_if: value > 0}
    - {id: tell, action: world.notify, with: {to: x}}
    - {id: after, check: world.ask, pass_if: value > 0}
"""


def test_it_opens_steps_in_order(team: Team, world: World) -> None:
    world.checks = [9.0, 9.0, 9.0]
    run = start(make_runbook(team, ORDER.replace("pass_if: value > 0", "fail_if: value > 5")), make_actor(team), team)
    assert [name for name, state in states(run).items() if state == "ready"] == ["a", "b"]
    execution._one(step(run, "a").pk, "w")
    assert (step(run, "c").state, step(run, "tell").state) == ("ready", "pending")
    execution._one(step(run, "b").pk, "w")
    assert step(run, "tell").state == "pending"
    execution._one(step(run, "c").pk, "w")
    assert (step(run, "tell").state, step(run, "after").state) == ("ready", "pending")
    pump()
    assert states(run) == {"a": "fail", "b": "fail", "c": "fail", "tell": "pass", "after": "pass"}


def ending(team: Team, verify: str, remediate: str = "") -> Run:
    steps = (f"  remediate:\n{remediate}" if remediate else "") + (f"  verify:\n{verify}" if verify else "")
    steps = steps or "  check:\n    - {id: a, check: world.ask, pass_if: value > 0}\n"
    run = start(make_runbook(team, steps), make_actor(team), team)
    pump()
    run.refresh_from_db()
    return run


SET = "    - {id: act, action: world.set, with: {to: b}}\n"
LOOK = "    - {id: look, check: world.ask, fail_if: value > 5, no_data: inconclusive}\n"
NEVER = "    - {id: never, if: 1 > 2, check: world.ask, fail_if: value > 5}\n"


@pytest.mark.parametrize(
    ("remediate", "verify", "value", "outcome"),
    [
        (SET, LOOK + NEVER, 1.0, "resolved"),
        (SET, LOOK, 9.0, "not_resolved"),
        (SET, LOOK, None, "unverified"),
        (SET, NEVER, 1.0, "unverified"),
        (SET, "", 1.0, "unverified"),
        ("", NEVER, 1.0, "no_action"),
        ("", "", 1.0, "no_action"),
        ("", LOOK.replace("no_data", "on_verdict: {fail: stop}, no_data"), 9.0, "not_resolved"),
        ("    - {id: act, action: world.notify, with: {to: b}}\n", NEVER, 1.0, "no_action"),
    ],
)
def test_it_says_how_it_ended(
    team: Team, world: World, remediate: str, verify: str, value: float | None, outcome: str
) -> None:
    world.checks = [value]
    assert ending(team, verify, remediate).outcome == outcome


def test_it_is_aborted_when_the_action_is_refused(team: Team, world: World) -> None:
    world.actions = [Refused("No.")]
    run = ending(team, LOOK, SET)
    assert (run.state, run.outcome, states(run)) == ("finished", "aborted", {"act": "fail", "look": "cancelled"})


@pytest.mark.parametrize("policy", ["continue", "stop", "ask"])
def test_it_follows_the_policy_of_a_verdict(team: Team, world: World, policy: str) -> None:
    world.checks = [9.0]
    steps = f"""
  check:
    - {{id: a, check: world.ask, fail_if: value > 5, on_verdict: {{fail: {policy}}}}}
    - {{id: b, manual: Look.}}
"""
    run = start(make_runbook(team, steps), make_actor(team), team)
    pump()
    expected = {"continue": ("fail", "blocked human"), "stop": ("fail", "cancelled"), "ask": ("blocked ask", "pending")}
    assert tuple(states(run).values()) == expected[policy]
    assert everyone_is_waited_for()


@pytest.mark.parametrize(
    ("said", "state", "ended"),
    [
        ({"decision": "accept"}, "fail", False),
        ({"decision": "override", "verdict": "pass", "note": "Seen by hand."}, "pass", False),
        ({"decision": "again"}, "pass", False),
        ({"decision": "stop"}, "fail", True),
    ],
)
def test_it_asks_a_person_what_a_verdict_means(
    team: Team, incident: Incident, world: World, said: dict[str, str], state: str, ended: bool
) -> None:
    world.checks = [9.0]
    steps = """
  check:
    - {id: a, check: world.ask, fail_if: value > 5, on_verdict: {fail: ask}}
    - {id: b, manual: Look.}
"""
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    pump()
    with pytest.raises(Invalid):
        runs.answer(step(run, "a"), actor=make_actor(team), decision="override", verdict="pass")
    runs.answer(step(run, "a"), actor=make_actor(team), **said)  # type: ignore[arg-type]
    pump()
    run.refresh_from_db()
    assert (states(run)["a"], run.state == "finished") == (state, ended)
    assert bool(step(run, "a").overridden_by) is (said["decision"] == "override")


ASKS = "  check:\n    - {id: a, manual: Look., fields: {seen: {type: number}}, fail_if: result.seen > 5}\n"


@pytest.mark.parametrize("word", ["accept", "stop", "override", "again", "happened", "nonsense"])
def test_it_takes_for_a_manual_step_no_word_that_means_something_elsewhere(team: Team, word: str) -> None:
    run = start(make_runbook(team, ASKS), make_actor(team), team)
    with pytest.raises(Invalid, match="done, could_not, skip"):
        runs.answer(step(run, "a"), actor=make_actor(team), decision=word, fields={"seen": 9})
    assert states(run) == {"a": "blocked human"}


@pytest.mark.parametrize(
    ("word", "seen", "verdict"),
    [("", 9, "fail"), ("done", 9, "fail"), ("done", 1, "pass"), ("could_not", None, "fail"), ("skip", None, "skipped")],
)
def test_it_judges_the_answer_to_a_manual_step(team: Team, word: str, seen: int | None, verdict: str) -> None:
    run = start(make_runbook(team, ASKS), make_actor(team), team)
    runs.answer(step(run, "a"), actor=make_actor(team), decision=word, fields={"seen": seen} if seen else None)
    assert states(run) == {"a": verdict}
    assert step(run, "a").result == ({"seen": seen} if seen else {})


def test_it_keeps_the_revision_it_started_with(team: Team, incident: Incident, world: World) -> None:
    steps = "  remediate:\n    - {id: act, action: world.set, with: {to: one}, approval: {from: [role:oncall]}}\n"
    runbook = make_runbook(team, steps)
    first = start(runbook, make_actor(team), team, incident)
    pump()
    text = runbook.revisions.get().text.replace("to: one", "to: two")
    author = make_actor(team)
    revisions.publish(
        revisions.save(runbook, text=text, actor=author, team=team, note="", source="editor"), actor=author
    )
    Runbook.objects.filter(pk=runbook.pk).update(enabled=False, deleted_at=clock.now())
    assert ApprovalRequest.objects.get().preview["after"] == {"value": "one"}
    approve(first, "act", make_actor(team))
    pump()
    assert Effect.objects.get().after == {"value": "one"}
    Runbook.objects.filter(pk=runbook.pk).update(enabled=True, deleted_at=None)
    assert start(Runbook.objects.get(pk=runbook.pk), make_actor(team), team).revision.number == 2
    assert first.revision.number == 1


def test_it_waits_for_a_worker_that_knows_the_step_and_then_asks(team: Team, moved_clock: Any) -> None:
    with known():
        run = start(make_runbook(team, ORDER), make_actor(team), team)
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
    assert (step(run, "a").blocked_on, step(run, "a").reason) == ("ask", "provider_missing")
    run.refresh_from_db()
    assert run.state == "active"


WHERE = {
    "approval": SET.replace("}}", "}, approval: {from: [role:oncall]}}"),
    "human": "    - {id: act, manual: Look.}\n",
    "wait": "    - {id: act, wait: 1h}\n",
    "ready": SET,
}


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("where", WHERE)
def test_it_can_be_cancelled_everywhere(team: Team, incident: Incident, world: World, where: str, paused: bool) -> None:
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
    with pytest.raises(Conflict):
        runs.cancel(run, actor=actor)
    pump()
    assert world.calls == []


def test_it_can_be_cancelled_while_queued(team: Team, incident: Incident) -> None:
    runbook = busy(team, "queue")
    begin(runbook, team, incident)
    second = begin(runbook, team, incident).run
    assert second is not None
    runs.cancel(second, actor=make_actor(team))
    second.refresh_from_db()
    assert (second.state, second.started_at) == ("cancelled", None)


def test_it_cancels_a_check_at_work_and_keeps_its_result_as_evidence(team: Team, world: World) -> None:
    run = start(make_runbook(team, ORDER), make_actor(team), team)
    claimed = execution.claim(step(run, "a").pk, "w")
    assert claimed is not None
    runs.cancel(run, actor=make_actor(team))
    execution._check(*claimed)
    assert states(run)["a"] == "cancelled"
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_it_starts_nothing_while_paused(team: Team, world: World) -> None:
    run = start(make_runbook(team, ORDER), make_actor(team), team)
    runs.pause(run, actor=make_actor(team))
    pump()
    assert states(run)["a"] == "ready"
    runs.resume(run, actor=make_actor(team))
    pump()
    assert states(run)["after"] == "pass"


def test_it_writes_every_transition_once_in_order(team: Team, world: World) -> None:
    run = start(make_runbook(team, ORDER), make_actor(team), team)
    pump()
    rows = list(RunEvent.objects.filter(run=run).values_list("seq", "transition"))
    assert [seq for seq, _ in rows] == list(range(1, len(rows) + 1))
    assert (rows[0][1], rows[-1][1]) == ("R1", "R5")
    assert everyone_is_waited_for()


def test_it_is_refused_when_its_stored_text_is_damaged(team: Team) -> None:
    runbook = make_runbook(team, "  check:\n    - {id: a, manual: Look.}\n")
    revision = runbook.revisions.get()
    type(revision).objects.filter(pk=revision.pk).update(parsed={"spec": 9}, sha256="0" * 64)
    with pytest.raises(Conflict, match="cannot be read by this version"):
        start(Runbook.objects.get(pk=runbook.pk), make_actor(team), team)
