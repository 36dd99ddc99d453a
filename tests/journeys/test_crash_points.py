"""Each crash point of the code ends a real process by `os._exit` between two commits; the next start keeps the promise.

Faults F1 to F7 of the design's promises. The process is `manage.py up` on SQLite with its usual lease of 60 s; for the
classes of effects that no shipped action has, tests/fakes/effects.py adds one each.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from common.faults import POINTS
from tests.deploy import test_restore
from tests.fakes.effects import KINDS
from tests.journeys import upstream as upstreams
from tests.journeys.product import ROOT, Product, eventually
from tests.journeys.test_kill import SERVICE
from tests.journeys.upstream import Upstream

pytestmark = pytest.mark.slow
ROOMS = ("common", "catalog", "incidents", "evaluations", "runbooks", "web", "config")
KILLED = 137
HEAD = """\
spec: 1
id: {kind}
title: For {kind}
incident_type: other
owner: team:default
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == '{kind}'
inputs:
  service: {{type: string, from: alert.labels.service}}
phases:
"""
CHECK = """\
  check:
    - {id: it, check: result.test, with: {value: 1}, pass_if: value > 0}
"""
EFFECT = """\
  remediate:
    - {{id: it, action: test.{kind}}}
"""
ROLLBACK = """\
  remediate:
    - id: it
      action: model.rollback
      risk: high
      approval: {from: [role:oncall], timeout: 30m}
      irreversible: A later deployment may bring v2 back.
"""
BOOKS = {"check": CHECK, "set": ROLLBACK} | {kind: EFFECT.format(kind=kind) for kind in KINDS}

# By effect class: how often the upstream saw it happen, and what the step came to, after a crash at K2, K3 and K4.
# Nothing was sent at K2, whatever the class. At K3 and K4 nobody knows: `set` and `keyed` are repeated, which changes
# nothing a second time; `notify` may come twice; `probe` looks; `once` is never sent again by itself and asks a person.
OUTCOMES: dict[str, dict[str, set[tuple[int, str]]]] = {
    "set": {"K2": {(1, "pass")}, "K3": {(1, "pass")}, "K4": {(1, "pass")}},
    "keyed": {"K2": {(1, "pass")}, "K3": {(1, "pass")}, "K4": {(1, "pass")}},
    "notify": {"K2": {(1, "pass")}, "K3": {(1, "pass")}, "K4": {(2, "pass")}},
    "probe": {"K2": {(1, "pass")}, "K3": {(1, "pass")}, "K4": {(1, "pass")}},
    "once": {"K2": {(1, "pass")}, "K3": {(0, "unknown")}, "K4": {(1, "unknown")}},
}
CASES = {
    "W1": "test_what_was_not_committed_was_not_acknowledged",
    "W2": "test_what_was_not_committed_was_not_acknowledged",
    "W3": "test_a_retry_of_what_was_committed_is_recognised",
    "W4": "test_what_was_acknowledged_is_worked_off",
    "K1": "test_a_claimed_step_gets_a_second_attempt",
    "K2": "test_an_effect_never_happens_twice",
    "K3": "test_an_effect_never_happens_twice",
    "K4": "test_an_effect_never_happens_twice",
    "K5": "test_a_settled_step_is_not_done_again",
    "B1": "test_a_ticker_that_dies_loses_and_repeats_nothing",
    "B2": "test_a_ticker_that_dies_loses_and_repeats_nothing",
    "R1": "test_a_restore_that_was_cut_off_repeats_nothing",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with upstreams.running() as running:
        yield running


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Product:
    """A product that has a service, a runbook for each class and an endpoint, stopped: each test gets a copy."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in ("services", "runbooks"):
        (folder / name).mkdir()
    for kind, steps in BOOKS.items():
        (folder / f"runbooks/{kind}.yaml").write_text(HEAD.format(kind=kind) + steps)
    made = Product(
        folder,
        outbound=[upstream.url],
        command=[sys.executable, "-m", "tests.journeys.crashing"],
        BACKSTOP_SERVICES_DIR=str(folder / "services"),
        BACKSTOP_RUNBOOKS_DIR=str(folder / "runbooks"),
        BACKSTOP_TEST_UPSTREAM=upstream.url,
    )
    try:
        made.start()
        person = made.person()
        person.connect("metrics", "prometheus", upstream.url)
        person.connect("flags", "flag", upstream.url)
        made.endpoint()
        made.api("services")
        assert made.stop() == 0
        (folder / "services/assistant.yaml").write_text(SERVICE)
    finally:
        made.close()
    return made


@pytest.fixture
def product(prepared: Product, upstream: Upstream, tmp_path: Path) -> Iterator[Product]:
    """A copy, not started."""
    upstream.reset()
    made = prepared.copied(tmp_path)
    yield made
    made.close()


def post(product: Product, kind: str = "check") -> httpx2.Response:
    return product.post_alert("It", kind=kind, service="assistant")


