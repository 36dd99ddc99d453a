"""The approval in a browser, at both sizes: question, cause and the way to the button first; then every field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, expect

from tests.browser import DESK, PHONE
from tests.web.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module", params=[PHONE, DESK], ids=["phone", "desk"])
def page(request: pytest.FixtureRequest, demo: Demo, chromium: Browser, demo_state: StorageState) -> Iterator[Page]:
    """The request that waits."""
    size: ViewportSize = request.param
    context = chromium.new_context(storage_state=demo_state, viewport=size, timezone_id="Asia/Kolkata")
    opened = context.new_page()
    opened.goto(f"{demo.up.base}/approvals/{demo.approval}")
    yield opened
    context.close()


def bottom_of(page: Page, text: str) -> float:
    box = page.get_by_text(text).first.bounding_box()
    assert box is not None, text
    return box["y"] + box["height"]


def test_action_cause_and_the_way_to_the_button_need_no_scrolling(page: Page) -> None:
    size = page.viewport_size
    assert size is not None
    fold = size["height"] - (60 if size["width"] < 768 else 0)
    assert bottom_of(page, "Roll back rag-chat: v43 → v42, 100 % of traffic, flag chat-model") < fold
    assert bottom_of(page, "Likely cause:") < fold
    if size["width"] < 768:
        way = page.get_by_role("navigation", name="Decide").get_by_role("link", name="Approve…").bounding_box()
        assert way is not None
        assert way["y"] + way["height"] <= size["height"]
        assert way["height"] >= 48


def test_it_is_framed_and_counts_down_in_words_and_a_bar(page: Page) -> None:
    frame = page.locator(".ask-frame")
    assert frame.evaluate("it => getComputedStyle(it).borderTopWidth") == "2px"
    expect(frame.locator("[data-countdown]").first).to_contain_text("left")
    expect(frame.get_by_role("progressbar", name="Time left")).to_be_visible()
    assert frame.locator("h1").evaluate("it => getComputedStyle(it).fontSize") == "20px"


def test_each_part_answers_its_question(page: Page) -> None:
    said = {
        "why": ["v43 scores", "ago"],
        "if-you-do": [
            "Expect",
            "v42 scored",
            "Takes",
            "Touches",
            "all traffic of rag-chat",
            "Lost",
            "what v43 brought",
        ],
        "if-you-do-not": ["Lasts", "firing", "Stays at", "Accuracy fell", "Damage per hour", "unknown"],
        "checked": ["Problem found", "v42 is there", "Ready", "v42 evaluated", "n = 300", "v42 served", "until"],
        "undo": ["Let v43 serve again"],
        "who": ["0 of 1", "role:oncall", "Admin", "Expires", "UTC", "GMT+5:30"],
    }
    for part, words in said.items():
        for word in words:
            expect(page.locator(f"[data-part={part}]")).to_contain_text(word)
    assert page.locator("[data-part=why] li").count() <= 3
    expect(page.locator(".before-after")).to_contain_text("v42")


def test_its_buttons_are_big_and_apart(page: Page) -> None:
    yes = page.get_by_role("button", name="Approve", exact=True).bounding_box()
    no = page.get_by_role("button", name="Reject", exact=True).bounding_box()
    assert yes is not None
    assert no is not None
    assert min(yes["height"], no["height"]) >= 48
    apart = max(no["x"] - yes["x"] - yes["width"], no["y"] - yes["y"] - yes["height"])
    assert apart >= 32
    expect(page.locator("#id_typed")).to_be_visible()
    expect(page.locator("label[for=id_typed]")).to_have_text("Type v42 to confirm")


def test_a_wrong_target_and_a_missing_reason_decide_nothing(page: Page) -> None:
    page.locator("#id_typed").fill("v43")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("This is not v42. Nothing was applied.")).to_be_visible()
    page.get_by_role("button", name="Reject", exact=True).click()
    assert page.get_by_label("Why not").evaluate("field => field.validity.valueMissing")
    expect(page.locator(".ask-frame")).to_have_attribute("data-state", "open")


def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_same_can_be_asked_beside_the_runbook(page: Page, demo: Demo) -> None:
    page.goto(f"{demo.up.base}/incidents/{demo.incident}/act")
    page.get_by_role("link", name="Roll the model back").click()
    page.get_by_label("Why").fill("It answers nonsense.")
    page.get_by_role("button", name="See what it would change").click()
    expect(page.get_by_role("region", name="What it would change")).to_contain_text("Roll back rag-chat: v43 → v42")
    ask = page.get_by_role("button", name="Ask for approval").bounding_box()
    assert ask is not None
    assert ask["height"] >= 48
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
