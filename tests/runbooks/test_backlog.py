"""F28: workers were off for two hours. What waited is told on its incident, and starts nothing by itself."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from incidents import intake
from incidents.models import Delivery, Endpoint, Incident, TimelineEntry
from runbooks import ticker, trigger
from runbooks.models import Run, Runbook, TriggerEvent
from tests.factories import make_actor, make_service
from tests.factories_intake import make_endpoint, take
from tests.factories_runbooks import make_runbook, pump, start, states
from tests.runbooks.test_trigger import FIRING, HEAD, STEPS


@pytest.fixture
def runbook(team: Team) -> Runbook:
    """A runbook that starts on an accuracy drop of the team's service."""
    make_service(team, "rag-chat")
    return make_runbook(team, STEPS, slug="accuracy", head=HEAD)


@pytest.fixture
def endpoint(team: Team) -> Endpoint:
    """Where native alerts come in."""
    return make_endpoint(team, "generic")


def test_it_starts_nothing_for_old_news_and_says_so_once(
    runbook: Runbook, endpoint: Endpoint, moved_clock: Any
) -> None:
    for name in ("a1", "a2"):
        take(endpoint, FIRING | {"dedup_key": name})
    moved_clock.forward(hours=2)
    pump()
    assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
    assert not Run.objects.exists()
    told = TimelineEntry.objects.filter(incident=Incident.objects.get(), text__contains="not started").get()
    assert "read 2 h after it came" in told.text
    assert set(TriggerEvent.objects.values_list("decision", flat=True)) == {"refused"}


def test_what_resolved_meanwhile_is_only_told(runbook: Runbook, endpoint: Endpoint, moved_clock: Any) -> None:
    take(endpoint, FIRING)
    moved_clock.forward(hours=1)
    take(endpoint, FIRING | {"status": "resolved"})
    moved_clock.forward(hours=1)
    pump()
    assert not Run.objects.exists()
    assert Incident.objects.get().timeline.filter(text__startswith="The alert has stopped").exists()


def test_what_waited_for_less_starts_it(runbook: Runbook, endpoint: Endpoint, moved_clock: Any) -> None:
    take(endpoint, FIRING)
    moved_clock.forward(minutes=14)
    pump()
    assert Run.objects.count() == 1


def test_a_person_who_replays_it_wants_it_now(runbook: Runbook, endpoint: Endpoint, moved_clock: Any) -> None:
    delivery, _ = take(endpoint, FIRING)
    Delivery.objects.filter(pk=delivery.pk).update(status="rejected")
    delivery.refresh_from_db()
    moved_clock.forward(hours=2)
    trigger.receive(intake.replay(delivery, actor=make_actor(endpoint.team)).pk)
    assert Run.objects.count() == 1


def test_timers_of_two_hours_ring_once_each(team: Team, moved_clock: Any) -> None:
    runs = make_runbook(team, "  check:\n    - {id: a, wait: 1m}\n    - {id: b, manual: Look.}\n")
    waiting = [start(runs, make_actor(team), team) for _ in range(3)]
    moved_clock.forward(hours=2)
    ticker.tick("w")
    assert [states(run) for run in waiting] == [{"a": "pass", "b": "blocked human"}] * 3
