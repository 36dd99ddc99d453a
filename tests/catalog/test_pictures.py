"""Pictures of signals: what came is kept as it came, and each way of having no number is told apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from catalog import bands, pictures
from catalog.models import Picture, Service
from catalog.pictures import Window
from tests.factories import make_connection, make_signal
from tests.factories_checks import NOW, make_measured
from tests.fakes.prometheus import Fake, fake_prometheus
from tests.fakes.web import unused_url

pytestmark = pytest.mark.django_db
HOUR = Window("", NOW - timedelta(hours=1), NOW)
DAY = 86400.0


@pytest.fixture
def prometheus() -> Iterator[Fake]:
    """A fake Prometheus."""
    with fake_prometheus() as fake:
        yield fake


def taken(service: Service, window: Window = HOUR, now: datetime = NOW) -> Picture:
    """The service's one picture, taken now."""
    (picture,) = pictures.take(service, window, now=now)
    return Picture.objects.get(pk=picture.pk)


def test_it_keeps_what_the_source_said(prometheus: Fake) -> None:
    prometheus.answers.number("q", 0.25)
    picture = taken(make_measured(prometheus.url, unit="ratio", worse="down"))
    assert (picture.state, picture.fault, picture.read_at) == ("ok", "", NOW)
    assert (picture.start_at, picture.end_at, picture.step_seconds) == (NOW - timedelta(hours=1), NOW, 15)
    assert picture.values == [0.25] * 241
    assert (picture.name, picture.unit, picture.worse, picture.source) == ("accuracy", "ratio", "down", "prometheus")
    assert picture.busy_until is None


def test_missing_and_meaningless_values_are_gaps(prometheus: Fake) -> None:
    start = HOUR.start.timestamp()
    prometheus.answers.line("q", lambda at: {0: None, 15: "NaN", 30: "+Inf"}.get(round(at - start), 1.0))
    assert taken(make_measured(prometheus.url)).values[:4] == [None, None, None, 1.0]


def test_no_series_is_empty(prometheus: Fake) -> None:
    picture = taken(make_measured(prometheus.url))
    assert (picture.state, set(picture.values)) == ("empty", {None})
    assert "selects nothing" in picture.fault


def test_a_newest_nan_is_no_number(prometheus: Fake) -> None:
    prometheus.answers.line("q", lambda at: "NaN" if at > NOW.timestamp() - 600 else 1.0)
    picture = taken(make_measured(prometheus.url))
    assert picture.state == "not_a_number"
    assert "no traffic to divide by" in picture.fault


def test_a_series_that_ended_is_stale(prometheus: Fake) -> None:
    prometheus.answers.line("q", lambda at: 1.0 if at < NOW.timestamp() - 600 else None)
    picture = taken(make_measured(prometheus.url))
    assert picture.state == "stale"
    assert "The values ended at 2026-11-20 11:49:45 UTC" in picture.fault


def test_several_series_are_none(prometheus: Fake) -> None:
    prometheus.answers.add("q", lambda at: 1.0, node="a")
    prometheus.answers.add("q", lambda at: 2.0, node="b")
    picture = taken(make_measured(prometheus.url))
    assert (picture.state, picture.values, picture.read_at) == ("many_series", [], None)
    assert "gives 2 series (node=a; node=b" in picture.fault


def test_a_refused_query_says_so(prometheus: Fake) -> None:
    prometheus.answers.fault("q", 400, "bad_data", "parse error")
    picture = taken(make_measured(prometheus.url))
    assert picture.state == "failed"
    assert "parse error" in picture.fault


def test_an_attempt_that_fails_keeps_what_was_read(prometheus: Fake) -> None:
    prometheus.answers.number("q", 1)
    service = make_measured(prometheus.url)
    taken(service)
    prometheus.answers.fault("q", 503, "unavailable", "starting up")
    later = NOW + timedelta(minutes=5)
    picture = taken(service, Window("", later - timedelta(hours=1), later), later)
    assert (picture.state, picture.read_at, picture.tried_at, picture.end_at) == ("failed", NOW, later, NOW)
    assert picture.values == [1.0] * 241


def test_a_source_that_is_away_is_asked_once() -> None:
    service = make_measured(unused_url())
    make_signal(service, "latency", "q2", connection=service.team.connections.get())
    found = pictures.take(service, HOUR, now=NOW)
    assert [(row.name, row.state) for row in found] == [("accuracy", "failed"), ("latency", "failed")]
    assert found[0].fault == found[1].fault


def test_a_connection_of_another_kind_is_no_source() -> None:
    service = make_measured("http://127.0.0.1:9")
    service.signals.update(
        connection=make_connection(service.team, "flags", connector="flag", url="http://127.0.0.1:9")
    )
    assert "of kind flag" in taken(service).fault


