"""A watch in the engine: samples on a fixed grid, through lost workers, outages, pauses and stops."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Team
from common import clock, outage
from incidents import postmortem_facts
from incidents.models import Evidence, Incident, TimelineEntry
from runbooks import execution, leases, reading, repeating, runs, ticker, watched
from runbooks.checks.base import CheckError, Finding, Pending
from runbooks.definitions import Definition
from runbooks.models import Attempt, Run, RunEvent, Sample, StepRun
from runbooks.steps import CheckStep
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, start, states, step
from tests.fakes.world import Killed, World

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)
BAD, NOTHING, BROKEN = 9.0, Finding(None, "Nothing was there."), CheckError("auth", "The key is wrong.", permanent=True)


def watch(
    team: Team,
    incident: Incident | None = None,
    rules: str = "",
    *,
    check: str = "world.ask",
    every: str = "every: 1h, for: 24h",
    more: str = "pass_if: value < 5",
    beside: str = "",
) -> Run:
    """A run whose first and only phase is a watch (and `beside` it, further steps)."""
    steps = f"""
  verify:
    - id: holds
      name: Does it hold?
      check: {check}
      {more}
      watch: {{{every}{", " if rules else ""}{rules}}}
{beside}"""
    return start(make_runbook(team, steps), make_actor(team), team, incident)


def work(worker: str = "test") -> None:
    """One second of a worker: a tick, then what is ready."""
    ticker.tick(worker)
    for pk in list(StepRun.objects.filter(state="ready").values_list("pk", flat=True)):
        execution.execute(pk, worker)


def come(run: Run, moved_clock: Any, times: int = 1) -> None:
    """Let so many samples come due, one after another, and be taken."""
    for _ in range(times):
        due = step(run, "holds").due_at
        if due is not None:
            moved_clock.time = max(moved_clock.time, due)
            work()


def letters(run: Run, name: str = "holds") -> str:
    """The samples so far: p, f, i, e, m."""
    rows = Sample.objects.filter(step_run=step(run, name)).order_by("k")
    assert [row.k for row in rows] == list(range(1, len(rows) + 1))
    return "".join(row.verdict[0] for row in rows)


def test_it_sleeps_until_its_first_sample(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team)
    opened = moved_clock.time
    assert (step(run, "holds").state, step(run, "holds").due_at) == ("sleeping", opened + HOUR)
    moved_clock.forward(minutes=59)
    work()
    assert letters(run) == ""
    moved_clock.forward(minutes=1)
    work()
    assert (letters(run), step(run, "holds").due_at) == ("p", opened + 2 * HOUR)
    assert list(RunEvent.objects.filter(step="holds").values_list("transition", flat=True)) == [
        "S5",
        "S11",
        "S8",
        "S10",
    ]


@pytest.mark.slow
def test_it_asks_for_at_most_two_hundred_past_times(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team, check="world.past", every="every: 1m, for: 6h", rules="max_inconclusive: 40")
    moved_clock.forward(minutes=240)
    work()
    assert letters(run) == 40 * "m" + 200 * "p"
    assert world.asked[0].moment == Sample.objects.get(k=41).due_at


def test_the_incident_is_locked_first_where_missed_samples_are_told(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    if not connection.features.has_select_for_update:
        pytest.skip("on SQLite the transaction itself is the lock")
    run = watch(team, incident)
    moved_clock.forward(hours=5)
    ticker.tick("test")
    with CaptureQueriesContext(connection) as captured:
        execution.execute(step(run, "holds").pk, "test")
    assert letters(run) == "mmmmp"
    said = [query["sql"] for query in captured.captured_queries]
    told = next(at for at, sql in enumerate(said) if 'INTO "incidents_timelineentry' in sql)
    begun = max(at for at, sql in enumerate(said[:told]) if sql.startswith("SAVEPOINT"))
    locks = [sql.partition("FROM ")[2].split()[0] for sql in said[begun:told] if "FOR UPDATE" in sql]
    assert locks == ['"incidents_incident"', '"runbooks_run"']


def test_it_never_passes_over_a_gap_in_the_data(team: Team, world: World, moved_clock: Any) -> None:
    opened = moved_clock.time
    world.finds = lambda moment: NOTHING if (moment - opened) // HOUR <= 3 else 1.0
    run = watch(team, every="every: 1h, for: 8h")
    come(run, moved_clock, 8)
    assert letters(run) == "iiippppp"
    assert (states(run)["holds"], step(run, "holds").reason) == ("inconclusive", "max_inconclusive")


def restart(number: int) -> str:
    """Everything that a process holds in memory is gone; another one, of another name, begins."""
    reading._book.cache_clear()
    leases._held.clear()
    ticker._done_at.clear()
    return f"worker-{number}"


@pytest.mark.parametrize(
    ("check", "relapse", "samples"),
    [("world.ask", None, 24 * "p"), ("world.ask", 19, 18 * "p" + "f"), ("world.past", 19, 18 * "p" + "f")],
)
def test_it_lasts_a_day_through_ten_restarts(
    team: Team, incident: Incident, world: World, moved_clock: Any, check: str, relapse: int | None, samples: str
) -> None:
    """P8: ten workers die in the middle of a sample; each sample is taken once, and a relapse is seen at once."""
    opened, worker = moved_clock.time, "worker-0"
    world.finds = lambda moment: BAD if relapse and moment >= opened + relapse * HOUR else 1.0
    run = watch(team, incident, check=check)
    for k in range(1, 25):
        moved_clock.time = opened + k * HOUR
        if k % 2 == 0 and k <= 20:
            world.checks = [Killed()]
            with contextlib.suppress(Killed):
                work(worker)
            worker = restart(k)
            moved_clock.forward(seconds=61)
        work(worker)
    run.refresh_from_db()
    assert letters(run) == samples
    assert [row.due_at for row in Sample.objects.order_by("k")] == [
        opened + k * HOUR for k in range(1, len(samples) + 1)
    ]
    assert run.outcome == ("not_resolved" if relapse else "resolved")
    assert Attempt.objects.filter(outcome="lost").count() == (9 if relapse else 10)
    ended = run.ended_at
    assert ended is not None
    assert ended - opened <= (relapse or 24) * HOUR + timedelta(minutes=2)


def test_it_catches_up_with_a_backlog_after_each_of_ten_restarts(team: Team, world: World, moved_clock: Any) -> None:
    """A worker dies in its second sample and nobody comes for two hours: that one is an error, none is missed."""
    opened = moved_clock.time
    run = watch(team, rules="max_inconclusive: 10", check="world.past")
    for number in range(1, 11):
        moved_clock.time = opened + 2 * number * HOUR
        world.checks = [1.0, Killed()]
        with contextlib.suppress(Killed):
            work(restart(number))
    moved_clock.forward(hours=4)
    work()
    assert (letters(run), states(run)["holds"]) == (10 * "pe" + "pppp", "pass")
    assert [context.moment - opened for context in world.asked] == [k * HOUR for k in range(1, 25)]


def test_it_tries_a_sample_again_only_before_the_next_is_due(team: Team, world: World, moved_clock: Any) -> None:
    world.checks = [CheckError("timeout", "Slow."), 1.0, CheckError("timeout", "Slow.", retry_after=300), 1.0]
    run = watch(team, every="every: 1m, for: 4m", more="pass_if: value < 5\n      attempts: 3")
    come(run, moved_clock, 3)
    assert letters(run) == "pe"
    assert (Sample.objects.get(k=2).reason, step(run, "holds").attempts) == ("timeout", 0)
    come(run, moved_clock, 2)
    assert (letters(run), states(run)["holds"]) == ("pepp", "pass")


def test_it_counts_what_took_too_long_as_an_error(team: Team, world: World, moved_clock: Any) -> None:
    def slow() -> float:
        moved_clock.forward(seconds=61)
        return 1.0

    world.checks = [slow]
    run = watch(team, every="every: 1m, for: 4m", more="pass_if: value < 5\n      timeout: 10m")
    come(run, moved_clock, 4)
    assert letters(run)[0] == "e"
    assert (Sample.objects.get(k=1).reason, Evidence.objects.get(verdict="error").kind) == ("overrun", "sample")
    assert world.asked[0].deadline - world.asked[0].now == timedelta(minutes=1), "the check is told how long it has"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("found", [1.0, CheckError("auth", "The key is wrong.", permanent=True)])
def test_it_stores_a_sample_once_when_the_database_goes_away_over_it(
    team: Team, world: World, moved_clock: Any, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """Case 16 for a sample: its transaction fails at the last statement, and is done again as if it had never begun."""
    away = [False]

    def measured() -> Any:
        away[0] = True
        if isinstance(found, Exception):
            raise found
        return found

    def fails_once(execute: Any, sql: str, *rest: Any) -> Any:
        if away[0] and "INSERT" in sql and "runbooks_runevent" in sql:
            away[0] = False
            raise OperationalError("the server closed the connection unexpectedly")
        return execute(sql, *rest)

    monkeypatch.setattr(outage, "pause", lambda seconds: None)
    run = watch(team)
    world.checks = [1.0, measured]
    come(run, moved_clock)
    with connection.execute_wrapper(fails_once):
        come(run, moved_clock)
    assert (letters(run), step(run, "holds").state) == ("pp" if found == 1.0 else "pe", "sleeping")
    assert step(run, "holds").due_at == Sample.objects.get(k=2).due_at + HOUR
    if found != 1.0:
        assert Evidence.objects.get(verdict="error").rule == "after 1 attempts"


@pytest.mark.parametrize(("attempts", "expected"), [(2, "p"), (1, "e")])
def test_a_lost_sample_is_an_error_sample_and_no_settled_step(
    team: Team, world: World, moved_clock: Any, attempts: int, expected: str
) -> None:
    run = watch(team, more=f"pass_if: value < 5\n      attempts: {attempts}")
    world.checks = [Killed()]
    moved_clock.forward(hours=1)
    with contextlib.suppress(Killed):
        work("dies")
    moved_clock.forward(seconds=61)
    work()
    assert (letters(run), step(run, "holds").state) == (expected, "sleeping")


def test_a_sample_that_nobody_resumed_in_time_is_an_error(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team, every="every: 2m, for: 20m")
    world.checks = [Killed()]
    moved_clock.forward(minutes=2)
    with contextlib.suppress(Killed):
        work("dies")
    moved_clock.forward(seconds=61)
    ticker.tick("lives")
    assert (step(run, "holds").state, letters(run)) == ("ready", "")
    moved_clock.forward(seconds=59)
    work()
    assert (letters(run), step(run, "holds").state) == ("e", "ready")
    work()
    assert letters(run) == "ep"
    assert Sample.objects.get(k=1).reason == "overrun"


def test_it_asks_a_person_once_it_cannot_be_measured_any_more(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.finds = lambda moment: (_ for _ in ()).throw(BROKEN)
    run = watch(team, incident, every="every: 1h, for: 6h")
    come(run, moved_clock, 6)
    assert (letters(run), states(run)["holds"]) == ("eeeee", "blocked ask")
    assert (step(run, "holds").proposed_verdict, step(run, "holds").reason) == ("error", "error_streak")
    world.finds = lambda moment: 1.0
    runs.answer(step(run, "holds"), actor=make_actor(team), decision="again")
    assert (letters(run), step(run, "holds").due_at) == ("", moved_clock.time + HOUR)
    come(run, moved_clock, 6)
    assert letters(run) == "pppppp"
    assert Evidence.objects.filter(kind="sample").count() == 11, "what the first round found is kept"


def test_it_can_run_again_while_its_phase_is_at_work(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team, every="every: 1h, for: 2h", beside="    - {id: look, manual: Is it so?}\n")
    come(run, moved_clock, 2)
    assert states(run) == {"holds": "pass", "look": "blocked human"}
    repeating.rerun(step(run, "holds"), actor=make_actor(team))
    assert (letters(run), step(run, "holds").state) == ("", "sleeping")


def test_it_waits_for_a_provider_that_is_not_done(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team, every="every: 1m, for: 3m")
    world.checks = [Pending(5, "half done"), 1.0, Pending(5, "half done"), Pending(90, "half done")]
    come(run, moved_clock)
    assert (step(run, "holds").state, step(run, "holds").pending_note, letters(run)) == ("sleeping", "half done", "")
    come(run, moved_clock, 3)
    assert letters(run) == "pe"
    keys = [context.step_key.rsplit(".", 1)[1] for context in world.asked]
    assert keys == ["1", "1", "2", "2"], "each sample starts a job of its own"


def test_it_takes_nothing_while_the_run_is_paused(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team)
    come(run, moved_clock, 2)
    runs.pause(run, actor=make_actor(team))
    moved_clock.forward(hours=3)
    work()
    assert letters(run) == "pp"
    runs.resume(run, actor=make_actor(team))
    work()
    assert letters(run) == "ppmmp"


def test_a_cancelled_watch_has_no_verdict(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team)
    come(run, moved_clock, 3)
    moved_clock.time = step(run, "holds").due_at
    ticker.tick("w")
    claimed = execution.claim(step(run, "holds").pk, "w")
    assert claimed is not None
    runs.cancel(run, actor=make_actor(team))
    execution._check(*claimed)
    row = step(run, "holds")
    assert (row.state, row.verdict, letters(run)) == ("cancelled", "", "ppp")
    assert Attempt.objects.filter(outcome="late").count() == 1
    work()
    assert letters(run) == "ppp"


def test_it_takes_a_sample_once_however_the_clock_steps(team: Team, world: World, moved_clock: Any) -> None:
    """Case 17, F22: an hour back takes nothing twice and nothing early; the grid stays where it is."""
    run = watch(team)
    opened = moved_clock.time
    come(run, moved_clock, 3)
    moved_clock.forward(hours=-1)
    work()
    assert letters(run) == "ppp"
    assert step(run, "holds").due_at == opened + 4 * HOUR
    moved_clock.forward(hours=2)
    work()
    assert letters(run) == "pppp"


def test_it_judges_a_sample_as_any_check_with_its_number_and_age(team: Team, world: World, moved_clock: Any) -> None:
    """The guards come first, age counts from the time that is looked at, and `sample` is a name."""
    more = "pass_if: value < sample.k or sample.n != 4\n      min_samples: 10\n      max_age: 10m"
    run = watch(team, every="every: 1h, for: 4h", check="world.past", rules="max_fails: 4", more=more)
    opened = moved_clock.time
    seen = [opened + k * HOUR - timedelta(minutes=5) for k in range(1, 5)]
    world.checks = [
        Finding(2.0, "x", samples=10, observed_at=seen[0]),
        Finding(1.0, "x", samples=10, observed_at=seen[1]),
        Finding(1.0, "x", samples=9, observed_at=seen[2]),
        Finding(1.0, "x", samples=10, observed_at=seen[2]),
    ]
    moved_clock.forward(hours=5)
    work()
    assert letters(run) == "fpii"
    assert [row.reason for row in Sample.objects.order_by("k")] == ["", "", "too_few_samples", "stale"]


def test_a_plan_looks_once_and_at_once(team: Team, world: World, moved_clock: Any) -> None:
    steps = """
  check:
    - {id: go, manual: Go.}
  verify:
    - id: holds
      check: world.ask
      pass_if: value < 5 and sample.n == 24
      watch: {every: 1h, for: 24h}
