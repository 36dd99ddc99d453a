"""Starting, ordering, stopping and ending runs (its conformance cases: tests/conformance)."""

from __future__ import annotations

import pytest

from catalog.models import Team
from common import background
from common.errors import Conflict, Invalid, NotFound
from incidents.models import Incident, TimelineEntry
from runbooks import runs, ticker
from runbooks.models import Run, Runbook, RunEvent
from tests import invariants
from tests.factories import make_actor, make_incident, make_service, make_team
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import World

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
    invariants.hold()


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
    invariants.hold()


def test_it_is_refused_when_its_stored_text_is_damaged(team: Team) -> None:
    runbook = make_runbook(team, "  check:\n    - {id: a, manual: Look.}\n")
    revision = runbook.revisions.get()
    type(revision).objects.filter(pk=revision.pk).update(parsed={"spec": 9}, sha256="0" * 64)
    with pytest.raises(Conflict, match="does not know"):
        start(Runbook.objects.get(pk=runbook.pk), make_actor(team), team)
