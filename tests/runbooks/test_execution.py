"""What becomes of one step: verdicts, attempts, lost workers, late results (conformance cases 3, 4, 5, 10, 13, 14)."""

from __future__ import annotations

import base64
import contextlib
import math
from datetime import timedelta
from typing import Any

import pytest
from django.core import serializers

from catalog import connections
from catalog.models import Team
from common import clock
from incidents.models import Alert, Delivery, Evidence, Incident, Message, TimelineEntry
from runbooks import execution, reading, ticker
from runbooks.checks.base import CheckError, Finding, Pending
from runbooks.models import Attempt, Effect, Run, RunEvent, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import Killed, World

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


@pytest.mark.parametrize("nothing", [math.nan, None, [], math.inf])
@pytest.mark.parametrize("no_data", ["inconclusive", "pass", "fail", "error"])
def test_it_gives_nothing_the_verdict_of_no_data(team: Team, world: World, nothing: Any, no_data: str) -> None:
    world.checks = [Finding(nothing, "Nothing.")]
    run = asking(team, rules=f"fail_if: value > 0.05\n      no_data: {no_data}")
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason) == (no_data, "no_data")


GUARDED = "pass_if: value >= 0.92\n      fail_if: value < {fail}\n      min_samples: 200\n      max_age: 10m"


@pytest.mark.parametrize(
    ("value", "samples", "age", "fail", "expected"),
    [
        (0.80, 150, 0, 0.9, ("inconclusive", "too_few_samples")),
        (0.80, None, 0, 0.9, ("inconclusive", "too_few_samples")),
        (0.95, 400, 0, 0.99, ("fail", "")),  # both are true: fail wins
        (0.91, 400, 0, 0.9, ("inconclusive", "between_limits")),
        (0.95, 400, 0, 0.9, ("pass", "")),
        (0.95, 400, 601, 0.9, ("inconclusive", "stale")),
        # A clock that runs ahead of ours makes an observation of the future no older than now (case 17).
        (0.95, 400, -180, 0.9, ("pass", "")),
        ("high", 400, 0, 0.9, ("error", "expression")),
    ],
)
def test_it_guards_before_it_judges(
    team: Team,
    world: World,
    value: Any,
    samples: int | None,
    age: int,
    fail: float,
    expected: tuple[str, str],
) -> None:
    seen = clock.now() - timedelta(seconds=age)
    world.checks = [Finding(value, "x", samples=samples, observed_at=seen)]
    run = asking(team, rules=GUARDED.format(fail=fail))
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason) == expected


def test_it_tries_again_after_errors_only(team: Team, world: World) -> None:
    world.checks = [9.0, 1.0]
    run = asking(team)
    pump()
    assert (states(run)["a"], step(run, "a").attempts, len(world.checks)) == ("fail", 1, 1)


def test_it_doubles_the_pause_and_keeps_no_secret(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    secret = "sesame-open-the-door"
    form = {"url": "https://status.example.com"}
    actor = make_actor(team)
    headers = {"headers": {"Authorization": f"Bearer {secret}"}}
    row = connections.save(team, slug="s", connector="http_json", config=form, secrets=headers, actor=actor)
    connections.opened(row)
    hidden = base64.b64encode(secret.encode()).decode()
    error = CheckError("timeout", f"No answer to {secret}, in base64 {hidden}.")
    world.checks = [error, error, 1.0]
    run = asking(team, incident)
    pauses = []
    for _ in range(3):
        pump()
        due = step(run, "a").due_at
        if due is not None:
            pauses.append((due - clock.now()).total_seconds())
            moved_clock.forward(seconds=5)
    assert (step(run, "a").verdict, step(run, "a").attempts) == ("pass", 3)
    assert 1.6 <= pauses[0] <= 2.4
    assert 3.2 <= pauses[1] <= 4.8
    tables = (StepRun, Attempt, RunEvent, Evidence, TimelineEntry, Message, Alert, Delivery, Effect)
    for table in tables:
        dump = serializers.serialize("json", table._default_manager.all())
        assert secret not in dump
        assert hidden.rstrip("=") not in dump


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


@pytest.mark.parametrize(("attempts", "expected", "tries"), [(2, "pass", ["lost", "done"]), (1, "error", ["lost"])])
def test_it_is_taken_over_after_a_kill_until_its_attempts_are_used_up(
    team: Team, world: World, moved_clock: Any, attempts: int, expected: str, tries: list[str]
) -> None:
    world.checks = [Killed()]
    run = asking(team, rules=f"fail_if: value > 5\n      attempts: {attempts}")
    with contextlib.suppress(Killed):
        execution.execute(step(run, "a").pk, "dies")
    moved_clock.forward(seconds=59)
    pump()
    assert step(run, "a").state == "leased"
    moved_clock.forward(seconds=2)
    pump()
    assert step(run, "a").verdict == expected
    assert (step(run, "a").reason == "worker_lost") is (expected == "error")
    assert list(Attempt.objects.order_by("fence").values_list("outcome", flat=True)) == tries


def test_it_keeps_a_late_result_as_evidence_only(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = asking(team, incident)
    claimed = execution.claim(step(run, "a").pk, "zombie")
    assert claimed is not None
    moved_clock.forward(seconds=61)
    pump()
    assert states(run)["a"] == "pass"
    world.checks = [9.0]
    execution._check(*claimed)
    assert states(run)["a"] == "pass"
    late = Attempt.objects.filter(outcome="late").values("evidence_id")
    assert Evidence.objects.get(pk__in=late).verdict == "fail"


def test_it_is_done_once_however_often_it_is_delivered(team: Team, world: World) -> None:
    run = asking(team)
    for worker in ("a", "b", "c", "a", "b"):
        execution.execute(step(run, "a").pk, worker)
    assert Attempt.objects.count() == 1


def test_it_asks_the_check_with_the_looks_that_the_step_names(team: Team, world: World) -> None:
    run = asking(team, rules="fail_if: value > 5\n      looks: 24")
    definition = reading.step_of(run, step(run, "a"))
    assert execution.context_of(run, step(run, "a"), definition).looks == 24


def test_it_is_found_by_the_ticker_when_its_message_is_lost(team: Team, world: World) -> None:
    run = asking(team)
    # No broker at all: the runner thread of any worker takes what has waited for five seconds.
    assert ticker.run_pending("w", ("checks",), older_than=5) == 0
    StepRun.objects.update(ready_at=clock.now() - timedelta(seconds=6))
    assert ticker.run_pending("w", ("checks",), older_than=5) == 1
    assert states(run)["a"] == "pass"