def test_what_the_source_forgot_stays(prometheus: Fake) -> None:
    prometheus.answers.number("q", 1)
    service = make_measured(prometheus.url)
    taken(service)
    half = (NOW - timedelta(minutes=30)).timestamp()
    prometheus.answers.line("q", lambda at: 2.0 if at > half else None)
    assert taken(service).values == [1.0] * 121 + [2.0] * 120


def test_another_query_forgets_the_old_values(prometheus: Fake) -> None:
    prometheus.answers.number("q", 1)
    service = make_measured(prometheus.url)
    taken(service)
    service.signals.update(query="other")
    assert set(taken(service).values) == {None}


def test_two_workers_do_not_take_the_same(prometheus: Fake) -> None:
    prometheus.answers.number("q", 1)
    service = make_measured(prometheus.url)
    taken(service)
    Picture.objects.update(busy_until=NOW + timedelta(seconds=10))
    assert pictures.take(service, HOUR, now=NOW) == []
    assert len(pictures.take(service, HOUR, now=NOW + timedelta(minutes=2))) == 1


@pytest.mark.parametrize(("hours", "step"), [(0.5, 15), (3, 60), (24, 300), (24 * 7, 3600), (24 * 400, 86400)])
def test_long_windows_have_longer_steps(hours: float, step: int) -> None:
    assert pictures.step_for(hours * 3600) == step
    assert pictures.step_for(600, scrape_seconds=60) == 60


def test_the_band_is_of_the_same_hours_of_earlier_days(prometheus: Fake) -> None:
    now = NOW.timestamp()
    prometheus.answers.line(
        "q", lambda at: 9.0 if at > now - DAY / 2 else 1.0 + math.floor((now - at) / DAY + 0.5) / 10
    )
    band = taken(make_measured(prometheus.url)).band
    assert "same hours of 10 earlier days" in band["words"]
    low, high = bands.at(band, now - 600) or (0, 0)
    # Of the days 1 to 7, 14, 21 and 28: no value of the window itself.
    assert 1.1 <= low < 1.3
    assert 3.0 < high <= 3.8


def test_the_band_leaves_out_other_trouble(prometheus: Fake) -> None:
    yesterday = (NOW - timedelta(days=1, hours=2), NOW - timedelta(days=1) + timedelta(hours=3))
    prometheus.answers.line("q", lambda at: 50.0 if yesterday[0].timestamp() <= at <= yesterday[1].timestamp() else 1.0)
    service = make_measured(prometheus.url)
    with_it = taken(service, HOUR).band
    Picture.objects.all().delete()
    without = taken(service, Window("", HOUR.start, HOUR.end, [yesterday])).band
    assert bands.at(with_it, NOW.timestamp()) != (1.0, 1.0)
    assert bands.at(without, NOW.timestamp()) == (1.0, 1.0)
    assert "9 earlier days, without the hours of other incidents" in without["words"]


def test_a_young_source_gives_the_hours_before(prometheus: Fake) -> None:
    prometheus.answers.line("q", lambda at: 2.0 if at > NOW.timestamp() - 5 * 3600 else None)
    band = taken(make_measured(prometheus.url)).band
    assert bands.at(band, NOW.timestamp()) == (2.0, 2.0)
    assert "the 6 h before; the source holds no 3 earlier days" in band["words"]


def test_without_a_past_there_is_no_band_and_it_says_so(prometheus: Fake) -> None:
    prometheus.answers.line("q", lambda at: 2.0 if at >= HOUR.start.timestamp() else None)
    picture = taken(make_measured(prometheus.url))
    assert bands.at(picture.band, NOW.timestamp()) is None
    assert picture.band["words"] == "No band: the source holds nothing from before."


def test_the_past_is_asked_once_an_hour(prometheus: Fake) -> None:
    prometheus.answers.number("q", 1)
    service = make_measured(prometheus.url)
    taken(service)
    first = len(prometheus.web.asked)
    later = NOW + timedelta(minutes=1)
    taken(service, Window("", later - timedelta(hours=1), later), later)
    assert (first, len(prometheus.web.asked)) == (11, 12)


def test_old_pictures_are_thrown_away(prometheus: Fake) -> None:
    service = make_measured(prometheus.url)
    taken(service)
    taken(service, Window("INC-1", HOUR.start, HOUR.end))
    assert pictures.tidy(NOW + timedelta(days=6)) == 0
    assert pictures.tidy(NOW + timedelta(days=8)) == 1
    assert pictures.tidy(NOW + timedelta(days=401)) == 1


def test_the_youngest_source_gives_what_came_before_the_onset(prometheus: Fake) -> None:
    onset = NOW - timedelta(minutes=20)
    prometheus.answers.line(
        "q", lambda at: None if at < HOUR.start.timestamp() else 2.0 if at < onset.timestamp() else 9.0
    )
    band = taken(make_measured(prometheus.url), Window("INC-1", HOUR.start, HOUR.end, onset=onset)).band
    assert bands.at(band, NOW.timestamp()) == (2.0, 2.0)
    assert "what came before the onset; the source holds nothing older" in band["words"]
