"""A step that runs another runbook and has a `timeout`: the other one is cut off in good order, and never wrongly.

The cases are not numbered in the design; every promise is looked at after each of them, as after those that are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from catalog.actors import Actor
from catalog.models import Team
from incidents.models import Incident, TimelineEntry
from runbooks import execution, runs, schema, ticker
from runbooks.models import Effect, Run, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import HEAD, make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
CALL = (
    "  check:\n    - {id: call, runbook: other, timeout: 10m, on_verdict: {inconclusive: continue, error: continue}}\n"
)
LOOK = "  check:\n    - {id: look, manual: Look.}\n"
ACT = """\
  remediate:
    - {id: act, action: world.set, undo: {action: world.set, with: {to: off}, auto: true}}
    - {id: look, manual: Look.}
finally:
  - {id: tell, action: world.notify, with: {to: "{{ run.outcome }}"}}
"""


@pytest.fixture
def actor(team: Team) -> Actor:
    return make_actor(team)


def calling(team: Team, actor: Actor, other: str = LOOK, incident: Incident | None = None, text: str = CALL) -> Run:
    make_runbook(team, other, slug="other")
    return start(make_runbook(team, text, slug="outer"), actor, team, incident)


def child_of(run: Run, generation: int = 1) -> Run:
    return Run.objects.get(parent_step__run=run, parent_generation=generation)


def came_to(run: Run) -> tuple[str, str, str]:
    """State, verdict and reason of the step that calls."""
    found = step(run, "call")
    return found.state, found.verdict, found.reason


def test_it_is_cut_off_when_the_time_is_over_and_not_before(
    team: Team, actor: Actor, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = calling(team, actor, incident=incident)
    assert step(run, "call").due_at == run.created_at + timedelta(minutes=10)
    moved_clock.forward(seconds=599)
    pump()
    assert child_of(run).state == "active"
    moved_clock.forward(seconds=1)
    pump()
    child = child_of(run)
    assert (child.state, child.stop_reason) == ("cancelled", "step call gives it 10m")
    assert came_to(run) == ("settled", "error", "timeout")
    run.refresh_from_db()
    assert run.state == "finished"
    told = TimelineEntry.objects.filter(incident=incident, kind__in=["run", "check"]).order_by("seq")
    assert list(told.values_list("text", flat=True))[3:] == [
        "call has lasted 10m: runbook other is cancelled.",
        "Runbook other ended, cancelled (step call gives it 10m).",
        "call Went wrong: Runbook other ended, cancelled (step call gives it 10m).",
        "Runbook outer ended, no action: nothing was changed.",
    ]


def test_without_a_timeout_only_its_own_deadline_ends_it(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    head = "deadline: 3h\n"
    make_runbook(team, LOOK.replace("Look.", "Look., timeout: 4h"), slug="other", head=head)
    run = start(make_runbook(team, CALL.replace("timeout: 10m, ", "")), actor, team)
    assert step(run, "call").due_at is None
    moved_clock.forward(minutes=179)
    pump()
    assert child_of(run).state == "active"
    moved_clock.forward(minutes=2)
    pump()
    moved_clock.forward(minutes=1)
    pump()
    assert (child_of(run).state, came_to(run)) == ("expired", ("settled", "error", "expired"))


def test_one_that_ended_in_time_counts_however_late_its_news_is(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    run = calling(team, actor)
    moved_clock.forward(seconds=590)
    runs.answer(step(child_of(run), "look"), actor=actor, decision="done")
    assert child_of(run).state == "finished"
    moved_clock.forward(hours=3)
    pump()
    assert came_to(run) == ("settled", "pass", "no_action")


def test_one_that_had_begun_to_end_is_waited_for_and_counts(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    run = calling(team, actor, ACT)
    pump()
    moved_clock.forward(minutes=9)
    runs.answer(step(child_of(run), "look"), actor=actor, decision="done")
    assert (child_of(run).state, child_of(run).phase) == ("stopping", "finally")
    moved_clock.forward(minutes=1)
    ticker.tick("w")
    assert (child_of(run).state, step(run, "call").state, step(run, "call").due_at) == ("stopping", "blocked", None)
    pump()
    moved_clock.forward(seconds=61)
    pump()
    assert came_to(run) == ("settled", "inconclusive", "unverified")


def test_what_it_has_sent_is_waited_for_then_taken_back(
    team: Team, actor: Actor, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = calling(team, actor, ACT, incident)
    seen: list[tuple[str, ...]] = []

    def late() -> None:
        moved_clock.forward(seconds=15)
        ticker.tick("other")
        seen.append((child_of(run).state, *came_to(run)))

    moved_clock.forward(seconds=590)
    world.actions = [late]
    execution.execute(step(child_of(run), "act").pk, "w")
    assert seen == [("stopping", "blocked", "", "timeout")]
    pump()
    moved_clock.forward(seconds=61)
    pump()
    child = child_of(run)
    done = Effect.objects.filter(state="confirmed").order_by("ended_at", "pk").values_list("step_run__step", flat=True)
    assert list(done) == ["act", "undo-act", "tell"]
    assert (child.state, states(child)["look"]) == ("cancelled", "cancelled")
    assert came_to(run) == ("settled", "error", "timeout")


def test_it_is_asked_about_where_the_policy_asks_and_running_it_again_has_all_its_time(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    run = calling(team, actor, text=CALL.replace(", on_verdict: {inconclusive: continue, error: continue}", ""))
    moved_clock.forward(seconds=600)
    pump()
    found = step(run, "call")
    assert (found.blocked_on, found.proposed_verdict, found.reason) == ("ask", "error", "timeout")
    runs.answer(found, actor=actor, decision="again")
    assert step(run, "call").due_at == moved_clock.time + timedelta(minutes=10)
    runs.answer(step(child_of(run, 2), "look"), actor=actor, decision="done")
    moved_clock.forward(seconds=6)
    pump()
    assert came_to(run) == ("settled", "pass", "no_action")


def test_one_in_line_for_a_key_is_cut_off_too_and_never_starts(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    other = make_runbook(team, LOOK, slug="other", head="concurrency: {key: one}\n")
    first = start(other, actor, team)
    run = start(make_runbook(team, CALL), actor, team)
    moved_clock.forward(seconds=600)
    pump()
    assert (child_of(run).state, child_of(run).started_at) == ("cancelled", None)
    assert came_to(run) == ("settled", "error", "timeout")
    assert Run.objects.get(pk=first.pk).state == "active"


@pytest.mark.parametrize("paused", ["outer", "other"])
def test_a_pause_gives_no_more_time_all_the_way_down(
    team: Team, actor: Actor, world: World, moved_clock: Any, paused: str
) -> None:
    make_runbook(team, LOOK, slug="third")
    run = calling(team, actor, CALL.replace("other, timeout: 10m", "third"))
    runs.pause(run if paused == "outer" else child_of(run), actor=actor)
    moved_clock.forward(seconds=600)
    pump()
    assert list(Run.objects.order_by("pk").values_list("state", flat=True)[1:]) == ["cancelled", "cancelled"]
    assert came_to(run) == ("settled", "error", "timeout")
    assert Run.objects.get(pk=run.pk).state == ("paused" if paused == "outer" else "finished")


def test_a_person_who_cancels_it_first_is_the_reason(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    run = calling(team, actor)
    runs.cancel(child_of(run), actor=actor, reason="wrong place")
    moved_clock.forward(seconds=601)
    pump()
    assert came_to(run) == ("settled", "error", "cancelled")


def test_each_element_has_its_own_time(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    text = CALL.replace("runbook: other", "foreach: '[1, 2]', runbook: other")
    run = calling(team, actor, text=text)
    first, second = StepRun.objects.filter(run=run).order_by("item")
    runs.answer(StepRun.objects.get(run__parent_step=first), actor=actor, decision="done")
    moved_clock.forward(seconds=600)
    pump()
    rows = StepRun.objects.filter(run=run).order_by("item").values_list("verdict", "reason")
    assert list(rows) == [("pass", "no_action"), ("error", "timeout")]
    assert Run.objects.get(parent_step=second).state == "cancelled"


def test_a_run_that_ends_takes_it_along_whatever_its_time(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    run = calling(team, actor)
    runs.cancel(run, actor=actor)
    moved_clock.forward(seconds=601)
    pump()
    assert (came_to(run), child_of(run).stop_reason) == (
        ("cancelled", "", ""),
        "the run that it is part of is ending",
    )


@pytest.mark.parametrize(("written", "codes"), [("7d", []), ("8d", ["RB037"]), ("0s", ["RB037"])])
def test_it_may_be_a_week(written: str, codes: list[str]) -> None:
    text = HEAD.format(slug="outer") + "phases:\n" + CALL.replace("10m", written)
    assert [found.code for found in schema.check(text, file="outer.yaml")] == codes
