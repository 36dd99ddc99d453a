"""A watch of a Prometheus after an outage: each sample is measured as things were when it was due (case 20)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalog.models import Team
from incidents.models import Evidence
from runbooks.models import Sample
from tests.factories import make_actor, make_incident
from tests.factories_checks import make_measured
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.prometheus import Fake, fake_prometheus

pytestmark = pytest.mark.django_db
HEAD = "inputs:\n  service: {type: string}\n"
STEPS = """
  verify:
    - id: holds
      check: metric.query
      with: {signal: accuracy, window: 10m}
      pass_if: value >= 0.9
      max_age: 1m
      watch: {every: 1h, for: 6h, max_fails: 1}
"""


@pytest.fixture
def prometheus() -> Iterator[Fake]:
    with fake_prometheus() as fake:
        yield fake


def test_it_asks_prometheus_for_each_time_that_was_due(prometheus: Fake, moved_clock: Any) -> None:
    service = make_measured(prometheus.url, query="q")
    team: Team = service.team
    opened = moved_clock.time
    # It was bad at the third hour only, and there was nothing at the fifth; now all is well.
    values = {3: 0.5, 5: None}
    prometheus.answers.line("q", lambda at: values.get(round((at - opened.timestamp()) / 3600), 0.95))
    run = start(
        make_runbook(team, STEPS, head=HEAD), make_actor(team), team, make_incident(team, service), service="rag-chat"
    )
    moved_clock.forward(hours=6.5)
    pump()
    samples = list(Sample.objects.order_by("k"))
    assert [(row.verdict, row.value) for row in samples] == [
        ("pass", 0.95),
        ("pass", 0.95),
        ("fail", 0.5),
        ("pass", 0.95),
        ("inconclusive", None),
        ("pass", 0.95),
    ]
    looked = Evidence.objects.filter(kind="sample").order_by("number")
    assert [row.window_to for row in looked] == [opened + timedelta(hours=k) for k in range(1, 7)]
    assert (states(run)["holds"], step(run, "holds").reason) == ("pass", "")