def step(product: Product) -> dict[str, Any]:
    """The one step of the one run; empty while there is none."""
    one: dict[str, Any] = next(iter(product.run().get("steps", [])), {})
    return one


def settled(product: Product, *, seconds: float = 90) -> dict[str, Any]:
    """The step once it has a verdict, or waits in doubt."""
    return eventually(
        lambda: step(product), lambda one: one and (one["verdict"] or one["state"] == "unknown"), seconds=seconds
    )


def test_every_point_of_the_code_has_a_case() -> None:
    found = []
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
            named = [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == "crashpoint"]
            found += [ast.literal_eval(call.args[0]) for call in named]
    assert set(found) == set(POINTS) == set(CASES)
    assert set(CASES.values()) <= {*globals(), *vars(test_restore)}


@pytest.mark.parametrize("point", ["W1", "W2"])
def test_what_was_not_committed_was_not_acknowledged(product: Product, point: str) -> None:
    product.start(fault=point)
    with pytest.raises(httpx2.HTTPError):
        post(product)
    assert product.ended() == KILLED
    product.start()
    assert product.api("alerts")["items"] == []
    answer = post(product)
    assert (answer.status_code, answer.json().get("duplicate")) == (202, None)
    settled(product)
    assert [row["seen_count"] for row in product.api("alerts")["items"]] == [1]


def test_a_retry_of_what_was_committed_is_recognised(product: Product) -> None:
    product.start(fault="W3")
    with pytest.raises(httpx2.HTTPError):
        post(product)
    assert product.ended() == KILLED
    product.start()
    answer = post(product)
    assert (answer.status_code, answer.json()["duplicate"]) == (202, True)
    settled(product)
    assert [row["seen_count"] for row in product.api("alerts")["items"]] == [1]
    assert len(product.api("incidents")["items"]) == 1


def test_what_was_acknowledged_is_worked_off(product: Product) -> None:
    product.start(fault="W4")
    answer = post(product)
    assert answer.status_code == 202
    assert product.ended() == KILLED
    product.start()
    delivery = answer.json()["delivery"]
    eventually(lambda: product.api(f"deliveries/{delivery}")["status"], lambda status: status == "processed", every=0.1)
    assert settled(product)["verdict"] == "pass"


def test_a_claimed_step_gets_a_second_attempt(product: Product) -> None:
    product.start(fault="K1")
    assert post(product).status_code == 202
    assert product.ended() == KILLED
    product.start()
    done = settled(product, seconds=15)
    assert (done["verdict"], done["attempts"]) == ("pass", 2)


def test_a_settled_step_is_not_done_again(product: Product) -> None:
    product.start(fault="K5")
    assert post(product).status_code == 202
    assert product.ended() == KILLED
    product.start()
    run = eventually(product.run, lambda run: run.get("state") == "finished")
    assert [(one["verdict"], one["attempts"]) for one in run["steps"]] == [("pass", 1)]
    assert len([entry for entry in product.timeline() if entry["kind"] == "check"]) == 1


# It ticks once a second, so that it serves, and has taken the alert, long before it dies.
@pytest.mark.parametrize("point", ["B1:10", "B2:10"])
def test_a_ticker_that_dies_loses_and_repeats_nothing(product: Product, upstream: Upstream, point: str) -> None:
    product.start(fault=point)
    assert post(product, "keyed").status_code == 202
    assert product.ended() == KILLED
    product.start()
    assert settled(product, seconds=30)["verdict"] == "pass"
    assert (upstream.effects["keyed"], len(upstream.keys)) == (1, 1)


# The class is nothing to a worker that dies before it meant to send: of K2, two are enough for every commit.
ENOUGH = ("set", "once")
EFFECTS = [
    pytest.param(kind, point, marks=[pytest.mark.nightly] if point == "K2" and kind not in ENOUGH else [])
    for kind, points in OUTCOMES.items()
    for point in points
]


@pytest.mark.parametrize(("kind", "point"), EFFECTS)
def test_an_effect_never_happens_twice(product: Product, upstream: Upstream, kind: str, point: str) -> None:
    product.start(fault=point)
    assert post(product, kind).status_code == 202
    if kind == "set":
        run = eventually(product.run, lambda run: any(one["approval"] for one in run.get("steps", [])))
        person = product.person()
        # It may die before the answer to the click is out.
        with suppress(httpx2.HTTPError):
            person.approve(run["id"], typed="v1")
    assert product.ended() == KILLED
    product.start()
    done = settled(product, seconds=30)
    # What is never sent again by itself must not be so a little later either.
    time.sleep(3 if done["state"] == "unknown" else 0)
    times = upstream.flag_changes if kind == "set" else upstream.effects[kind]
    assert (times, done["verdict"] or done["state"]) in OUTCOMES[kind][point]
    assert len(upstream.keys) <= 1
