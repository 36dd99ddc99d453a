"""A watch on the run's page and in the API: how far it is, each sample with its verdict, values beside their limits."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.models import Team
from incidents.models import Evidence, Incident
from runbooks import execution, ticker
from runbooks.checks.base import CheckError, Finding
from runbooks.models import Attempt, Run, RunEvent, Sample, StepRun
from tests.factories import make_actor, make_user
from tests.factories_runbooks import make_runbook, start, step
from tests.factories_web import signed_in, text_of
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

WATCH = """
  verify:
    - id: holds
      name: Does it hold?
      check: world.ask
      pass_if: value < inputs.most
      fail_if: value > 8
      watch: {every: 1h, for: 24h, max_fails: 2}
    - {id: once, name: Is it so?, check: world.ask, pass_if: value > 0}
"""
HEAD = "inputs:\n  most: {type: number, default: 5}\n"
NOTHING = Finding(None, "Nothing was there.")


@pytest.fixture
def client(team: Team) -> Client:
    return signed_in(make_user("riley", team=team))


@pytest.fixture
def run(team: Team, incident: Incident, world: World, moved_clock: Any) -> Run:
    """A watch after an outage: pass, fail, can't tell, three missed, couldn't measure."""
    found = start(make_runbook(team, WATCH, head=HEAD), make_actor(team), team, incident)
    worked()
    world.checks = [1.0, 9.0, NOTHING, CheckError("auth", "The key is wrong.", permanent=True)]
    for hours in (1, 1, 1, 4):
        moved_clock.forward(hours=hours)
        worked()
    return found


def worked() -> None:
    ticker.tick("w")
    for pk in list(StepRun.objects.filter(state="ready").values_list("pk", flat=True)):
        execution.execute(pk, "w")


def page_of(client: Client, run: Run) -> str:
    answer = client.get(f"/runs/{run.uuid}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_says_how_far_the_watch_is(client: Client, run: Run, moved_clock: Any) -> None:
    page = page_of(client, run)
    text = text_of(client.get(f"/runs/{run.uuid}"))  # type: ignore[arg-type]
    assert "sample 7 of 24" in text
    assert f"next due {moved_clock.time + timedelta(hours=1):%H:%M}" in text
    assert "1 fail of at most 2" in text
    assert "Watching" in text
    assert 'aria-label="7 of 24 samples: 1 pass, 1 fail, 1 inconclusive, 1 error, 3 missed"' in page


def test_it_shows_each_sample_and_hatches_what_is_missing(client: Client, run: Run) -> None:
    page = page_of(client, run)
    strip = page[page.index('class="strip"') : page.index("</svg>\n  <p", page.index('class="strip"'))]
    told = re.findall(r"<title>(.*?)</title>", strip)
    assert told[:7] == [
        "sample 1: Ruled out",
        "sample 2: Problem found",
        "sample 3: Can&#39;t tell",
        "sample 4: Missed",
        "sample 5: Missed",
        "sample 6: Missed",
        "sample 7: Couldn&#39;t measure",
    ]
    assert told[7:] == [f"sample {k}: still to come" for k in range(8, 25)]
    assert strip.count('class="missed"') == 3
    assert "Nothing was running when it was due." in page


def test_it_draws_the_values_with_their_limits(client: Client, run: Run, moved_clock: Any) -> None:
    page = page_of(client, run)
    figure = re.search(r'data-chart="([^"]+)" data-chart-label="([^"]+)"', page[page.index('data-part="watch"') :])
    assert figure is not None
    told = json.loads(html.unescape(figure[1]))
    start = step(run, "holds").t0
    assert start is not None
    assert [limit["words"] for limit in told["limits"]] == ["pass < 5", "fail > 8"]
    assert told["faults"] == [[(start + timedelta(hours=2)).timestamp(), 9.0]]
    assert told["range"][:2] == [start.timestamp(), (start + timedelta(hours=24)).timestamp()]
    # From the last value to the newest sample nothing is known; what is to come is not missing.
    assert told["gaps"] == [[(start + timedelta(hours=2)).timestamp(), moved_clock.time.timestamp()]]
    assert "1 broke the rule" in figure[2]


def test_the_api_tells_every_sample(client: Client, run: Run, moved_clock: Any) -> None:
    steps = {row["id"]: row for row in client.get(f"/api/v1/runs/{run.uuid}").json()["steps"]}
    watch, start = steps["holds"], step(run, "holds").t0
    assert start is not None
    assert [row["verdict"] for row in watch["samples"]] == [
        *("pass", "fail", "inconclusive"),
        *("missed", "missed", "missed", "error"),
    ]
    fail, missed = watch["samples"][1], watch["samples"][3]
    assert (fail["k"], fail["value"], fail["evidence"][:1]) == (2, 9.0, "E")
    assert (missed["taken_at"], missed["evidence"], missed["reason"]) == (None, None, "not_running")
    assert datetime.fromisoformat(watch["next_due"]) == start + timedelta(hours=8)
    assert (steps["once"]["samples"], steps["once"]["next_due"]) == (None, None)


def test_an_ended_watch_stays_readable(
    client: Client, incident: Incident, run: Run, world: World, moved_clock: Any
) -> None:
    for _ in range(17):
        moved_clock.forward(hours=1)
        worked()
    page = text_of(client.get(f"/runs/{run.uuid}"))  # type: ignore[arg-type]
    assert "18 of 24 samples passed, 1 found the problem (at most 2 may)" in page
    assert "Evidence of the whole watch" in page
    assert "next due" not in page
    shown = client.get(
        f"/incidents/{incident.number}/evidence/{Evidence.objects.filter(kind='check').latest('number').number}"
    )
    assert '"words":"pass < 5"' in html.unescape(shown.content.decode())
    steps = client.get(f"/api/v1/runs/{run.uuid}").json()["steps"]
    assert (len(steps[0]["samples"]), steps[0]["next_due"]) == (24, None)


def test_a_long_watch_costs_no_more_queries_and_no_long_page(client: Client, run: Run, moved_clock: Any) -> None:
    with CaptureQueriesContext(connection) as before:
        short = page_of(client, run)
    row = step(run, "holds")
    assert row.t0 is not None
    every = timedelta(seconds=30)
    Sample.objects.bulk_create(
        Sample(step_run=row, k=k, due_at=row.t0 + k * every, taken_at=row.t0 + k * every, verdict="pass", value=1.0)
        for k in range(8, 2001)
    )
    Attempt.objects.bulk_create(
        Attempt(step_run=row, number=1, fence=100 + k, worker="w", started_at=row.t0 + k * every) for k in range(2000)
    )
    RunEvent.objects.bulk_create(
        RunEvent(run=run, seq=1000 + k, at=row.t0 + k * every, transition="S10", step="holds", state="sleeping")
        for k in range(2000)
    )
    with CaptureQueriesContext(connection) as after:
        long = page_of(client, run)
    assert len(after) <= len(before)
    assert len(long) < 4 * len(short)


def test_a_watch_of_two_thousand_shares_its_cells(client: Client, team: Team, world: World, moved_clock: Any) -> None:
    steps = WATCH.replace("every: 1h, for: 24h", "every: 1m, for: 2000m")
    found = start(make_runbook(team, steps, head=HEAD), make_actor(team), team)
    page = page_of(client, found)
    cells = re.findall(r"<title>(samples? [^:]*): still to come</title>", page)
    assert (len(cells), cells[0], cells[-1]) == (118, "samples 1 to 17", "samples 1990 to 2000")
