"""Cases 18, 19, 20 and the watch of 21: windows of samples on a fixed grid, gaps, and an engine that was down."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from catalog.models import Team
from incidents.models import Evidence, Incident, TimelineEntry
from runbooks.models import Sample
from tests.factories_runbooks import states, step
from tests.fakes.world import World
from tests.runbooks.test_watch import BAD, HOUR, NOTHING, come, letters, watch, work

pytestmark = pytest.mark.django_db


def test_case_18_watch_passes(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    """Sample 24 is due at t0 + 24 h sharp although each takes 3 min; both fails are pinned, no pass is."""
    opened = moved_clock.time

    def slow(moment: datetime) -> float:
        moved_clock.forward(minutes=3)
        return BAD if (moment - opened) // HOUR in (4, 10) else 1.0

    world.finds = slow
    run = watch(team, incident, "max_fails: 2, fail_streak: 2")
    come(run, moved_clock, 24)
    assert letters(run) == "pppfpppppf" + 14 * "p"
    last = Sample.objects.get(k=24)
    assert (last.due_at, last.taken_at) == (opened + 24 * HOUR, opened + 24 * HOUR + timedelta(minutes=3))
    run.refresh_from_db()
    assert (states(run)["holds"], run.outcome) == ("pass", "resolved")
    told = TimelineEntry.objects.filter(kind="check").order_by("seq")
    assert [(entry.data.get("sample"), entry.pinned) for entry in told] == [("4", True), ("10", True), (None, False)]
    assert "sample 4 of 24) Problem found: The value is 9.0." in told[0].text
    assert "22 of 24 samples passed, 2 found the problem (at most 2 may)." in told[2].text
    first = Evidence.objects.filter(kind="sample", verdict="fail").earliest("number")
    assert told[0].evidence == [first.number]


def test_case_19_streak_across_a_gap(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    """Pass, pass, pass, fail, inconclusive, fail: fail at k=6; the watch beside it has no verdict."""
    beside = """
    - id: also
      check: world.past
      pass_if: value < 5
      watch: {every: 150m, for: 24h}
"""
    run = watch(team, incident, "max_fails: 2, fail_streak: 2", beside=beside)
    for answer in [1.0, 1.0, 1.0, BAD, NOTHING, BAD]:
        also, holds = step(run, "also").due_at, step(run, "holds").due_at
        assert also is not None
        assert holds is not None
        if also < holds:
            moved_clock.time = also
            work()
        world.checks = [answer]
        come(run, moved_clock)
    assert letters(run, "also") == "pp", "they ran side by side"
    run.refresh_from_db()
    assert (letters(run), states(run)) == ("pppfif", {"holds": "fail", "also": "cancelled"})
    assert (step(run, "holds").reason, step(run, "also").verdict) == ("fail_streak", "")
    assert (run.state, run.outcome) == ("finished", "not_resolved")
    assert "2 samples in a row found the problem, up to sample 6 of 24." in step(run, "holds").summary


@pytest.mark.parametrize(
    ("check", "hours", "samples", "verdict"),
    [
        ("world.past", 5.5, "ppp" + 5 * "p" + 16 * "p", "pass"),
        ("world.ask", 5.5, "ppp" + "mmmm" + "p" + 16 * "p", "pass"),
        ("world.ask", 8.5, "ppp" + "mmmmmmm" + "p" + 13 * "p", "inconclusive"),
    ],
)
def test_case_20_engine_down(
    team: Team,
    incident: Incident,
    world: World,
    moved_clock: Any,
    check: str,
    hours: float,
    samples: str,
    verdict: str,
) -> None:
    """Nothing runs from k=3 on: the past is measured at its due times, or missed and told once."""
    run = watch(team, incident, "max_fails: 2", check=check)
    opened = moved_clock.time
    come(run, moved_clock, 3)
    moved_clock.forward(hours=hours)
    work()
    come(run, moved_clock, 24)
    assert (letters(run), states(run)["holds"]) == (samples, verdict)
    looked = [context.moment - opened for context in world.asked]
    if check == "world.past":
        assert looked == [k * HOUR for k in range(1, 25)]
    else:
        assert looked[3] == 3 * HOUR + timedelta(hours=hours), "the newest is measured as things are now"
        missed = TimelineEntry.objects.get(data__verdict="missed")
        assert f"(sample 4 to {3 + samples.count('m')} of 24) Missed" in missed.text


def test_case_21_samples_that_cannot_tell(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    """Case 21: 24 inconclusive samples are unverified, never resolved; they are told once."""
    world.finds = lambda moment: NOTHING
    run = watch(team, incident)
    come(run, moved_clock, 24)
    run.refresh_from_db()
    assert (letters(run), states(run)["holds"], run.outcome) == (24 * "i", "inconclusive", "unverified")
    assert TimelineEntry.objects.filter(kind="check", data__sample="1").count() == 1
    assert TimelineEntry.objects.filter(kind="check").count() == 2
