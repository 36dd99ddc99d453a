"""metric.compare: effect and significance, and every way of not being able to tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalog.models import Connection, Service
from runbooks.checks.base import CheckError, Finding
from runbooks.checks.metric_compare import MetricCompare, MetricCompareParams
from tests.factories import make_incident
from tests.factories_checks import NOW, make_context, make_measured
from tests.fakes.prometheus import At, Fake, fake_prometheus

pytestmark = pytest.mark.django_db
ONSET = (NOW - timedelta(minutes=30)).timestamp()
DAY = 86400
RATE = {"kind": "rate", "good": "good[$window]", "all": "all[$window]"}


@pytest.fixture
def prometheus() -> Iterator[Fake]:
    """A fake Prometheus."""
    with fake_prometheus() as fake:
        yield fake


def ask(service: Service, **fields: Any) -> Finding:
    """Compare the signal `accuracy`, half an hour after the onset."""
    params = {"signal": "accuracy"} | {key: value for key, value in fields.items() if key != "context"}
    context = make_context(service, **fields.get("context", {}))
    found = MetricCompare().run(MetricCompareParams.model_validate(params), context)
    assert isinstance(found, Finding)
    return found


def wobble(at: float) -> float:
    """A little unrest that looks like chance and is the same every time."""
    return (int(at / 60) * 7919 % 11) / 100


def rates(fake: Fake, *, before: float, now: float, per_step: float = 30) -> Service:
    """A service whose rate of right answers changes at the onset; 30 one-minute steps since then.

    Prometheus sees three of the four quarters of each minute and tells the whole (15 s between scrapes).
    """
    fake.answers.line("all[60s]", lambda at: per_step / 0.75)
    fake.answers.line("good[60s]", lambda at: per_step / 0.75 * (now if at > ONSET else before))
    return make_measured(fake.url, compare=RATE, worse="down")


def test_it_finds_a_drop_and_says_it_with_numbers(prometheus: Fake) -> None:
    found = ask(rates(prometheus, before=0.91, now=0.78))
    assert (found.verdict, found.samples, found.reason) == ("fail", 900, "")
    assert found.summary == "Accuracy fell from 0.91 to 0.78: −0.13 [−0.16, −0.102], n = 900."
    assert found.value == pytest.approx(-0.13, abs=1e-3)
    result = found.result
    assert (result["n_now"], result["n_before"], result["margin"]) == (900, 2700, 0.02)
    assert found.threshold["line"] == -0.02, "where the difference is drawn as a problem"
    assert [row["window"] for row in result["table"]] == ["now", "before", "yesterday"]
    assert set(result["series"]) == {"now", "before", "yesterday"}


@pytest.mark.parametrize(
    ("hours", "label"), [(23, "yesterday"), (24, "2 days ago"), (47, "2 days ago"), (49, "3 days ago")]
)
def test_a_long_trouble_is_never_its_own_baseline(prometheus: Fake, hours: int, label: str) -> None:
    onset = NOW - timedelta(hours=hours)
    prometheus.answers.line("q", lambda at: wobble(at) + (5.0 if at > onset.timestamp() else 1.0))
    found = ask(make_measured(prometheus.url, compare={"kind": "mean"}, worse="up"), context={"onset": onset})
    assert (found.verdict, found.result["before"]) == ("fail", pytest.approx(1.05, abs=0.02))
    assert [row["window"] for row in found.result["table"]] == ["now", "before", label]


def test_a_peak_is_compared_with_the_peak(prometheus: Fake) -> None:
    """Three times as many at noon as in the night, when the trouble began and was over."""
    onset = NOW - timedelta(hours=9)
    prometheus.answers.line("q", lambda at: wobble(at) + (3.0 if 8 <= at % DAY / 3600 <= 16 else 1.0))
    service = make_measured(prometheus.url, compare={"kind": "mean"}, worse="up")
    found = ask(service, same_hours=True, margin=0.5, context={"onset": onset})
    assert (found.verdict, [row["window"] for row in found.result["table"]]) == ("pass", ["now", "yesterday"])


def test_it_rules_a_drop_out(prometheus: Fake) -> None:
    found = ask(rates(prometheus, before=0.9, now=0.9, per_step=200))
    assert (found.verdict, found.value) == ("pass", 0)


def test_it_needs_the_margin_not_only_significance(prometheus: Fake) -> None:
    assert ask(rates(prometheus, before=0.9, now=0.89, per_step=2000)).verdict == "pass"


def test_it_cannot_tell_with_too_few(prometheus: Fake) -> None:
    found = ask(rates(prometheus, before=0.9, now=0.7, per_step=2))
    assert (found.verdict, found.reason) == ("inconclusive", "too_few_samples")


def test_it_cannot_tell_within_error(prometheus: Fake) -> None:
    found = ask(rates(prometheus, before=0.9, now=0.87, per_step=10))
    assert (found.verdict, found.reason) == ("inconclusive", "within_error")
    assert "neither shown nor ruled out" in found.summary


def test_it_divides_the_error_by_the_looks(prometheus: Fake) -> None:
    service = rates(prometheus, before=0.9, now=0.86, per_step=20)
    assert ask(service).verdict == "fail"
    many = ask(service, context={"looks": 1000})
    assert (many.verdict, many.result["confidence"]) == ("inconclusive", pytest.approx(1 - 0.05 / 1000))


def test_it_counts_a_counter_that_never_moved_as_zero(prometheus: Fake) -> None:
    prometheus.answers.line("all[60s]", lambda at: 100)
    compare = {"kind": "rate", "bad": "bad[$window]", "all": "all[$window]"}
    service = make_measured(prometheus.url, compare=compare, worse="up")
    found = ask(service)
    assert (found.verdict, found.result["now"], found.result["before"]) == ("pass", 0, 0)


def test_it_reads_bad_events_as_the_signal_runs(prometheus: Fake) -> None:
    prometheus.answers.line("all[60s]", lambda at: 400)
    prometheus.answers.line("bad[60s]", lambda at: 80 if at > ONSET else 20)
    compare = {"kind": "rate", "bad": "bad[$window]", "all": "all[$window]"}
    found = ask(make_measured(prometheus.url, compare=compare, worse="down"))
    assert (found.verdict, found.result["now"], found.result["before"]) == ("fail", 0.8, 0.95)


def test_it_says_when_data_have_stopped(prometheus: Fake) -> None:
    end = NOW.timestamp() - 300
    prometheus.answers.line("all[60s]", lambda at: 30 if at < end else None)
    prometheus.answers.line("good[60s]", lambda at: 30)
    found = ask(make_measured(prometheus.url, compare=RATE, worse="down"))
    assert (found.verdict, found.reason) == ("inconclusive", "stale")


def test_it_says_when_too_much_is_missing(prometheus: Fake) -> None:
    prometheus.answers.line("all[60s]", lambda at: 30 if int(at / 60) % 3 else None)
    prometheus.answers.line("good[60s]", lambda at: 30)
    # Every third point lacks, the newest is there.
    late = NOW + timedelta(minutes=1)
    found = ask(
        make_measured(prometheus.url, compare=RATE, worse="down"),
        context={"now": late, "deadline": late + timedelta(seconds=30)},
    )
    assert (found.verdict, found.reason) == ("inconclusive", "stale")
    assert "33" in found.summary


def test_it_says_when_there_is_nothing(prometheus: Fake) -> None:
    found = ask(make_measured(prometheus.url, compare=RATE, worse="down"))
    assert (found.no_data, found.reason) == (True, "no_series")


def test_it_says_when_there_is_no_before(prometheus: Fake) -> None:
    prometheus.answers.line("all[60s]", lambda at: 30 if at > ONSET else None)
    prometheus.answers.line("good[60s]", lambda at: 30)
    found = ask(make_measured(prometheus.url, compare=RATE, worse="down"))
    assert (found.verdict, found.reason) == ("inconclusive", "no_baseline")


def test_it_leaves_other_incidents_out_of_the_baseline(prometheus: Fake) -> None:
    service = rates(prometheus, before=0.91, now=0.78)
    make_incident(
        service=service,
        started_at=NOW - timedelta(days=1, minutes=10),
        detected_at=NOW,
        state="closed",
        resolved_at=NOW - timedelta(hours=23),
    )
    assert [row["window"] for row in ask(service).result["table"]] == ["now", "before"]


def test_it_does_not_take_its_own_incident_for_a_disturbance(prometheus: Fake) -> None:
    service = rates(prometheus, before=0.91, now=0.78)
    own = make_incident(service=service, started_at=NOW - timedelta(hours=1))
    assert ask(service, context={"incident_number": own.number}).verdict == "fail"


def test_it_waits_for_two_steps(prometheus: Fake) -> None:
    service = rates(prometheus, before=0.91, now=0.78)
    found = ask(service, context={"onset": NOW - timedelta(seconds=40)})
    assert (found.verdict, found.reason) == ("inconclusive", "too_few_samples")


def test_it_looks_only_at_what_came_after_a_time(prometheus: Fake) -> None:
    cured = ONSET + 900
    prometheus.answers.line("all[60s]", lambda at: 400)
    prometheus.answers.line("good[60s]", lambda at: 280 if ONSET < at <= cured else 360)
    service = make_measured(prometheus.url, compare=RATE, worse="down")
    found = ask(service, since=(NOW - timedelta(minutes=15)).isoformat())
    assert (found.verdict, found.result["now"]) == ("pass", 0.9)


def test_it_compares_means(prometheus: Fake) -> None:
    prometheus.answers.line("cost", lambda at: (2.0 if at > ONSET else 1.0) + wobble(at))
    service = make_measured(prometheus.url, query="cost", compare={"kind": "mean"}, worse="up", unit="USD/h")
    found = ask(service)
    assert (found.verdict, found.result["method"][:5]) == ("fail", "Welch")
    assert found.result["diff"] == pytest.approx(1.0, abs=0.1)
    assert "USD/h: +" in found.summary


def test_it_does_not_trust_points_that_follow_one_another(prometheus: Fake) -> None:
    # A slow wave: many points, but hardly more than one observation a side.
    import math

    prometheus.answers.line("cost", lambda at: 1 + math.sin(at / 3600))
    service = make_measured(prometheus.url, query="cost", compare={"kind": "mean", "margin": 0.2}, worse="up")
    thin = ask(service, yesterday=False).result
    assert thin["hi"] - thin["lo"] > 0.3


def _count(before: float, after: float) -> At:
    return lambda at: 60 * (after if at > ONSET else before)


def _buckets(fake: Fake) -> None:
    for le, before, after in (("0.5", 0.6, 0.2), ("1", 0.9, 0.5), ("2", 0.99, 0.8), ("+Inf", 1.0, 1.0)):
        fake.answers.add("lat[60s]", _count(before, after), le=le)


def test_it_compares_quantiles_of_buckets(prometheus: Fake) -> None:
    _buckets(prometheus)
    compare = {"kind": "quantile", "q": 0.95, "buckets": "lat[$window]"}
    found = ask(make_measured(prometheus.url, compare=compare, worse="up", unit="s"))
    assert found.verdict == "fail"
    assert found.result["before"] == pytest.approx(1 + 0.05 / 0.09, abs=0.01)
    assert found.summary.startswith("Accuracy (P95) rose from 1.56 s to 2 s: +0.444 s [")


def test_it_compares_quantiles_of_points(prometheus: Fake) -> None:
    prometheus.answers.line("lat", lambda at: (2.0 if at > ONSET else 1.0) + wobble(at))
    compare = {"kind": "quantile", "q": 0.5, "min_n": 20}
    found = ask(make_measured(prometheus.url, query="lat", compare=compare, worse="up"))
    assert found.verdict == "fail"
    few = ask(Service.objects.get(), q=0.99)
    assert (few.verdict, few.reason) == ("inconclusive", "too_few_samples")


def test_it_takes_raw_queries(prometheus: Fake) -> None:
    service = rates(prometheus, before=0.91, now=0.78)
    params = {"connection": "prometheus", "worse": "down", **RATE}
    found = MetricCompare().run(MetricCompareParams.model_validate(params), make_context(service))
    assert found.verdict == "fail"


def test_it_refuses_a_comparison_that_cannot_be(prometheus: Fake) -> None:
    service = make_measured(prometheus.url, compare={"kind": "rate", "all": "a[$window]"}, worse="up")
    with pytest.raises(CheckError, match="either bad or good"):
        ask(service)
    with pytest.raises(ValueError, match="either signal"):
        MetricCompareParams()


def test_it_counts_in_steps_of_four_scrapes_and_only_what_was_seen(prometheus: Fake) -> None:
    prometheus.answers.line("all[240s]", lambda at: 400)
    prometheus.answers.line("good[240s]", lambda at: 360)
    service = make_measured(prometheus.url, compare=RATE, worse="down")
    Connection.objects.update(config={"url": prometheus.url, "scrape_seconds": 60})
    found = ask(service)
    # Seven whole steps of four minutes in half an hour, three quarters of each seen.
    assert (found.verdict, found.samples) == ("pass", 7 * 300)


def test_it_compares_as_of_the_past_time_that_it_is_asked_about(prometheus: Fake) -> None:
    service = rates(prometheus, before=0.91, now=0.78)
    later = {"now": NOW + timedelta(hours=3), "deadline": NOW + timedelta(hours=3, seconds=30)}
    assert ask(service, context=later | {"at": NOW}) == ask(service)
