"""What becomes of one step: verdicts, attempts, lost workers, late results."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from incidents.models import Incident
from runbooks import execution, reading
from runbooks.checks.base import CheckError, Pending
from runbooks.models import Run
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db


def asking(team: Team, incident: Incident | None = None, rules: str = "fail_if: value > 5") -> Run:
    steps = f"""
  check:
    - id: a
      check: world.ask
      {rules}
    - {{id: next, if: steps.a.verdict != '', manual: Go on.}}
"""
    return start(make_runbook(team, steps), make_actor(team), team, incident)


def test_it_ends_in_error_at_once_when_trying_again_is_useless(team: Team, world: World) -> None:
    world.checks = [CheckError("bad_query", "Parse error.", permanent=True)]
    run = asking(team)
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason, step(run, "a").attempts) == ("error", "bad_query", 1)


def test_it_survives_a_check_that_breaks(team: Team, world: World, moved_clock: Any) -> None:
    world.checks = [KeyError("x")] * 3
    run = asking(team)
    for _ in range(3):
        pump()
        moved_clock.forward(seconds=30)
    assert (step(run, "a").verdict, step(run, "a").reason) == ("error", "crashed")
    assert states(run)["next"] == "blocked human"


def test_it_sleeps_as_a_row_while_the_other_side_is_not_done(team: Team, world: World, moved_clock: Any) -> None:
    world.checks = [Pending(2.0, "half done"), 1.0]
    run = asking(team)
    pump()
    assert (states(run)["a"], step(run, "a").attempts, step(run, "a").pending_note) == ("sleeping", 0, "half done")
    moved_clock.forward(seconds=3)
    pump()
    assert (states(run)["a"], step(run, "a").attempts) == ("pass", 1)


def test_it_ends_what_is_never_done(team: Team, world: World, moved_clock: Any) -> None:
    world.checks = [Pending(2.0, "not yet") for _ in range(99)]
    run = asking(team)
    for _ in range(4):
        pump()
        moved_clock.forward(seconds=30)
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason) == ("error", "timeout")


def test_it_asks_the_check_with_the_looks_that_the_step_names(team: Team, world: World) -> None:
    run = asking(team, rules="fail_if: value > 5\n      looks: 24")
    definition = reading.step_of(run, step(run, "a"))
    assert execution.context_of(run, step(run, "a"), definition).looks == 24
