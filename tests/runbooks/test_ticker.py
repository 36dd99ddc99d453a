"""One row's failure stops neither the other rows nor the other categories (engine.md §3.8)."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from incidents.models import Message
from runbooks import rounds, ticker
from runbooks.models import Run, StepRun
from tests.factories import make_actor
from tests.factories_postmortems import make_address
from tests.factories_runbooks import make_runbook, start, states
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
WAITING = "  check:\n    - {id: a, wait: 1m}\n"
ASKING = "  check:\n    - {id: a, check: world.ask, pass_if: value > 0}\n"


def two(team: Team, steps: str) -> tuple[Run, Run]:
    """Two runs; nothing can be written about the first any more, for its next event has a number that is taken."""
    broken, sound = (start(make_runbook(team, steps), make_actor(team), team) for _ in range(2))
    Run.objects.filter(pk=broken.pk).update(seq=0)
    return broken, sound


def test_a_row_that_the_database_refuses_stops_no_other(team: Team, world: World, moved_clock: Any) -> None:
    broken, sound = two(team, WAITING)
    late = start(make_runbook(team, ASKING), make_actor(team), team)
    moved_clock.forward(minutes=2)
    Run.objects.filter(pk=late.pk).update(deadline_at=late.created_at)
    ticker.tick("w")
    late.refresh_from_db()
    assert (states(broken), states(sound)) == ({"a": "sleeping"}, {"a": "pass"})
    assert late.state == "expired", "a later category had its turn"


def test_a_wedged_run_that_cannot_be_moved_stops_no_other_and_is_told(
    team: Team, world: World, moved_clock: Any
) -> None:
    make_address("http://127.0.0.1:9/", team=team)
    broken, sound = two(team, ASKING)
    StepRun.objects.update(state="pending")
    assert ticker.wedged() == [broken.pk, sound.pk]
    moved_clock.forward(minutes=1)
    ticker.tick("w")
    assert ticker.wedged() == [broken.pk]
    assert states(sound) == {"a": "ready"}
    assert [message.kind for message in Message.objects.all()] == ["engine_down"]


def test_every_run_is_looked_at_a_window_in_each_tick(
    team: Team, world: World, moved_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "audited", rounds.Round())
    monkeypatch.setattr(rounds, "WINDOW", 2)
    lost = [start(make_runbook(team, ASKING), make_actor(team), team) for _ in range(5)]
    # Several of one storm have the same deadline.
    Run.objects.filter(pk__in=[run.pk for run in lost[1:4]]).update(deadline_at=lost[1].deadline_at)
    StepRun.objects.update(state="pending")
    left = []
    for _ in range(3):
        ticker._audit(moved_clock.time)
        left.append(len(ticker.wedged()))
    assert left == [3, 1, 0]
    assert not ticker.audited.is_under_way
