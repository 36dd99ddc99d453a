"""Charts in a browser: uPlot in both themes and sizes, the server's drawing without JavaScript, kept through morphs."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import browser as browsers
from tests import servers
from tests.browser import DESK, PHONE
from tests.web.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.usefixtures("demo")]

# How many pixels of the first canvas have the colour of a token. A thin line between two columns of pixels is half
# transparent in both: where it falls depends on the moment.
COUNT = """(token) => {
  const canvas = document.querySelector('.plot canvas');
  const shown = getComputedStyle(document.documentElement).getPropertyValue(token).trim();
  const wanted = shown.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let found = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] > 60 && wanted.every((part, n) => Math.abs(data[i + n] - part) < 12)) found += 1;
  }
  return found;
}"""


def opened(browser: Browser, demo: Demo, path: str, **options: Any) -> Page:
    """The page once its signals were read: at the first look they are asked for."""
    page = browsers.signed_in(browser, demo.up, **options).new_page()
    page.goto(demo.up.base + path)
    expect(page.locator("[data-chart]").first).to_be_attached()
    return page


@pytest.mark.parametrize(("theme", "size"), [("light", PHONE), ("dark", DESK)], ids=["phone-light", "desk-dark"])
def test_it_is_drawn_in_both_themes_and_sizes(chromium: Browser, demo: Demo, theme: str, size: Any) -> None:
    page = opened(chromium, demo, "/services/rag-chat", viewport=size, color_scheme=theme)
    found = browsers.complaints(page)
    page.reload()
    expect(page.locator(".plot canvas").first).to_be_visible()
    expect(page.locator("svg.chart").first).to_be_hidden()
    # Before any pixel is read: Chromium itself warns of reading them twice.
    assert found == []
    # The onset is a thin dashed line.
    for token, least in (("--ink", 100), ("--line", 100), ("--fail", 5)):
        assert page.evaluate(COUNT, token) > least, token
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.context.close()


def test_it_follows_the_theme_at_once(chromium: Browser, demo: Demo) -> None:
    page = opened(chromium, demo, f"/incidents/{demo.incident}", color_scheme="light")
    expect(page.locator(".plot canvas").first).to_be_visible()
    canvas = page.locator(".plot canvas").first.element_handle()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    servers.wait_until(lambda: page.evaluate(COUNT, "--ink") > 20, seconds=60)
    assert page.evaluate("(canvas) => canvas.isConnected", canvas)
    page.context.close()


def test_the_cursor_tells_the_value_and_stays_through_a_refresh(chromium: Browser, demo: Demo) -> None:
    page = opened(chromium, demo, f"/incidents/{demo.incident}")
    plot = page.locator(".plot").first
    over = plot.locator(".u-over")
    over.hover(position={"x": 200, "y": 60})
    expect(plot.locator(".readout")).to_contain_text("ratio")
    canvas = plot.locator("canvas").element_handle()
    with page.expect_response(lambda answer: "/signals/part" in answer.url):
        page.evaluate("document.body.dispatchEvent(new Event('bump'))")
    page.wait_for_timeout(300)
    expect(plot.locator(".readout")).to_be_visible()
    assert page.evaluate("(canvas) => canvas.isConnected", canvas)
    page.context.close()


def test_the_keyboard_walks_along_the_line(chromium: Browser, demo: Demo) -> None:
    page = opened(chromium, demo, f"/incidents/{demo.incident}")
    plot = page.locator(".plot").first
    plot.focus()
    page.keyboard.press("ArrowLeft")
    readout = plot.locator(".readout")
    expect(readout).to_be_visible()
    before = readout.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(before)
    page.keyboard.press("Escape")
    expect(readout).to_be_hidden()
    page.context.close()


def test_without_javascript_the_drawing_stands(chromium: Browser, demo: Demo) -> None:
    opened(chromium, demo, "/services/rag-chat").context.close()
    page = browsers.signed_in(chromium, demo.up, java_script_enabled=False, viewport=PHONE).new_page()
    page.goto(f"{demo.up.base}/services/rag-chat")
    chart = page.locator("svg.chart").first
    expect(chart).to_be_visible()
    expect(chart).to_have_attribute(
        "aria-label", page.locator("[data-chart]").first.get_attribute("data-chart-label") or ""
    )
    box = chart.bounding_box()
    assert box is not None
    assert box["height"] == 120
    # The reader's zone is not known without a script, so it says whose time it tells, within the page.
    word = chart.get_by_text("UTC", exact=True)
    expect(word).to_be_visible()
    place = word.bounding_box()
    assert place is not None
    assert place["x"] + place["width"] <= PHONE["width"]
    page.get_by_text("Table").first.click()
    expect(page.locator(".figure-foot table").first).to_be_visible()
    page.context.close()
