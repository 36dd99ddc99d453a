"""The whole journey on real servers: Prometheus sees errors, Alertmanager tells, a person approves in Chromium.

Nothing here is ours but Backstop, run by `manage.py up --no-demo`, and the scraped service with its flag.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import browser as browsers
from tests import servers
from tests.journeys import target as targets
from tests.journeys.product import Product, eventually

pytestmark = [pytest.mark.real, pytest.mark.browser, pytest.mark.slow]

RULES = f"""\
groups:
  - name: assistant
    interval: 1s
    rules:
      - alert: AssistantErrors
        expr: {targets.ERROR_RATE} > 0.05
        for: 2s
        labels: {{severity: critical, service: assistant, kind: errors}}
        annotations: {{summary: The assistant fails on more than 5 % of requests}}
"""
RUNBOOK = """\
spec: 1
id: assistant_errors
title: Errors after a new version
incident_type: other
owner: team:default
triggers:
  - alert: alert.status == 'firing' and alert.labels.kind == 'errors'
inputs:
  service: {type: string, from: alert.labels.service, pattern: "[a-z]{1,20}", description: Which service fails}
hypotheses:
  bad_version:
    title: The serving version fails
    prior: 1
    evidence:
      errors_now: {fail: 3, pass: -3}
      traffic: {pass: 1}
  no_traffic:
    title: Nobody reaches the service
    evidence:
      traffic: {fail: 4, pass: -2}
phases:
  check:
    - id: traffic
      name: Do requests arrive at all?
      check: metric.query
      with: {connection: metrics, query: "sum(rate(requests_total[10s]))", unit: 1/s}
      pass_if: value > 1
  measure:
    - id: errors_now
      name: Do more than five percent fail?
      check: metric.query
      with: {signal: error_rate, window: 5m}
      fail_if: value > 0.05
      pass_if: value <= 0.05
  remediate:
    - id: roll_back
      name: Let the previous version serve again
      if: diagnosis.top == 'bad_version'
      action: model.rollback
      with: {to: previous}
      risk: high
      lock: "service:{{ inputs.service }}"
      approval: {from: [role:oncall], timeout: 30m, message: "Roll {{ inputs.service }} back?"}
      irreversible: A later deployment may bring v2 back.
  verify:
    - id: settle
      name: Let new traffic arrive
      wait: 15s
    - id: errors_gone
      name: Are the errors gone?
      check: metric.query
      with: {signal: error_rate, window: 5m}
      pass_if: value < 0.01
