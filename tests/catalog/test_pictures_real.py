"""Pictures of a real Prometheus' answers: a value, nothing, no number, a refusal, and silence are told apart."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from catalog import pictures
from catalog.models import Service, Team
from catalog.pictures import Window
from common import clock, http
from tests import servers
from tests.factories import make_connection, make_service, make_signal
from tests.journeys import target as targets
from tests.journeys.product import eventually

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

QUERIES = {
    "requests": "sum(requests_total)",
    "teapots": 'sum(requests_total{code="418"})',
    "error_rate": targets.ERROR_RATE,
    "refused": "sum(requests_total",
    "by_code": "requests_total",
}


def test_each_answer_is_kept_for_what_it_is(team: Team, tmp_path: Path) -> None:
    service = make_service(team, slug="shop")
    with targets.running(tmp_path) as target, servers.prometheus(tmp_path, target=target.address) as url:
        target.control(per_second=0)
        http.allow(url)
        connection = make_connection(team, "metrics", url=url, scrape_seconds=1)
        for name, query in QUERIES.items():
            make_signal(service, name, query, connection=connection)
        eventually(lambda: _value(url, targets.ERROR_RATE), lambda found: found == ["NaN"], seconds=60)
        # The newest point of the grid must not lie before the first scrape.
        eventually(lambda: _states(service), lambda found: found["error_rate"] == "not_a_number", seconds=40)
        assert _states(service) == {
            "requests": "ok",
            "teapots": "empty",
            "error_rate": "not_a_number",
            "refused": "failed",
            "by_code": "many_series",
        }
        kept = service.pictures.get(name="requests").values
    found = _states(service)
    assert set(found.values()) == {"failed"}
    assert [value for value in service.pictures.get(name="requests").values if value is not None] == [
        value for value in kept if value is not None
    ]
    http.forget(url)


def _states(service: Service) -> dict[str, str]:
    now = clock.now()
    pictures.take(service, Window("", now - timedelta(minutes=10), now), now=now)
    return dict(service.pictures.values_list("name", "state"))


def _value(url: str, query: str) -> list[str]:
    answer = httpx2.get(f"{url}/api/v1/query", params={"query": query}, timeout=60).json()
    return [row["value"][1] for row in answer["data"]["result"]]
