"""How a run ends: what was changed is taken back, what was promised is said."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from incidents.models import Incident, TimelineEntry
from runbooks.actions.base import Ambiguous, NotApplied, Refused
from runbooks.models import Effect, Lock, Run
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

TWO = """
  remediate:
    - id: first
      action: world.set
      with: {{to: b}}
      lock: one
      undo: {{action: world.set, with: {{to: "{{{{ steps.first.verdict }}}}"}}, auto: {auto}}}
    - id: second
      action: world.keyed
      with: {{to: c}}
      undo: {{action: world.keyed, with: {{to: d}}, auto: {auto}}}
  verify:
    - {{id: look, check: world.ask, pass_if: value > 0, on_verdict: {{fail: continue}}}}
finally:
  - {{id: tell, action: world.notify, with: {{to: "{{{{ run.outcome }}}}"}}}}
"""


def changed(team: Team, incident: Incident | None, auto: str = "true") -> Run:
    return start(make_runbook(team, TWO.format(auto=auto)), make_actor(team), team, incident)


def sent() -> list[str]:
    rows = Effect.objects.filter(state="confirmed").select_related("step_run").order_by("ended_at", "pk")
    return [row.step_run.step for row in rows]


def test_it_leaves_what_helped_and_offers_what_may_not_go_by_itself(
    team: Team, incident: Incident, world: World
) -> None:
    run = changed(team, incident)
    pump()
    assert sent() == ["first", "second", "tell"]
    assert {(row.step, row.reason) for row in run.steps.filter(phase="undo")} == {
        ("undo-first", "offered"),
        ("undo-second", "offered"),
    }
    world.checks = [0.0]
    other = changed(team, None, auto="false")
    pump()
    other.refresh_from_db()
    assert other.outcome == "not_resolved"
    assert {row.verdict for row in other.steps.filter(phase="undo")} == {"skipped"}


def test_it_holds_the_lock_while_it_takes_back_and_lets_go_of_it(team: Team, world: World) -> None:
    held: list[set[str]] = []
    look = lambda: held.append(set(Lock.objects.values_list("name", flat=True)))  # noqa: E731
    world.checks, world.actions = [0.0], [look] * 4
    changed(team, None)
    pump()
    assert held == [{"one"}, set(), set(), {"one"}]
    assert not Lock.objects.exists()


def test_an_undo_whose_worker_is_lost_is_done_by_the_next(team: Team, world: World, moved_clock: Any) -> None:
    world.checks, world.actions = [0.0], [None, None, Ambiguous("The line went dead.")]
    run = changed(team, None)
    pump()
    assert states(run)["undo-second"] == "sleeping"
    moved_clock.forward(seconds=60)
    pump()
    run.refresh_from_db()
    assert run.state == "finished"
    assert sent() == ["first", "second", "undo-second", "undo-first", "tell"]
    assert len(set(world.calls)) == 5


def test_an_undo_that_cannot_be_done_keeps_nothing_open(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.checks = [0.0]
    world.actions = [None, None, *[NotApplied("Nobody answers.")] * 3, *[NotApplied("Nobody answers.")] * 3]
    run = changed(team, incident)
    for _ in range(8):
        pump()
        moved_clock.forward(seconds=61)
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "not_resolved")
    assert sent() == ["first", "second", "tell"]
    assert "Nobody answers" in step(run, "undo-second").summary
    assert TimelineEntry.objects.filter(incident=incident, text__contains="Undo: second", pinned=True).exists()


def test_an_ending_that_waits_for_a_lock_has_five_minutes(team: Team, world: World, moved_clock: Any) -> None:
    world.checks = [0.0, 1.0]
    run = changed(team, None)
    other = start(make_runbook(team, "  check:\n    - {id: z, manual: Wait.}\n"), make_actor(team), team)
    pump_until_undo(run, other)
    assert step(run, "undo-first").blocked_on == "lock"
    moved_clock.forward(seconds=301)
    pump()
    run.refresh_from_db()
    assert (run.state, step(run, "undo-first").reason) == ("finished", "timeout")


def pump_until_undo(run: Run, other: Run) -> None:
    """Another run takes the lock between the change and its undo."""
    from runbooks import ticker

    while step(run, "look").state not in ("settled", "ready"):
        ticker.run_pending("test", ("engine", "checks", "actions"), older_than=-3600)
    Lock.objects.create(name="one", step_run=step(other, "z"), taken_at=run.created_at)
    pump()


def test_finally_says_its_words_whatever_comes_of_them(team: Team, world: World) -> None:
    world.actions = [None, None, Refused("Full.")]
    run = changed(team, None)
    pump()
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "resolved")
    assert step(run, "tell").verdict == "fail"
