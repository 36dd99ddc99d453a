"""Cases 3, 4, 5, 17: no data, guards, retries and redaction, clocks that differ."""

from __future__ import annotations

import base64
import math
from datetime import timedelta
from typing import Any

import pytest
from django.core import serializers

from catalog import connections
from catalog.models import Team
from common import clock
from incidents.models import Alert, Delivery, Evidence, Incident, Message, TimelineEntry
from runbooks import execution
from runbooks.checks.base import CheckError, Finding
from runbooks.models import Attempt, Effect, Run, RunEvent, StepRun
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


@pytest.mark.parametrize("nothing", [math.nan, None, [], math.inf])
@pytest.mark.parametrize("no_data", ["inconclusive", "pass", "fail", "error"])
def test_case_03_no_data(team: Team, world: World, nothing: Any, no_data: str) -> None:
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
        ("high", 400, 0, 0.9, ("error", "expression")),
    ],
)
def test_case_04_guards_and_both_conditions(
    team: Team, world: World, value: Any, samples: int | None, age: int, fail: float, expected: tuple[str, str]
) -> None:
    seen = clock.now() - timedelta(seconds=age)
    world.checks = [Finding(value, "x", samples=samples, observed_at=seen)]
    run = asking(team, rules=GUARDED.format(fail=fail))
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason) == expected


def test_case_05_retry_only_errors(team: Team, world: World) -> None:
    world.checks = [9.0, 1.0]
    run = asking(team)
    pump()
    assert (states(run)["a"], step(run, "a").attempts, len(world.checks)) == ("fail", 1, 1)


def test_case_05_pauses_and_redaction(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
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
    told = RunEvent.objects.filter(run=run, step="a").order_by("seq").values_list("transition", flat=True)
    assert list(told) == ["S3", "S8", "S10", "S11", "S8", "S10", "S11", "S8", "S9"]
    tables = (StepRun, Attempt, RunEvent, Evidence, TimelineEntry, Message, Alert, Delivery, Effect)
    for table in tables:
        dump = serializers.serialize("json", table._default_manager.all())
        assert secret not in dump
        assert hidden.rstrip("=") not in dump


@pytest.mark.parametrize("skew", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_case_17_clock_of_a_worker(
    team: Team, world: World, moved_clock: Any, monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    """The machine's clock is 10 minutes off; leases, timers and ages are those of the database."""
    import time

    truth = time.time
    monkeypatch.setattr(time, "time", lambda: truth() + skew.total_seconds())
    world.checks = [CheckError("timeout", "No answer."), Finding(1.0, "x", observed_at=clock.now())]
    run = asking(team, rules="fail_if: value > 5\n      max_age: 1m")
    claimed = execution.claim(step(run, "a").pk, "skewed")
    assert claimed is not None
    assert step(run, "a").lease_until == moved_clock.time + timedelta(seconds=60)
    execution._check(*claimed)
    due = step(run, "a").due_at
    assert due is not None
    assert moved_clock.time < due <= moved_clock.time + timedelta(seconds=3)
    moved_clock.forward(seconds=4)
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason) == ("pass", "")


def test_case_17_observation_ahead_of_us(team: Team, world: World) -> None:
    ahead = clock.now() + timedelta(minutes=3)
    world.checks = [Finding(0.95, "x", samples=400, observed_at=ahead)]
    run = asking(team, rules="pass_if: age == 0\n      max_age: 10m")
    pump()
    assert (step(run, "a").verdict, step(run, "a").reason) == ("pass", "")
    # Nothing is lost by it, and the evidence says by how many seconds the other clock is ahead.
    assert Evidence.objects.get(kind="check").result["clock_skew"] in (179, 180)
