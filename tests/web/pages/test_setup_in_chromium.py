"""In a browser: a runbook is written with its faults underlined, and a team is set up to its first incident."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import browser as browsers

pytestmark = [pytest.mark.browser, pytest.mark.slow]
BOOK = """spec: 1
id: written_here
title: Written in a browser
incident_type: other
owner: team:default
phases:
  check:
    - {id: look, name: Is it slow?, check: metric.query, with: {signal: latency}, fail_if: value > 5}
"""
FAULTY = BOOK.replace("metric.query", "metric.qeury")


def write(page: Page, text: str) -> None:
    """Replace the text in the editor."""
    page.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    paste(page, text)


def paste(page: Page, text: str) -> None:
    """Put a text in place of what is selected, as from the clipboard."""
    page.locator(".cm-content").evaluate(
        """(content, text) => {
          const data = new DataTransfer();
          data.setData("text/plain", text);
          content.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def written(page: Page) -> str:
    return str(page.locator("textarea[name=text]").evaluate("area => area.value"))


def test_a_fault_is_underlined_where_it_is_and_what_is_typed_survives(
    bare: browsers.Up, session: BrowserContext
) -> None:
    page = session.new_page()
    complaints = browsers.complaints(page)
    page.goto(f"{bare.base}/runbooks/new")
    expect(page.get_by_text("Nothing to object to.")).to_be_visible()
    write(page, FAULTY)
    expect(page.locator(".cm-lintRange-error")).to_have_text("metric.qeury")
    finding = page.locator(".finding.is-error")
    expect(finding).to_contain_text("line 8, column")
    expect(finding).to_contain_text('Did you mean "metric.query"?')
    expect(page.get_by_text("On this device since")).to_be_visible()
    page.reload()
    expect(page.get_by_text("What you had typed is back.")).to_be_visible()
    assert written(page) == FAULTY
    finding.get_by_role("link", name="line 8").click()
    paste(page, "metric.query")
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)
    assert written(page) == BOOK
    page.keyboard.press("Control+s")
    page.wait_for_url(f"{bare.base}/runbooks/written_here")
    page.goto(f"{bare.base}/runbooks/written_here/edit")
    expect(page.get_by_text("What you had typed is back.")).to_have_count(0)
    assert written(page) == BOOK
    assert complaints == []
    page.close()


def test_without_javascript_the_editor_is_a_textarea_that_checks(
    bare: browsers.Up, session: BrowserContext, chromium: Browser
) -> None:
    plain = chromium.new_context(java_script_enabled=False, storage_state=session.storage_state())
    page = plain.new_page()
    page.goto(f"{bare.base}/runbooks/new")
    page.get_by_label("YAML").fill(FAULTY)
    page.get_by_role("button", name="Check only").click()
    expect(page.locator(".finding.is-error")).to_contain_text("line 8, column")
    expect(page.get_by_label("YAML")).to_have_value(FAULTY)
    page.get_by_label("YAML").fill(BOOK.replace("written_here", "written_plainly"))
    page.get_by_role("button", name="Keep as a new revision").click()
    page.wait_for_url(f"{bare.base}/runbooks/written_plainly")
    plain.close()


def test_it_leads_from_nothing_to_a_first_incident(bare: browsers.Up, session: BrowserContext) -> None:
    page, live = session.new_page(), session.new_page()
    live.goto(f"{bare.base}/how-it-runs")
    page.goto(f"{bare.base}/teams/new")
    page.get_by_label("Name").fill("Walkers")
    page.get_by_label("In addresses").fill("walkers")
    page.get_by_role("button", name="Make it").click()

    def steps() -> Page:
        page.goto(f"{bare.base}/setup?team=walkers")
        return page

    steps().get_by_role("link", name="Connect Prometheus").click()
    (bare.folder / "walk-flags.json").write_text('{"model": {"value": "v1", "version": 1}}')
    page.get_by_label("Connector").select_option("file_flag")
    page.get_by_role("textbox", name="Settings").fill('{"path": "walk-flags.json"}')
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Check now").click()
    expect(steps().locator("#step-connection")).to_have_class("is-done")
    page.get_by_role("link", name="Describe one").click()
    page.get_by_label("Team").select_option("walkers")
    write(page, "spec: 1\nservice: walk\ntitel: Walking\n")
    expect(page.locator(".cm-lintRange-error").first).to_be_visible()
    write(page, "spec: 1\nservice: walk\ntitle: Walking\n")
    expect(page.get_by_text("Nothing to object to.")).to_be_visible()
    page.get_by_role("button", name="Load it").click()
    expect(page.get_by_role("heading", name="Walking")).to_be_visible()
    steps().get_by_role("link", name="Make one").click()
    page.get_by_label("Name", exact=True).fill("Walk alerts")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator("[data-copy-source]").first).to_contain_text("/hooks/alertmanager/")
    steps().get_by_role("button", name="Send it").click()
    opened = page.get_by_role("link", name=re.compile(r"Open INC-\d+"))
    opened.click()
    expect(page).to_have_url(re.compile(r"/incidents/\d+$"))
    expect(live.get_by_text("Delivery to Walk alerts").first).to_be_visible()
    assert "is-done" in str(steps().locator("#step-alert").get_attribute("class"))
    expect(page.locator("#step-address")).to_have_class("is-next")
    expect(page.get_by_text("5 of 6 done")).to_be_visible()
    page.close()
    live.close()
