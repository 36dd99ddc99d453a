"""http.json, status.poll and result.test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from runbooks.checks.base import CheckError, Finding
from runbooks.checks.http_json import HttpJsonCheck, HttpJsonParams
from runbooks.checks.result_test import ResultTest, ResultTestParams
from runbooks.checks.status_poll import StatusPoll, StatusPollParams
from tests.factories import make_team
from tests.factories_checks import NOW, make_context, make_json_connection
from tests.fakes.web import Reply, Web, serve

pytestmark = pytest.mark.django_db


class Told:
    """A loopback server that says one thing."""

    def __init__(self) -> None:
        self.reply = Reply()
        self.web: Web

    def says(self, data: Any, **headers: str) -> None:
        self.reply = Reply(json.dumps(data).encode(), headers=headers)


@pytest.fixture
def outer() -> Iterator[Told]:
    """An outer system."""
    told = Told()
    with serve(lambda asked: told.reply) as told.web:
        yield told


def read(outer: Told, path: str) -> Finding:
    """The value at a path."""
    team = make_team()
    make_json_connection(team, outer.web.url)
    return HttpJsonCheck().run(HttpJsonParams(connection="outer", path=path), make_context(team=team))


def poll(outer: Told, *components: str) -> Finding:
    """The status of components."""
    team = make_team()
    make_json_connection(team, outer.web.url)
    return StatusPoll().run(StatusPollParams(connection="outer", components=list(components)), make_context(team=team))


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b", 3), ("list.1", "y"), ("list.-1", "y"), ("list.#", 2), ("flag", False), ("a", {"b": 3})],
)
def test_it_picks_a_value(outer: Told, path: str, value: Any) -> None:
    outer.says({"a": {"b": 3}, "list": ["x", "y"], "flag": False})
    found = read(outer, path)
    assert (found.value, found.no_data, found.observed_at) == (value, False, NOW)


@pytest.mark.parametrize("path", ["a.c", "list.5", "a.b.c", "nothing"])
def test_it_says_when_the_path_leads_nowhere(outer: Told, path: str) -> None:
    outer.says({"a": {"b": 3}, "list": [1]})
    found = read(outer, path)
    assert (found.value, found.no_data, found.reason) == (None, True, "no_data")


def test_it_reads_the_age_of_a_cached_answer(outer: Told) -> None:
    outer.says({"a": 1}, Age="120")
    assert read(outer, "a").observed_at == NOW - timedelta(seconds=120)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"<html>"), "bad_answer"),
        (Reply(b"", 500), "unavailable"),
        (Reply(b"no", 404), "not_found"),
        (Reply(b"no", 401), "auth"),
        (Reply(b"no", 429), "limit"),
        (Reply(b"", 301, {"Location": "http://10.0.0.1/"}), "bad_answer"),
        (Reply(b"[" * 100_000), "bad_answer"),
    ],
)
def test_it_tells_errors_apart(outer: Told, reply: Reply, reason: str) -> None:
    outer.reply = reply
    with pytest.raises(CheckError) as caught:
        read(outer, "a")
    assert caught.value.reason == reason


def test_it_lists_the_known_connections() -> None:
    team = make_team()
    make_json_connection(team, "https://a.test", "status")
    with pytest.raises(CheckError, match="known: status"):
        HttpJsonCheck().run(HttpJsonParams(connection="statsu"), make_context(team=team))


def page(indicator: str | None = "none", **components: str) -> dict[str, Any]:
    """A status page's summary."""
    rows = [{"name": name, "status": state} for name, state in components.items()]
    told: dict[str, Any] = {"page": {"updated_at": "2026-11-20T11:59:00Z"}, "components": rows}
    if indicator is not None:
        told["status"] = {"indicator": indicator, "description": "words"}
    return told


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("operational", "pass"),
        ("degraded_performance", "fail"),
        ("partial_outage", "fail"),
        ("major_outage", "fail"),
        ("under_maintenance", "inconclusive"),
        ("on_fire", "inconclusive"),
    ],
)
def test_it_judges_our_component_only(outer: Told, state: str, verdict: str) -> None:
    outer.says(page("minor", API=state, Playground="major_outage"))
    found = poll(outer, "api")
    assert (found.verdict, found.value) == (verdict, state)


@pytest.mark.parametrize(
    ("indicator", "verdict"),
    [
        ("none", "pass"),
        ("minor", "inconclusive"),
        ("major", "fail"),
        ("critical", "fail"),
        ("maintenance", "inconclusive"),
    ],
)
def test_it_judges_the_page_without_components(outer: Told, indicator: str, verdict: str) -> None:
    outer.says(page(indicator, API="operational"))
    assert poll(outer).verdict == verdict


def test_it_reads_pages_that_leave_keys_out(outer: Told) -> None:
    outer.says(page(None, API="operational"))
    assert poll(outer).verdict == "pass"
    outer.says({"status": {}})
    assert (poll(outer).verdict, poll(outer).no_data) == ("inconclusive", True)
    outer.says({"something": 1})
    with pytest.raises(CheckError, match="not a status page"):
        poll(outer)


def test_it_leaves_group_rows_out_and_names_incidents(outer: Told) -> None:
    told = page("major", API="operational")
    told["components"].append({"name": "Group", "status": "major_outage", "group": True})
    told["incidents"] = [{"name": "Elevated errors"}]
    outer.says(told)
    found = poll(outer, "API")
    assert (found.verdict, found.result["incidents"]) == ("pass", ["Elevated errors"])
    assert "Open there: Elevated errors." in found.summary
    with pytest.raises(CheckError, match="it lists: API"):
        poll(outer, "Group")


def test_it_hands_on_an_earlier_result() -> None:
    found = ResultTest().run(ResultTestParams(value=[1, 2]), make_context())
    assert (found.value, found.verdict, found.result) == ([1, 2], "", {"value": [1, 2]})