"""


@pytest.fixture
def target(tmp_path: Path) -> Iterator[targets.Target]:
    with targets.running(tmp_path) as running:
        yield running


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def product(tmp_path: Path, target: targets.Target) -> Iterator[Product]:
    """Backstop with its service and runbook from files, and the address of the Prometheus that is still to start."""
    for name, text in (("services/assistant.yaml", targets.SERVICE), ("runbooks/assistant_errors.yaml", RUNBOOK)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    made = Product(
        tmp_path,
        outbound=[target.url, f"http://127.0.0.1:{servers.free_port()}"],
        BACKSTOP_SERVICES_DIR=str(tmp_path / "services"),
        BACKSTOP_RUNBOOKS_DIR=str(tmp_path / "runbooks"),
    )
    made.start()
    yield made
    made.close()


def sign_in(browser: Browser, product: Product) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(30_000)
    page.goto(product.login_link())
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{product.url}/")
    return page


def set_up(product: Product, target: targets.Target, page: Page) -> None:
    """What a new operator does: read why the service was not used, make its connections, start again."""
    eventually(product.said, lambda said: "Not used " in said and "assistant.yaml" in said)
    prometheus = product.env["BACKSTOP_OUTBOUND_ALLOW"].split(",")[1]
    for slug, connector, config in (
        ("metrics", "prometheus", {"url": prometheus, "scrape_seconds": 1}),
        ("flags", "flag", {"url": target.url}),
    ):
        page.goto(f"{product.url}/connections/new")
        page.get_by_label("Connector").select_option(connector)
        page.get_by_role("textbox", name="Name").fill(slug)
        page.get_by_role("textbox", name="Settings").fill(json.dumps(config))
        page.get_by_role("button", name="Keep it").click()
        expect(page).to_have_url(f"{product.url}/connections/default/{slug}")
    assert product.stop() == 0
    product.start()
    assert product.api("services/assistant")["signals"][0]["connection"] == "metrics"


def approve(product: Product, page: Page) -> None:
    """From the incident to the exact change, and yes."""
    page.goto(f"{product.url}/incidents/1")
    page.get_by_role("link", name="Look and decide").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Roll back assistant: v2 → v1")
    page.get_by_role("textbox", name="Type v1 to confirm").fill("v1")
    page.get_by_role("button", name="Approve", exact=True).click()
    # The page stays and follows what becomes of it.
    expect(page.get_by_text("Approved by admin")).to_be_visible()
    expect(page.get_by_text("Confirmed", exact=True).first).to_be_visible()


def test_an_alert_of_real_servers_becomes_a_cured_service_and_a_draft(
    product: Product, target: targets.Target, chromium: Browser, tmp_path: Path
) -> None:
    page = sign_in(chromium, product)
    set_up(product, target, page)
    port = int(product.env["BACKSTOP_OUTBOUND_ALLOW"].rpartition(":")[2])
    with (
        servers.alertmanager(tmp_path, webhook=product.endpoint()) as alertmanager,
        servers.prometheus(tmp_path, target=target.address, alertmanager=alertmanager, rules=RULES, port=port),
    ):
        target.control(error_rates={"v2": 0.4})

        # The alert opens the incident and starts the run, whose checks read what Prometheus measured.
        run = eventually(product.run, lambda run: any(step["approval"] for step in run.get("steps", [])), seconds=150)
        steps = {step["id"]: step for step in run["steps"]}
        assert (run["runbook"], run["started_by"], run["service"]) == ("assistant_errors", "alert", "assistant")
        assert (steps["traffic"]["verdict"], steps["errors_now"]["verdict"]) == ("pass", "fail")
        assert 0.05 < steps["errors_now"]["value"] <= 0.41
        assert 20 < steps["traffic"]["value"] < 80
        assert run["diagnosis"]["top"] == "bad_version"
        incident = product.api("incidents/1")
        assert incident["title"] == "The assistant fails on more than 5 % of requests"
        assert target.counts()["changes"] == 0

        approve(product, page)
        watching = page.context.new_page()
        watching.goto(f"{product.url}/runs/{run['id']}")
        run = eventually(product.run, lambda run: run["state"] == "finished", seconds=150)
        assert run["outcome"] == "resolved", run["steps"]
        assert {name: count for name, count in target.counts().items() if name != "errors"} == {
            "model": "v1",
            "puts": 1,
            "changes": 1,
        }
        expect(watching.get_by_text("Resolved", exact=True).first).to_be_visible()
        eventually(lambda: product.api("alerts")["items"], lambda rows: [r["status"] for r in rows] == ["resolved"])

    # One click drafts the postmortem, with every step in it.
    page.goto(f"{product.url}/incidents/1")
    page.get_by_role("button", name="Draft it from the timeline").click()
    expect(page).to_have_url(f"{product.url}/postmortems/1")
    draft = product.api("postmortems/1")["body"]
    for step in run["steps"]:
        # An action is told by what it did.
        words = "Rolled back assistant: v2 → v1" if step["id"] == "roll_back" else step["name"].rstrip("?")
        assert words in draft, f"{step['id']} is not in the draft"

    told = [entry["text"] for entry in product.timeline()]
    assert len([text for text in told if text.startswith("Rolled back assistant: v2 → v1")]) == 1
    assert any("approved: Roll back assistant: v2 → v1" in text for text in told)
    product.manage("timeline", "verify")
    assert len(product.api("incidents")["items"]) == 1
    assert product.stop() == 0
