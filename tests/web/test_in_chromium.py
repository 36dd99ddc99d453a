"""What only a browser shows: nothing half typed is lost, no page is refused anything, forms need no JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import browser as browsers

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HALF = "Looks like the retri"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Up]:
    """The product without its demo."""
    with browsers.up(tmp_path_factory.mktemp("up"), "--no-demo") as started:
        yield started


@pytest.fixture(scope="module")
def api(running: browsers.Up) -> Iterator[httpx2.Client]:
    """Somebody else at work on the same incidents, by the API."""
    headers = {"Authorization": f"Bearer {running.token()}"}
    with httpx2.Client(base_url=f"{running.base}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser."""
    with browsers.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def session(chromium: Browser, running: browsers.Up) -> BrowserContext:
    """One person, signed in."""
    return browsers.signed_in(chromium, running)


@pytest.fixture
def page(session: BrowserContext) -> Iterator[Page]:
    """A page of that person."""
    opened = session.new_page()
    yield opened
    opened.close()


def declare(api: httpx2.Client, notes: int = 0) -> int:
    """An incident with some notes; gives its number."""
    made = api.post("/incidents", json={"title": "Answers got worse", "severity": 2, "team": "default"})
    assert made.status_code == 201, made.text
    number = int(made.json()["number"])
    tell(api, number, notes, "earlier")
    return number


def tell(api: httpx2.Client, number: int, times: int, word: str) -> None:
    """So many further entries on its timeline."""
    for time in range(1, times + 1):
        answer = api.post(f"/incidents/{number}/note", json={"text": f"{word} {time}"})
        assert answer.status_code < 300, answer.text


def state_of(page: Page) -> dict[str, Any]:
    """What a person would miss: the focused field, its text and caret, and where the page stands."""
    found: dict[str, Any] = page.evaluate(
        """() => { const it = document.activeElement; return {
            id: it.id, text: it.value, caret: [it.selectionStart, it.selectionEnd],
            scroll: Math.round(scrollY), top: Math.round(it.getBoundingClientRect().top) } }"""
    )
    return found


def test_a_half_typed_note_stays_while_twenty_events_arrive(
    page: Page, running: browsers.Up, api: httpx2.Client
) -> None:
    number = declare(api, notes=12)
    heard = browsers.complaints(page)
    page.goto(f"{running.base}/incidents/{number}")
    note = page.get_by_label("Note", exact=True)
    note.type(HALF)
    for _ in range(3):
        note.press("ArrowLeft")
    page.evaluate("scrollTo(0, 90)")
    before = state_of(page)
    tell(api, number, 20, "event")
    expect(page.locator("#timeline")).to_contain_text("event 20", timeout=30_000)
    assert state_of(page) == before
    assert (before["text"], before["caret"], before["scroll"]) == (HALF, [len(HALF) - 3] * 2, 90)
    assert heard == []


def test_what_somebody_reads_does_not_move(page: Page, running: browsers.Up, api: httpx2.Client) -> None:
    number = declare(api, notes=40)
    page.goto(f"{running.base}/incidents/{number}")
    read = page.locator("#timeline li", has_text="earlier 9").first
    read.scroll_into_view_if_needed()
    before = read.bounding_box()
    tell(api, number, 20, "event")
    expect(page.locator("#timeline")).to_contain_text("event 20", timeout=30_000)
    after = read.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [browsers.PHONE, browsers.DESK], ids=["phone", "desk"])
def test_every_page_fits_and_complains_of_nothing(
    chromium: Browser, session: BrowserContext, running: browsers.Up, api: httpx2.Client, scheme: Any, size: Any
) -> None:
    number = declare(api, notes=1)
    context = chromium.new_context(viewport=size, color_scheme=scheme, storage_state=session.storage_state())
    page = context.new_page()
    heard = browsers.complaints(page)
    places = [
        "", "incidents", f"incidents/{number}", "incidents/new", "runs", "runbooks", "runbooks/accuracy_drop",
        "runbooks/accuracy_drop/edit", "services", "evaluation-sets", "endpoints", "endpoints/new", "connections",
        "people", "postmortems", "actions", "account", "guide",
    ]  # fmt: skip
    too_wide = []
    for place in places:
        page.goto(f"{running.base}/{place}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            too_wide.append(place)
    context.close()
    assert (too_wide, heard) == ([], [])


def test_forms_work_without_javascript(chromium: Browser, running: browsers.Up) -> None:
    context = browsers.signed_in(chromium, running, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{running.base}/incidents/new")
    page.get_by_label("What is wrong").fill("Declared without a script")
    page.get_by_role("button", name="Declare").click()
    page.get_by_label("Note", exact=True).fill("Written without a script")
    page.get_by_role("button", name="Write it down").click()
    expect(page.locator("#timeline")).to_contain_text("Written without a script")
    page.locator("main").get_by_role("button", name="Acknowledge").click()
    expect(page.locator("main")).to_contain_text("acknowledged")
    context.close()


def test_a_chosen_theme_is_there_before_the_first_paint(session: BrowserContext, running: browsers.Up) -> None:
    page = session.new_page()
    page.goto(f"{running.base}/account")
    page.evaluate("localStorage.setItem('theme', 'dark')")
    # The page is looked at when its body begins to be read: nothing has been painted yet.
    page.add_init_script(
        "new MutationObserver((_, it) => { if (!document.body) return; it.disconnect();"
        " window.early = getComputedStyle(document.documentElement).colorScheme;"
        " }).observe(document, {childList: true, subtree: true})"
    )
    page.reload()
    assert page.evaluate("window.early") == "dark"
    page.evaluate("localStorage.removeItem('theme')")
    page.close()


def test_the_focus_of_the_keyboard_is_visible(page: Page, running: browsers.Up) -> None:
    page.goto(f"{running.base}/incidents")
    faint = []
    for _ in range(25):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return [document.activeElement.outerHTML.slice(0, 80), s.outlineStyle, parseFloat(s.outlineWidth)] })()"
        )
        if outline[1] == "none" or outline[2] < 2:
            faint.append(outline)
    assert faint == []
