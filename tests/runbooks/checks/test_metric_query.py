"""metric.query: one number, and four different ways of having none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from runbooks.checks.base import CheckError, Finding
from runbooks.checks.metric_query import MetricQuery, MetricQueryParams
from tests.factories import make_connection
from tests.factories_checks import NOW, make_context, make_measured
from tests.fakes.prometheus import Fake, fake_prometheus
from tests.fakes.web import Reply, unused_url

pytestmark = pytest.mark.django_db
CHECK = MetricQuery()


@pytest.fixture
def prometheus() -> Iterator[Fake]:
    """A fake Prometheus."""
    with fake_prometheus() as fake:
        yield fake


def ask(prometheus: Fake, query: str = "q", **params: Any) -> Finding:
    """Run the check on the signal `accuracy` that asks `query`."""
    service = make_measured(prometheus.url, query=query, unit="ms")
    given = {"signal": "accuracy"} | params
    found = CHECK.run(MetricQueryParams.model_validate(given), make_context(service))
    assert isinstance(found, Finding)
    return found


def test_it_gives_the_number_with_a_chart(prometheus: Fake) -> None:
    prometheus.answers.number("q", 0.25)
    found = ask(prometheus, window="10m")
    assert (found.value, found.verdict, found.no_data, found.observed_at) == (0.25, "", False, NOW)
    assert found.summary == "Accuracy is 0.25 ms."
    assert len(found.result["series"]["value"]) == found.samples == 21


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf"])
def test_it_says_not_a_number(prometheus: Fake, text: str) -> None:
    prometheus.answers.number("q", text)
    found = ask(prometheus)
    assert (found.no_data, found.reason, found.result["value"]) == (True, "not_a_number", None)


def test_it_says_no_series(prometheus: Fake) -> None:
    found = ask(prometheus)
    assert (found.no_data, found.reason, found.value) == (True, "no_series", None)
    assert "nothing matched in the last 60 min" in found.summary


def test_it_says_stale_when_a_series_has_ended(prometheus: Fake) -> None:
    end = NOW.timestamp() - 720
    prometheus.answers.line("q", lambda at: 1.0 if at <= end else None)
    found = ask(prometheus)
    assert (found.no_data, found.reason) == (True, "stale")
    assert "12 min old" in found.summary
    assert found.observed_at is not None
    assert found.observed_at < NOW


def test_it_says_stale_of_a_series_between_two_points_of_the_chart(prometheus: Fake) -> None:
    end = NOW.timestamp() - 65
    prometheus.answers.line("q", lambda at: 1.0 if end - 10 <= at <= end else None)
    found = ask(prometheus)
    assert (found.reason, found.samples) == ("stale", 11)


@pytest.mark.parametrize(
    ("status", "kind", "words", "reason"),
    [
        (400, "bad_data", "parse error at char 3", "bad_query"),
        (422, "execution", "many-to-many matching not allowed", "execution"),
        (422, "execution", "query processing would load too many samples", "limit"),
        (503, "timeout", "query timed out", "timeout"),
        (503, "unavailable", "shutting down", "unavailable"),
        (401, "auth", "no", "auth"),
    ],
)
def test_it_tells_errors_apart(prometheus: Fake, status: int, kind: str, words: str, reason: str) -> None:
    prometheus.answers.fault("q", status, kind, words)
    with pytest.raises(CheckError) as caught:
        ask(prometheus)
    assert caught.value.reason == reason


def test_it_passes_on_how_long_to_wait(prometheus: Fake) -> None:
    prometheus.answers.fault("q", 503, "unavailable", "busy", **{"Retry-After": "7"})
    with pytest.raises(CheckError) as caught:
        ask(prometheus)
    assert (caught.value.retry_after, caught.value.permanent) == (7.0, False)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "bad_answer"),
        (b"[1]", "bad_answer"),
        (b'{"status":"success"}', "bad_answer"),
        (b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}}', "bad_answer"),
        (b'{"status":"success","data":{"resultType":"matrix","result":[]}}', "bad_query"),
    ],
)
def test_it_refuses_strange_answers(prometheus: Fake, body: bytes, reason: str) -> None:
    prometheus.answers.queries["q"] = Reply(body)
    with pytest.raises(CheckError) as caught:
        ask(prometheus)
    assert caught.value.reason == reason


def test_it_says_when_nobody_answers() -> None:
    with fake_prometheus() as fake:
        service = make_measured(fake.url)
        fake.answers.queries["q"] = Reply(hang=5)
        from datetime import timedelta

        context = make_context(service, deadline=NOW + timedelta(seconds=0.4))
        with pytest.raises(CheckError) as late:
            CHECK.run(MetricQueryParams(signal="accuracy"), context)
    assert late.value.reason == "timeout"
    url = unused_url()
    make_connection(service.team, slug="gone", url=url)
    with pytest.raises(CheckError) as blocked:
        CHECK.run(MetricQueryParams(connection="gone", query="q"), make_context(service))
    assert blocked.value.reason == "blocked"


def test_it_refuses_several_series_unless_told_how(prometheus: Fake) -> None:
    prometheus.answers.add("q", lambda at: 1.0, tenant="a")
    prometheus.answers.add("q", lambda at: 3.0, tenant="b")
    with pytest.raises(CheckError) as caught:
        ask(prometheus)
    assert caught.value.reason == "many_series"


@pytest.mark.parametrize(("how", "value"), [("max", 3.0), ("min", 1.0), ("sum", 4.0), ("mean", 2.0)])
def test_it_reduces_series(prometheus: Fake, how: str, value: float) -> None:
    prometheus.answers.add("q", lambda at: 1.0, tenant="a")
    prometheus.answers.add("q", lambda at: 3.0, tenant="b")
    assert ask(prometheus, reduce=how).value == value


def test_it_sends_long_queries_as_a_form(prometheus: Fake) -> None:
    query = "q + " + "0" * 2500
    prometheus.answers.number(query, 4)
    assert ask(prometheus, query=query).value == 4
    assert {asked.method for asked in prometheus.web.asked} == {"POST"}


def test_it_names_the_known_signals(prometheus: Fake) -> None:
    service = make_measured(prometheus.url)
    with pytest.raises(CheckError, match="it has: accuracy"):
        CHECK.run(MetricQueryParams(signal="acuracy"), make_context(service))


def test_it_measures_as_of_the_past_time_that_it_is_asked_about(prometheus: Fake) -> None:
    then = NOW - timedelta(hours=6)
    prometheus.answers.line("q", lambda at: at - then.timestamp())
    service = make_measured(prometheus.url, query="q")
    params = MetricQueryParams.model_validate({"signal": "accuracy", "window": "10m"})
    found = CHECK.run(params, make_context(service, at=then))
    assert (found.value, found.observed_at, found.window_to) == (0.0, then, then)
    assert found.result["series"]["value"][-1][0] == then.timestamp()
