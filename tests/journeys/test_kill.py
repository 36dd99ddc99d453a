"""`kill -9` at five points of the journey, and a start on the same data folder: nothing is lost or done twice.

The lease is the usual one of 60 s: on SQLite the next start knows that nobody else lives, and does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.journeys import upstream as upstreams
from tests.journeys.product import Product, eventually
from tests.journeys.upstream import Upstream

pytestmark = pytest.mark.slow
T = TypeVar("T")

SERVICE = """\
spec: 1
service: assistant
title: Assistant
default_owner: admin
signals:
  error_rate: {connection: metrics, query: error_rate, unit: ratio, worse: up}
versions:
  - {version: v2, state: serving}
  - {version: v1, state: kept}
rollback: {connection: flags, flag: model}
"""
RUNBOOK = """\
spec: 1
id: errors
title: Errors after a new version
incident_type: other
owner: team:default
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == 'errors'
inputs:
  service: {type: string, from: alert.labels.service}
concurrency: {key: "{{ inputs.service }}", when_busy: join}
phases:
  check:
    - {id: errors_now, check: metric.query, with: {signal: error_rate}, fail_if: value > 0.05, pass_if: value <= 0.05}
  remediate:
    - id: roll_back
      if: steps.errors_now.verdict == 'fail'
      action: model.rollback
      with: {to: previous}
      risk: high
      approval: {from: [role:oncall], timeout: 30m}
      irreversible: A later deployment may bring v2 back.
  verify:
    - {id: settle, wait: 5s}
    - {id: errors_gone, check: metric.query, with: {signal: error_rate}, pass_if: value < 0.01}
"""
ALERTS = 10
POINTS = ["after_ack", "mid_check", "approval_waiting", "effect_sent", "verifying"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstreams.running() as running:
        yield running


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Product:
    """A product with its connections, service, runbook and endpoint, stopped: each test gets a copy."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "files").mkdir()
    made = Product(folder, outbound=[upstream.url], BACKSTOP_SERVICES_DIR=str(folder / "files"))
    try:
        made.start()
        person = made.person()
        person.connect("metrics", "prometheus", upstream.url)
        person.connect("flags", "flag", upstream.url)
        made.endpoint()
        made.api("services")
        assert made.stop() == 0
        (folder / "files/assistant.yaml").write_text(SERVICE)
        (folder / "runbooks").mkdir()
        (folder / "runbooks/errors.yaml").write_text(RUNBOOK)
        made.env["BACKSTOP_RUNBOOKS_DIR"] = str(folder / "runbooks")
    finally:
        made.close()
    return made


@pytest.fixture
def product(prepared: Product, upstream: Upstream, tmp_path: Path) -> Iterator[Product]:
    upstream.reset()
    made = prepared.copied(tmp_path)
    made.start()
    yield made
    upstream.release()
    made.close()


class Story:
    """The journey, killed at one point; what must come next must be seen within 15 s of the new start."""

    def __init__(self, product: Product, upstream: Upstream, point: str) -> None:
        self.product, self.upstream, self.point = product, upstream, point
        self.limit = 90.0
        self.killed = 0

    def at(self, point: str) -> None:
        """Kill and start here, if this is the point."""
        if point == self.point:
            self.product.kill()
            self.upstream.release(lost=True)
            self.product.start()
            self.killed += 1
            self.limit = 15.0

    def next(self, read: Callable[[], T], true: Callable[[T], object]) -> T:
        """Wait for what comes next."""
        found = eventually(read, true, seconds=self.limit)
        self.limit = 90.0
        return found


def post_alerts(product: Product) -> list[str]:
    """Alerts that were acknowledged: the ids of their deliveries."""
    acked = []
    for number in range(ALERTS):
        answer = product.post_alert(f"Errors{number}", kind="errors", service="assistant")
        assert answer.status_code == 202
        acked.append(answer.json()["delivery"])
    return acked


def tell(story: Story, product: Product, upstream: Upstream) -> list[str]:
    """The whole journey; the deliveries that it acknowledged."""
    upstream.hold("GET", "/api/v1/query")
    acked = post_alerts(product)
    story.at("after_ack")
    if story.point != "after_ack":
        assert upstream.caught.wait(60), "no check has asked"
    story.at("mid_check")
    upstream.release()
    run = story.next(product.run, lambda run: any(step["approval"] for step in run.get("steps", [])))
    asked = next(step["approval"]["digest"] for step in run["steps"] if step["approval"])

    story.at("approval_waiting")
    run = story.next(product.run, lambda run: any(step["approval"] for step in run["steps"]))
    assert [step["approval"]["digest"] for step in run["steps"] if step["approval"]] == [asked]
    assert upstream.flag_changes == 0
    if story.point == "effect_sent":
        upstream.hold("PUT", "/flags/model", after=True)
    product.person().approve(run["id"], typed="v1")
    if story.point == "effect_sent":
        assert upstream.caught.wait(60), "nothing was sent"
    story.at("effect_sent")
    story.next(product.steps, lambda steps: steps["roll_back"] == "pass")

    story.next(product.steps, lambda steps: steps["settle"] in ("sleeping", "pass"))
    story.at("verifying")
    story.next(product.run, lambda run: run["state"] == "finished")
    return acked


@pytest.mark.parametrize("point", POINTS)
def test_the_journey_goes_on_after_kill_9(product: Product, upstream: Upstream, point: str) -> None:
    story = Story(product, upstream, point)
    acked = tell(story, product, upstream)
    assert story.killed == 1

    run = product.run()
    assert (run["outcome"], run["incident"]) == ("resolved", 1)
    assert product.steps() == {"errors_now": "fail", "roll_back": "pass", "settle": "pass", "errors_gone": "pass"}
    assert (upstream.flag_changes, upstream.model, len(upstream.keys)) == (1, "v1", 1)
    incidents = product.api("incidents")["items"]
    assert [(row["number"], row["state"]) for row in incidents] == [(1, "mitigated")]
    assert {product.api(f"deliveries/{one}")["status"] for one in acked} == {"processed"}
    alerts: list[dict[str, Any]] = product.api("alerts")["items"]
    assert [(row["incident"], row["seen_count"]) for row in alerts] == [(1, 1)] * ALERTS
    told = [entry["data"].get("step") for entry in product.timeline() if entry["kind"] in ("check", "effect")]
    assert sorted(told) == ["errors_gone", "errors_now", "roll_back", "settle"]
    product.manage("timeline", "verify")
    if point in ("mid_check", "effect_sent"):
        assert any("resumed at" in entry["text"] for entry in product.timeline())
