"""Every page fits every reader: a thumb, twice the size, no motion, paper."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState, expect

from tests import browser as browsers
from tests.web.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# Smaller than a thumb, of what can be pressed in the page and its bars; a link inside a sentence may be as high as its
# line (WCAG 2.5.8), and what surrounds a control may catch its press: a label its box.
SMALL = """() => [...document.querySelectorAll('main, .top, .bottom, .notice')].flatMap(place =>
  [...place.querySelectorAll('a[href], button, summary, select, input:not([type=hidden]), textarea')]
).filter(it => {
  if (!it.checkVisibility({visibilityProperty: true}) || it.closest('.prose, .chip, .hash, pre')) return false
  const catches = it.matches('[type=checkbox], [type=radio]') ? it.closest('label, .field') ?? it : it
  const box = catches.getBoundingClientRect()
  const around = it.closest('p, .label, dd, .quiet, td, li, .by, .when, .head-line, h1')?.textContent.trim() ?? ''
  const inSentence = it.matches('a') && /^inline(-block)?$/.test(getComputedStyle(it).display)
    && around.length > it.textContent.trim().length + 2
  return !inSentence && box.width > 0 && box.height < 43.5
}).map(it => it.outerHTML.replace(/\\s+/g, ' ').slice(0, 90) + ' ' + Math.round(it.getBoundingClientRect().height))"""


@pytest.fixture
def phone(chromium: Browser, demo_state: StorageState) -> Iterator[Page]:
    """A phone that wants no motion."""
    context = chromium.new_context(
        viewport=browsers.PHONE, storage_state=demo_state, has_touch=True, reduced_motion="reduce"
    )
    yield context.new_page()
    context.close()


def places(demo: Demo) -> list[str]:
    """One page of each kind."""
    number = demo.incident
    return [
        "", "incidents", f"incidents/{number}", f"incidents/{number}/evidence/1", "incidents/new", "runs",
        f"runs/{demo.run}", f"approvals/{demo.approval}", "runbooks", "runbooks/accuracy_drop", "runbooks/new",
        "services", "services/rag-chat", "connections", "endpoints", "endpoints/new", "people", "postmortems",
        "postmortems/1", "postmortems/1/edit", "actions", "account", "guide", "guide/keyboard", "search?q=rag",
    ]  # fmt: skip


def test_everything_that_can_be_pressed_is_as_large_as_a_thumb(phone: Page, demo: Demo) -> None:
    small = {}
    for place in places(demo):
        phone.goto(f"{demo.up.base}/{place}")
        found = phone.evaluate(SMALL)
        if found:
            small[place] = found
    assert small == {}


def test_the_buttons_of_a_decision_are_larger_still(phone: Page, demo: Demo) -> None:
    phone.goto(f"{demo.up.base}/approvals/{demo.approval}")
    for name in ("Approve", "Reject"):
        box = phone.get_by_role("button", name=name, exact=True).bounding_box()
        assert box is not None
        assert box["height"] >= 48


def test_at_twice_the_size_nothing_is_cut_off(chromium: Browser, demo: Demo, demo_state: StorageState) -> None:
    context = chromium.new_context(
        viewport={"width": 720, "height": 450}, device_scale_factor=2, storage_state=demo_state
    )
    page = context.new_page()
    wide = []
    for place in places(demo):
        page.goto(f"{demo.up.base}/{place}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(place)
    context.close()
    assert wide == []


def test_nothing_turns_for_whom_motion_makes_ill(phone: Page, demo: Demo) -> None:
    phone.goto(f"{demo.up.base}/runs/{demo.run}")
    moving = "[...document.getAnimations()].filter(it => it.playState === 'running').length"
    assert phone.evaluate(moving) == 0


def test_the_bar_of_a_phone_has_four_places_and_everything_else_behind_more(phone: Page, demo: Demo) -> None:
    phone.goto(demo.up.base)
    bar = phone.locator("nav.bottom")
    assert [" ".join(word.split()[:1]) for word in bar.locator("> * > span, summary span").all_inner_texts()] == [
        "Now", "Incidents", "Runs", "More",
    ]  # fmt: skip
    bar.get_by_text("More").tap()
    expect(bar.get_by_role("searchbox")).to_be_visible()
    zone = bar.get_by_role("button", name="Times: UTC")
    zone.tap()
    expect(bar.get_by_role("button", name="Times: Local time")).to_be_visible()
    phone.goto(f"{demo.up.base}/incidents")
    assert phone.evaluate("document.documentElement.dataset.zone") == "local", "kept for the next page"
    phone.evaluate("localStorage.removeItem('zone')")


def test_compact_rows_are_for_desks(chromium: Browser, demo: Demo, demo_state: StorageState) -> None:
    context = chromium.new_context(viewport=browsers.DESK, storage_state=demo_state)
    page = context.new_page()
    page.goto(f"{demo.up.base}/runbooks")
    row = "getComputedStyle(document.body).getPropertyValue('--row')"
    page.evaluate("document.body.dataset.rows = 'compact'")
    assert page.evaluate(row) == "28px"
    page.set_viewport_size(browsers.PHONE)
    assert page.evaluate(row) == "48px"
    context.close()


def test_on_paper_it_is_ink_on_white_with_everything_opened(
    chromium: Browser, demo: Demo, demo_state: StorageState
) -> None:
    context = chromium.new_context(viewport=browsers.DESK, storage_state=demo_state, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{demo.up.base}/runs/{demo.run}")
    page.emulate_media(media="print", color_scheme="dark")
    looks = page.evaluate(
        "['html', 'main', 'h1'].map(name => { const s = getComputedStyle(document.querySelector(name));"
        " return [s.backgroundColor, s.color] })"
    )
    assert looks[0] == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert looks[2][1] == "rgb(0, 0, 0)"
    for left_out in (".rail", "nav.bottom", ".find", "main button", "main form"):
        assert page.locator(left_out).filter(visible=True).count() == 0, left_out
    folded = "[...document.querySelectorAll('main .evidence')].filter(it => !it.checkVisibility()).length"
    assert page.locator("main .evidence").count() > 3
    assert page.evaluate(folded) == 0, "the evidence is opened"
    context.close()
