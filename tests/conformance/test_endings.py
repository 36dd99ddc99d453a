"""Cases 6, 9, 19, 24: what is looked at again before a send, taken back after it, and said at the end."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from common.errors import Conflict
from incidents.models import Incident, TimelineEntry
from runbooks import runs
from runbooks.actions.base import Refused
from runbooks.models import Attempt, Effect, Lock, RunEvent
from tests.factories import make_actor
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.world import World
from tests.runbooks.test_endings import TWO, changed, sent
from tests.runbooks.test_rechecking import asking, entries, parked

pytestmark = pytest.mark.django_db


def test_case_06_finally_runs_once(team: Team, incident: Incident, world: World) -> None:
    world.actions = [None, Refused("No.")]
    run = changed(team, incident)
    pump()
    run.refresh_from_db()
    assert (run.state, run.outcome, run.stop_reason) == ("finished", "aborted", "step second: refused")
    assert states(run)["look"] == "cancelled"
    assert sent() == ["first", "undo-first", "tell"]
    stop = RunEvent.objects.get(run=run, transition="R4")
    settled = RunEvent.objects.get(run=run, step="second", transition="S9")
    assert (stop.seq, stop.at) == (settled.seq + 1, settled.at)


def test_case_09_stale_evidence(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    run = asking(team, incident, world, 1.0)
    moved_clock.forward(minutes=15)
    approve(run, "act", make_actor(team))
    pump()
    assert (world.calls, Effect.objects.count()) == ([], 0)
    assert parked(run) == ("ask", "inconclusive", "stale_evidence")
    assert not Lock.objects.exists()
    told = entries(incident, "Problem found before, Ruled out now")
    assert told[0].pinned
    assert "Nothing was sent" in step(run, "act").summary
    assert list(Attempt.objects.filter(step_run__step="act").values_list("outcome", flat=True)) == ["done", "done"]


def test_case_19_the_last_is_taken_back_first(team: Team, incident: Incident, world: World) -> None:
    world.checks = [0.0]
    run = changed(team, incident)
    pump()
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "not_resolved")
    assert sent() == ["first", "second", "undo-second", "undo-first", "tell"]
    assert Effect.objects.get(step_run__step="undo-first").params == {"to": "pass"}
    assert Effect.objects.get(step_run__step="tell").params == {"to": "not_resolved"}
    assert len(set(world.calls)) == 5
    told = TimelineEntry.objects.filter(incident=incident, kind="effect").order_by("seq")
    assert [entry.data["step"] for entry in told] == ["first", "second", "undo-second", "undo-first"]


def test_case_24_all_is_taken_back_and_said(team: Team, incident: Incident, world: World) -> None:
    text = TWO.format(auto="true").replace(
        "check: world.ask, pass_if: value > 0, on_verdict: {fail: continue}", "manual: Look."
    )
    run = start(make_runbook(team, text), make_actor(team), team, incident)
    pump()
    assert step(run, "look").blocked_on == "human"
    runs.cancel(run, actor=make_actor(team))
    with pytest.raises(Conflict):
        runs.cancel(run, actor=make_actor(team))
    pump()
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("cancelled", "")
    assert sent() == ["first", "second", "undo-second", "undo-first", "tell"]
    assert Effect.objects.get(step_run__step="tell").params == {"to": "cancelled"}
