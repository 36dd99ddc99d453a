"""Watching the engine: teams are told that nothing runs although nothing runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from catalog.models import Team
from common import clock
from incidents import notices
from incidents.models import Message
from runbooks.models import Worker
from tests.conftest import Clock
from tests.factories import make_team
from tests.factories_intake import make_endpoint, take
from tests.factories_postmortems import make_address
from tests.fakes import web
from web.operate import watch


@pytest.fixture
def sink(team: Team) -> Iterator[web.Web]:
    """Where the team is told."""
    with web.serve(lambda asked: web.Reply()) as running:
        make_address(running.url, team=team)
        yield running


def ticked(name: str = "w", queues: str = "engine") -> None:
    now = clock.now()
    given = {"ticked_at": now, "queues": [queues]}
    Worker.objects.update_or_create(name=name, defaults=given, create_defaults=given | {"started_at": now})


def test_it_is_silent_while_a_worker_ticks(moved_clock: Clock, sink: web.Web) -> None:
    assert watch.look(moved_clock()) == []
    ticked()
    assert watch.look(moved_clock.forward(seconds=59)) == []


def test_it_tells_once_per_standstill_and_carries_the_message_itself(moved_clock: Clock, sink: web.Web) -> None:
    ticked()
    for _ in range(4):
        moved_clock.forward(seconds=75)
        watch.look(moved_clock())
    assert [json.loads(asked.body)["subject"] for asked in sink.asked] == [
        "Backstop: nothing runs, no worker for 75 s · asks: start or restart a worker"
    ]
    ticked()
    watch.look(moved_clock.forward(seconds=61))
    assert len(sink.asked) == 2


def test_it_carries_what_else_waits_while_no_worker_does(moved_clock: Clock, sink: web.Web, team: Team) -> None:
    ticked()
    notices.tell(team=team, kind="opened", key="INC-1", subject="S", body="B", link="/")
    watch.look(moved_clock.forward(seconds=61))
    assert sorted(Message.objects.values_list("kind", "state")) == [("engine_down", "sent"), ("opened", "sent")]


def test_it_tells_of_a_backlog_once_an_hour(moved_clock: Clock, sink: web.Web, team: Team) -> None:
    take(make_endpoint(team), {})
    for _ in range(70):
        moved_clock.forward(minutes=1)
        ticked()
        watch.look(moved_clock() + timedelta(seconds=1))
    subjects = set(Message.objects.values_list("subject", flat=True))
    assert subjects == {"Backstop: deliveries wait over a minute · asks: start or restart a worker"}
    assert Message.objects.count() == 2


def test_it_gives_workers_that_came_back_two_minutes(moved_clock: Clock, sink: web.Web, team: Team) -> None:
    ticked("before")
    take(make_endpoint(team), {})
    moved_clock.forward(hours=2)
    ticked("after")
    assert watch.look(moved_clock()) == []
    moved_clock.forward(seconds=121)
    ticked("after")
    (message,) = watch.look(moved_clock())
    assert message.subject.startswith("Backstop: deliveries wait over a minute")


def test_what_is_late_waits_for_no_reader_where_there_is_none(moved_clock: Clock, sink: web.Web, team: Team) -> None:
    ticked("checks", "checks")
    take(make_endpoint(team), {})
    for name in ("a", "b"):
        notices.tell(team=team, kind="opened", key=name, subject=name, body="B", link="/")
    moved_clock.forward(hours=2)
    ticked("checks", "checks")
    watch.look(moved_clock())
    subjects = [json.loads(asked.body)["subject"] for asked in sink.asked]
    assert subjects[-1] == "Backstop: 2 messages waited up to 2 h"


def test_it_tells_every_team(moved_clock: Clock, sink: web.Web) -> None:
    make_address(sink.url, team=make_team("other"))
    ticked()
    watch.look(moved_clock.forward(minutes=2))
    assert len(sink.asked) == 2
