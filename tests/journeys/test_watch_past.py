"""A watch whose samples fell due while nothing was running, made up for from a real Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from catalog.models import Team
from common import http
from runbooks.models import Sample
from tests import servers
from tests.factories import make_actor, make_connection
from tests.factories_runbooks import make_runbook, pump, start, states
from tests.journeys import target as targets
from tests.journeys.product import eventually

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

STEPS = """
  verify:
    - id: grows
      check: metric.query
      with: {connection: metrics, query: "sum(requests_total)", window: 30s}
      pass_if: value >= 0
      watch: {every: 6s, for: 18s}
"""


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[str]:
    """A Prometheus that scrapes a service whose traffic goes on."""
    with targets.running(tmp_path) as target, servers.prometheus(tmp_path, target=target.address) as url:
        target.control(per_second=20)
        http.allow(url)
        eventually(lambda: ask(url, time.time()) or 0, lambda found: found > 0, seconds=60)
        yield url
        http.forget(url)


def ask(url: str, at: float) -> float | None:
    """What the counter was at a time."""
    answer = httpx2.get(f"{url}/api/v1/query", params={"query": "sum(requests_total)", "time": at}, timeout=60).json()
    rows = answer["data"]["result"]
    return float(rows[0]["value"][1]) if rows else None


def test_each_sample_is_what_was_measured_when_it_was_due(team: Team, metrics: str) -> None:
    make_connection(team, "metrics", url=metrics)
    run = start(make_runbook(team, STEPS), make_actor(team), team)
    # Nobody ticks meanwhile: the engine is away for the whole watch, and the counter goes on.
    time.sleep(19)
    pump()
    samples = list(Sample.objects.order_by("k"))
    assert (states(run)["grows"], [row.verdict for row in samples]) == ("pass", ["pass"] * 3)
    assert [row.value for row in samples] == [ask(metrics, row.due_at.timestamp()) for row in samples]
    assert len({row.value for row in samples}) == 3
