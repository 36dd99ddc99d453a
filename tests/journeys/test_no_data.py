"""No number has many reasons, and the run's page tells them apart: asked of a real Prometheus and a real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from catalog.models import Team
from common import http
from runbooks import runs
from runbooks.models import Run
from tests import servers
from tests.factories import make_actor, make_connection, make_user
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.factories_web import signed_in
from tests.journeys import target as targets
from tests.journeys.product import eventually

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

STEPS = f"""
  check:
    - id: works
      check: metric.query
      with: {{connection: metrics, query: "sum(requests_total)"}}
      pass_if: value >= 0
    - id: nothing_selected
      check: metric.query
      with: {{connection: metrics, query: 'sum(requests_total{{code="418"}})'}}
      pass_if: value >= 0
    - id: not_a_number
      check: metric.query
      with: {{connection: metrics, query: '{targets.ERROR_RATE}'}}
      pass_if: value >= 0
    - id: refused
      check: metric.query
      with: {{connection: metrics, query: "sum(requests_total"}}
      pass_if: value >= 0
    - id: stop_it
      manual: Stop the service.
    - id: service_gone
      check: metric.query
      with: {{connection: metrics, query: "sum(requests_total)"}}
      pass_if: value >= 0
"""
# Step: verdict, reason, and what a person reads.
TOLD = {
    "nothing_selected": ("inconclusive", "no_series", "the query selects nothing"),
    "not_a_number": ("inconclusive", "not_a_number", "the answer is not a number"),
    "refused": ("error", "bad_query", "the source refuses the query"),
    "service_gone": ("inconclusive", "stale", "the data is too old"),
}


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[tuple[str, targets.Target]]:
    """A Prometheus that has scraped a service without traffic, and that service; both are open for our requests."""
    with targets.running(tmp_path) as target, servers.prometheus(tmp_path, target=target.address) as url:
        target.control(per_second=0)
        http.allow(url)
        eventually(lambda: ask(url, targets.ERROR_RATE), lambda found: found == ["NaN"], seconds=60)
        yield url, target
        http.forget(url)


def ask(url: str, query: str) -> list[str]:
    """The values that Prometheus gives now."""
    answer = httpx2.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).json()
    return [row["value"][1] for row in answer["data"]["result"]]


def worked(run: Run) -> dict[str, str]:
    """What the steps have come to, after doing what is ready."""
    pump()
    return states(run)


def test_each_reason_for_no_number_is_told_apart(team: Team, metrics: tuple[str, targets.Target]) -> None:
    url, target = metrics
    make_connection(team, "metrics", url=url)
    run = start(make_runbook(team, STEPS), make_actor(team), team)
    eventually(lambda: worked(run), lambda found: found["stop_it"] == "blocked human")
    target.stop()
    eventually(lambda: ask(url, "up"), lambda found: found == ["0"], seconds=60)
    eventually(lambda: ask(url, "sum(requests_total)"), lambda found: found == [])
    runs.answer(step(run, "stop_it"), actor=make_actor(team), decision="done")
    eventually(lambda: worked(run), lambda found: found["service_gone"] in ("inconclusive", "error", "pass"))

    found = {name: step(run, name) for name in TOLD}
    assert step(run, "works").verdict == "pass"
    assert {name: (row.verdict, row.reason) for name, row in found.items()} == {
        name: told[:2] for name, told in TOLD.items()
    }
    page = signed_in(make_user("sam", team=team)).get(f"/runs/{run.uuid}").content.decode()
    for name, (_, _, words) in TOLD.items():
        assert words in page, name
