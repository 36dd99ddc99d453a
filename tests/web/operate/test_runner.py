"""The runner's sign of life to the outside: it stops when the engine does not do its work, not only when it is dead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from catalog.models import Team
from tests.conftest import Clock
from tests.factories_evaluations import make_job
from tests.factories_intake import make_endpoint, take
from tests.fakes import web
from web.operate import runner


@pytest.fixture
def monitor(settings: Any) -> Iterator[web.Web]:
    """An outside monitor, named in the settings."""
    with web.serve(lambda asked: web.Reply(b"ok")) as made:
        settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"dead_man_url": f"{made.url}/ping/abc"})
        yield made


def make_runner() -> runner.Runner:
    """Not started: the tests tick."""
    return runner.Runner(queues=["engine"], name="test")


def test_it_calls_once_a_minute_while_all_is_well(team: Team, monitor: web.Web) -> None:
    own = make_runner()
    own.tick()
    own.tick()
    assert [asked.path for asked in monitor.asked] == ["/ping/abc"]


def test_it_is_silent_while_an_alert_waits(
    team: Team, monitor: web.Web, moved_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    take(make_endpoint(team), {})
    moved_clock.forward(seconds=61)
    make_runner().tick()
    assert monitor.asked == []
    assert "deliveries wait over a minute" in caplog.text


def test_a_monitor_that_is_away_stops_no_tick(team: Team, settings: Any) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"dead_man_url": web.unused_url()})
    own = make_runner()
    own.tick()
    assert own.last_ok is not None


def test_no_delivery_waits_for_an_evaluation(team: Team, moved_clock: Clock) -> None:
    own = runner.Runner(queues=["engine", "checks"], name="test")
    with web.serve(lambda _: web.Reply(b'{"answer": 1}')) as model:
        evaluation = make_job(team, model.url)
        delivery, _ = take(make_endpoint(team), {})
        moved_clock.forward(seconds=6)
        own.take_over()
        delivery.refresh_from_db()
        assert (delivery.status != "received", model.asked) == (True, [])
        own.evaluate()
    evaluation.refresh_from_db()
    assert evaluation.state == "done"
