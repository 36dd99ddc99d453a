"""The run's page in a browser, at both sizes: each field of a run and of a step, opened in place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, expect

from tests.browser import DESK, PHONE
from tests.web.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", params=[PHONE, DESK], ids=["phone", "desk"])
def page(request: pytest.FixtureRequest, demo: Demo, chromium: Browser, demo_state: StorageState) -> Iterator[Page]:
    """The run that waits for an approval."""
    size: ViewportSize = request.param
    context = chromium.new_context(storage_state=demo_state, viewport=size)
    opened = context.new_page()
    opened.goto(f"{demo.up.base}/runs/{demo.run}")
    yield opened
    context.close()


def is_phone(page: Page) -> bool:
    return bool(page.viewport_size and page.viewport_size["width"] < 768)


def test_it_begins_with_what_it_waits_for(page: Page) -> None:
    ask = page.get_by_role("region", name="Waits for you")
    expect(ask).to_contain_text("Roll back rag-chat: v43 → v42, 100 % of traffic, flag chat-model")
    button = ask.get_by_role("link", name="Look and decide").bounding_box()
    assert button is not None
    assert button["height"] >= 48
    assert button["y"] + button["height"] <= 740 - 60, "above the fold, also on a phone with its bar"


def test_its_head_says_which_revision_and_its_side_why_and_until_when(page: Page) -> None:
    head = page.locator("header.head")
    expect(head).to_contain_text("accuracy_drop_demo@1")
    expect(head).to_contain_text("rag-chat")
    box = head.bounding_box()
    assert box is not None
    assert box["height"] <= 96
    about = page.get_by_role("region", name="About")
    for said in ("the newest", "by alert", "its trigger matched: alert.status", "Deadline", "Lock", "holds none"):
        expect(about).to_contain_text(said)
    expect(page.get_by_role("region", name="Inputs")).to_contain_text("from alert.labels.service")


def test_its_rail_has_five_phases_with_counts(page: Page) -> None:
    phases = page.get_by_role("list", name="Phases").locator("> li")
    assert [text.split()[0] for text in phases.all_inner_texts()] == [
        "Check", "Measure", "Triage", "Remediate", "Verify",
    ]  # fmt: skip
    expect(phases.nth(2)).to_contain_text("2 of 2")
    expect(phases.nth(2)).to_contain_text("Problem found")
    expect(phases.nth(3)).to_have_attribute("aria-current", "step")


def test_only_the_step_that_waits_is_tinted(page: Page) -> None:
    assert page.locator(".step.is-waiting").count() == 1
    expect(page.locator(".step.is-waiting")).to_contain_text("Let the previous version serve again")
    plain = page.locator(".step:not(.is-waiting)").first
    assert plain.evaluate("row => getComputedStyle(row).backgroundColor") == "rgba(0, 0, 0, 0)"


def test_a_step_is_a_row_with_its_answer(page: Page) -> None:
    row = page.locator("#serving_vs_previous-0")
    expect(row.locator("summary .mark").first).to_have_text("Problem found")
    expect(row.locator(".question")).to_have_text(
        "Is the serving version worse than the previous one on the same questions?"
    )
    number = row.locator(".answer b").first
    assert number.inner_text().startswith("−0.")
    assert row.locator(".answer .interval-text").inner_text().startswith("[−0.")
    expect(row.locator(".answer")).to_contain_text("n = 300")
    measured = page.locator("#accuracy_now-0 .measures")
    expect(measured).to_contain_text("window")
    bar = row.locator("progress.took-bar")
    if is_phone(page):
        expect(bar).to_be_hidden()
    else:
        box = bar.bounding_box()
        assert box is not None
        assert round(box["width"]) == 64
    expect(page.locator("#read_failures-0 .answer")).to_contain_text("Not needed: diagnosis.top == 'unknown' is false.")


def test_it_opens_in_place(page: Page) -> None:
    row = page.locator("#serving_vs_previous-0")
    row.locator("summary").first.click()
    card = row.locator("article.evidence")
    expect(card).to_be_visible()
    for said in ("limit", "sha256"):
        expect(card).to_contain_text(said)
    card.get_by_text("Query", exact=True).click()
    expect(card.get_by_role("button", name="Copy")).to_be_visible()
    card.get_by_text("Raw result").click()
    expect(card.locator("pre").last).to_contain_text("old_score")
    assert card.locator("table tbody tr").count() > 1
    row.get_by_text("Log, ").click()
    expect(row.locator("ol.log")).to_contain_text("settled fail")
    expect(row.get_by_role("columnheader", name="Worker")).to_be_visible()
    row.locator("summary").first.click()


def test_verbs_stand_with_what_they_do(page: Page) -> None:
    control = page.get_by_role("region", name="Control")
    expect(control.get_by_role("button", name="Pause")).to_be_visible()
    expect(control).to_contain_text("Nothing new starts")
    assert page.locator("#accuracy_now-0").get_by_role("button", name="Run again").count() == 0, "its phase is over"
    waiting = page.locator("#roll_back-0")
    waiting.get_by_text("Skip this step").click()
    expect(waiting).to_contain_text("Counts as skipped, with your reason on the timeline")


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
