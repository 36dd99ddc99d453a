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
RUNBOOK = """spec: 1
id: by_hand
title: By hand
incident_type: other
owner: team:default
phases:
  check:
    - {id: look, manual: How bad is it, fields: {grade: {type: integer}}}
  remediate:
    - id: tell
      action: notify.send
      with: {text: It is looked after}
      approval: {from: [role:oncall], timeout: 20m}
    - id: tell_again
      action: notify.send
      with: {text: It is looked after still}
      approval: {from: [role:oncall], timeout: 20m}
"""


@pytest.fixture
def page(session: BrowserContext) -> Iterator[Page]:
    """A page of that person."""
    opened = session.new_page()
    yield opened
    opened.close()


def declare(bare_api: httpx2.Client, notes: int = 0) -> int:
    """An incident with some notes; gives its number."""
    made = bare_api.post("/incidents", json={"title": "Answers got worse", "severity": 2, "team": "default"})
    assert made.status_code == 201, made.text
    number = int(made.json()["number"])
    tell(bare_api, number, notes, "earlier")
    return number


def tell(bare_api: httpx2.Client, number: int, times: int, word: str) -> None:
    """So many further entries on its timeline."""
    for time in range(1, times + 1):
        answer = bare_api.post(f"/incidents/{number}/note", json={"text": f"{word} {time}"})
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
    page: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api, notes=12)
    heard = browsers.complaints(page)
    page.goto(f"{bare.base}/incidents/{number}/timeline")
    note = page.get_by_label("Note", exact=True)
    note.type(HALF)
    for _ in range(3):
        note.press("ArrowLeft")
    page.evaluate("scrollTo(0, 90)")
    before = state_of(page)
    tell(bare_api, number, 20, "event")
    expect(page.locator("#timeline")).to_contain_text("event 20")
    assert state_of(page) == before
    assert (before["text"], before["caret"], before["scroll"]) == (HALF, [len(HALF) - 3] * 2, 90)
    assert heard == []


def test_what_somebody_reads_does_not_move(page: Page, bare: browsers.Up, bare_api: httpx2.Client) -> None:
    number = declare(bare_api, notes=40)
    page.goto(f"{bare.base}/incidents/{number}/timeline")
    read = page.locator("#timeline li", has_text="earlier 9").first
    read.scroll_into_view_if_needed()
    before = read.bounding_box()
    tell(bare_api, number, 20, "event")
    expect(page.locator("#timeline")).to_contain_text("event 20")
    after = read.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 3


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", browsers.PHONE), ("dark", browsers.DESK)], ids=["phone-light", "desk-dark"]
)
def test_every_page_fits_and_complains_of_nothing(
    chromium: Browser, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client, scheme: Any, size: Any
) -> None:
    number = declare(bare_api, notes=1)
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
        page.goto(f"{bare.base}/{place}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            too_wide.append(place)
    context.close()
    assert (too_wide, heard) == ([], [])


# --- without JavaScript ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def scriptless(chromium: Browser, bare: browsers.Up) -> Iterator[Page]:
    """The only page of a person whose browser runs no script."""
    context = browsers.signed_in(chromium, bare, java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


def press(page: Page, name: str) -> None:
    """Press the button of that name on the page itself."""
    page.locator("main").get_by_role("button", name=name, exact=True).first.click()


def reloaded(page: Page, *, until: str) -> None:
    """Read the page again until it says so: without a script nothing comes by itself."""
    for _ in range(60):
        if until in page.locator("main").inner_text():
            return
        page.wait_for_timeout(500)
        page.reload()
    raise AssertionError(f"{page.url} never said {until!r}")


def test_an_incident_is_worked_on_without_javascript(scriptless: Page, bare: browsers.Up) -> None:
    page = scriptless
    page.goto(f"{bare.base}/incidents/new")
    page.get_by_label("What is wrong").fill("Declared without a script")
    press(page, "Declare")
    page.get_by_label("Note", exact=True).fill("Written without a script")
    press(page, "Write it down")
    expect(page.locator("#timeline")).to_contain_text("Written without a script")
    press(page, "Acknowledge")
    expect(page.locator("main")).to_contain_text("acknowledged")


def test_a_run_is_started_answered_and_decided_without_javascript(
    scriptless: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    page, number = scriptless, declare(bare_api)
    page.goto(f"{bare.base}/runbooks/new")
    page.get_by_label("YAML").fill(RUNBOOK)
    press(page, "Keep as a new revision")
    page.get_by_role("link", name="Look at it").click()
    press(page, "Publish: new runs use it")
    page.goto(f"{bare.base}/runbooks/by_hand")
    page.get_by_label("Incident").select_option(str(number))
    press(page, "Start")
    reloaded(page, until="How bad is it")
    run = page.url
    page.get_by_label("grade").fill("7")
    press(page, "Done")
    for button, became in (("Approve", "Approved by"), ("Reject", "Rejected by")):
        page.goto(run)
        reloaded(page, until="Look and decide")
        page.locator("main").get_by_role("link", name="Look and decide").click()
        if button == "Reject":
            page.get_by_label("Why not").fill("Once is enough")
        press(page, button)
        expect(page.locator("main")).to_contain_text(became)
    steps = {step["id"]: step for step in bare_api.get(f"/runs/{run.rpartition('/')[2]}").json()["steps"]}
    assert steps["look"]["result"]["grade"] == 7, steps["look"]
    assert steps["tell_again"]["state"] == "settled"


def test_an_endpoint_is_made_and_tried_without_javascript(
    scriptless: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    page = scriptless
    page.goto(f"{bare.base}/endpoints/new")
    page.get_by_label("Name").fill("Made without a script")
    press(page, "Make it")
    press(page, "Send a test alert")
    reloaded(page, until="In our words")
    assert bare_api.get("/deliveries?status=processed").json()["items"][0]["endpoint"] == "Made without a script"


def test_a_postmortem_is_drafted_and_saved_without_javascript(
    scriptless: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    page, number = scriptless, declare(bare_api, notes=1)
    assert bare_api.post(f"/incidents/{number}/mitigate", json={"note": "It is over"}).status_code == 200
    page.goto(f"{bare.base}/incidents/{number}")
    press(page, "Draft it from the timeline")
    page.goto(f"{bare.base}/postmortems/{number}/edit")
    page.get_by_label("Text").fill("# Over\n\nKept without a script")
    press(page, "Save")
    expect(page.locator("main")).to_contain_text("Kept without a script")
    assert bare_api.get(f"/postmortems/{number}").json()["body"] == "# Over\n\nKept without a script\n"


# --- how it looks ----------------------------------------------------------------------------------------------------
def test_a_chosen_theme_is_there_before_the_first_paint(session: BrowserContext, bare: browsers.Up) -> None:
    page = session.new_page()
    page.goto(f"{bare.base}/account")
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


def test_the_focus_of_the_keyboard_is_visible(page: Page, bare: browsers.Up) -> None:
    page.goto(f"{bare.base}/incidents")
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