"""
    runbook = make_runbook(team, steps)
    run = start(runbook, make_actor(team), team)
    Run.objects.update(is_plan=True)
    runs.answer(step(run, "go"), actor=make_actor(team), decision="done")
    work()
    assert (states(run)["holds"], letters(run), len(world.asked)) == ("pass", "", 1)


def test_it_shares_the_error_probability_over_its_looks(team: Team, world: World, moved_clock: Any) -> None:
    run = watch(team)
    come(run, moved_clock)
    assert world.asked[0].looks == 24
    assert reading.step_of(run, step(run, "holds")).looks == 24


def test_it_keeps_all_samples_in_one_piece_of_evidence(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.checks = [1.0, BAD, NOTHING, 2.0]
    run = watch(team, incident, "max_fails: 1", every="every: 1h, for: 4h")
    opened = moved_clock.time
    come(run, moved_clock, 4)
    row = Evidence.objects.get(kind="check")
    assert (row.verdict, row.samples, row.value) == ("pass", 4, 2.0)
    assert (row.window_from, row.window_to) == (opened, opened + 4 * HOUR)
    assert row.result["series"]["value"][1] == [(opened + 2 * HOUR).timestamp(), 9.0]
    assert row.result["limits"] == [[5.0, "pass < 5"]]
    assert row.result["faults"] == [(opened + 2 * HOUR).timestamp()]
    told = [line["came to"] for line in row.result["table"]]
    assert told == ["Ruled out", "Problem found", "Can't tell", "Ruled out"]
    cited = postmortem_facts.gather(incident).evidence.values()
    assert [(found.kind, found.verdict) for found in cited] == [
        ("sample", "fail"),
        ("sample", "inconclusive"),
        ("check", "pass"),
    ]
    assert step(run, "holds").result == {
        "samples": {"pass": 2, "fail": 1, "inconclusive": 1, "error": 0, "missed": 0},
        "of": 4,
    }


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ({"pass_if": "value >= inputs.floor", "fail_if": "value < inputs.floor"}, [(0.92, "pass ≥ 0.92")]),
        ({"pass_if": "0 < value < 5"}, [(0, "pass > 0"), (5, "pass < 5")]),
        ({"pass_if": "value == 'ok'"}, [(-0.02, "limit -0.02")]),
        ({"pass_if": "value < sample.k"}, [(-0.02, "limit -0.02")]),
        ({}, [(-0.02, "limit -0.02")]),
    ],
)
def test_it_draws_its_values_beside_what_its_rules_or_its_check_say(
    rules: dict[str, str], found: list[tuple[float, str]]
) -> None:
    definition = Definition(CheckStep.model_validate({"id": "x", "check": "metric.compare"} | rules), "verify")
    assert watched.limits(definition, {"inputs": {"floor": 0.92}}, {"value": 0.02, "line": -0.02}) == found


@pytest.mark.parametrize(("pin", "pinned"), [("never", [False, False]), ("on_problem", [True, True])])
def test_it_pins_what_its_step_says(
    team: Team, incident: Incident, world: World, moved_clock: Any, pin: str, pinned: list[bool]
) -> None:
    world.finds = lambda moment: BAD
    run = watch(team, incident, more=f"pass_if: value < 5\n      pin: {pin}")
    come(run, moved_clock)
    entries = TimelineEntry.objects.filter(kind="check").order_by("seq")
    assert ([entry.pinned for entry in entries], states(run)["holds"]) == (pinned, "fail")
    assert clock.now() == moved_clock.time
