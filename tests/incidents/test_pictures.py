"""When pictures are taken: around open incidents, on demand, never twice at once, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalog.models import Picture, Service
from incidents import pictures
from incidents.models import Incident
from tests.conftest import Clock
from tests.factories import make_incident, make_service, make_signal
from tests.factories_checks import NOW, make_measured
from tests.fakes.prometheus import fake_prometheus

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> Iterator[Service]:
    """A measured service whose accuracy is always 0.9."""
    with fake_prometheus() as fake:
        fake.answers.number("q", 0.9)
        yield make_measured(fake.url)


def open_incident(service: Service, **fields: Any) -> Incident:
    times: dict[str, Any] = {"started_at": NOW - timedelta(minutes=30), "detected_at": NOW}
    return make_incident(service=service, **times | fields)


def test_it_begins_an_hour_before_the_onset(service: Service, moved_clock: Clock) -> None:
    moved_clock.time = NOW
    incident = open_incident(service, onset_at=NOW - timedelta(minutes=40))
    pictures.take_of_incident(incident.pk)
    (picture,) = pictures.of_incident(incident)
    assert (picture.key, picture.end_at) == (incident.key, NOW)
    assert picture.start_at == NOW - timedelta(minutes=100)


def test_readers_are_told_once(service: Service, moved_clock: Clock) -> None:
    moved_clock.time = NOW
    incident = open_incident(service)
    pictures.take_of_incident(incident.pk)
    pictures.take_of_incident(incident.pk)
    incident.refresh_from_db()
    assert incident.version == 1


def test_the_picture_ends_half_an_hour_after_the_end_and_stays(service: Service, moved_clock: Clock) -> None:
    incident = open_incident(service, state="resolved", resolved_at=NOW)
    moved_clock.time = NOW + timedelta(hours=5)
    pictures.take_of_incident(incident.pk)
    (picture,) = pictures.of_incident(incident)
    assert picture.end_at == NOW + timedelta(minutes=30)
    assert not pictures.is_due(incident, NOW + timedelta(days=3))


def test_other_incidents_are_no_example_of_what_is_usual(service: Service) -> None:
    before = NOW - timedelta(days=2)
    open_incident(service, started_at=before, resolved_at=before + timedelta(hours=1), state="resolved")
    open_incident(service, started_at=before, is_drill=True, group_key="drill")
    window = pictures.window_of(open_incident(service), NOW)
    assert list(window.unusual) == [(before, before + timedelta(hours=1))]


def test_the_clock_asks_for_open_incidents_only(service: Service) -> None:
    open_incident(service)
    open_incident(service, state="closed", resolved_at=NOW - timedelta(days=2), closed_at=NOW, group_key="b")
    open_incident(make_service(service.team, slug="unmeasured"), group_key="c")
    make_incident(team=service.team)
    assert pictures.ask_for_open(NOW) == 1


def test_fresh_ones_are_not_asked_for_again(service: Service, moved_clock: Clock) -> None:
    moved_clock.time = NOW
    incident = open_incident(service)
    assert pictures.ask_for_incident(incident, NOW)
    pictures.take_of_incident(incident.pk)
    assert not pictures.ask_for_incident(incident, NOW + timedelta(seconds=20))
    assert pictures.ask_for_incident(incident, NOW + timedelta(seconds=60))


def test_a_new_signal_is_due_at_once(service: Service, moved_clock: Clock) -> None:
    moved_clock.time = NOW
    pictures.take_of_service(service.pk)
    assert not pictures.ask_for_service(service, NOW)
    make_signal(service, "latency", "q")
    assert pictures.ask_for_service(service, NOW)


def test_the_services_own_picture_shows_its_last_hours(service: Service, moved_clock: Clock) -> None:
    moved_clock.time = NOW
    version = service.team.version
    pictures.take_of_service(service.pk)
    picture = Picture.objects.get(service=service, key="")
    assert (picture.start_at, picture.end_at, set(picture.values)) == (NOW - timedelta(hours=3), NOW, {0.9})
    service.team.refresh_from_db()
    assert service.team.version >= version


def test_what_is_gone_is_left_alone() -> None:
    pictures.take_of_incident(0)
    pictures.take_of_service(0)
    assert not Picture.objects.exists()
