"""Live without loss, in a browser that is cut off, asleep, signed out or left by its server: nothing typed is lost."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import browser as browsers
from tests.web.pages.test_postmortem_in_chromium import drafted, settled, write

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HALF = "Looks like the retri"
SHIFTS = (
    "window.shifts = []; new PerformanceObserver(list => list.getEntries().forEach(one => window.shifts.push("
    "[one.value, ...one.sources.map(s => s.node?.outerHTML?.slice(0, 80) ?? s.node?.textContent)])))"
    ".observe({type: 'layout-shift', buffered: false})"
)


@pytest.fixture
def page(session: BrowserContext) -> Iterator[Page]:
    """A page of that person."""
    opened = session.new_page()
    yield opened
    session.set_offline(False)
    opened.close()


def declare(api: httpx2.Client, title: str = "Answers got worse", notes: int = 0) -> int:
    """An incident with some notes; gives its number."""
    made = api.post("/incidents", json={"title": title, "severity": 2, "team": "default"})
    assert made.status_code == 201, made.text
    number = int(made.json()["number"])
    tell(api, number, *(f"earlier {time}" for time in range(1, notes + 1)))
    return number


def tell(api: httpx2.Client, number: int, *texts: str) -> None:
    """Further notes, by somebody else."""
    for text in texts:
        assert api.post(f"/incidents/{number}/note", json={"text": text}).status_code < 300


def opened(page: Page, up: browsers.Up, number: int) -> None:
    """The page of the incident, listening."""
    with page.expect_response("**/live/**"):
        page.goto(f"{up.base}/incidents/{number}")


def test_cut_off_it_says_since_when_and_catches_up(
    page: Page, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api)
    opened(page, bare, number)
    ink = page.locator("main h1").evaluate("it => getComputedStyle(it).color")
    session.set_offline(True)
    notice = page.locator("[data-notice]")
    expect(notice).to_have_text(re.compile(r"as of \d\d:\d\d:\d\d UTC · reconnecting"))
    assert page.locator("main h1").evaluate("it => getComputedStyle(it).color") != ink, "old values step back"
    tell(bare_api, number, "told meanwhile")
    session.set_offline(False)
    expect(page.locator("#timeline")).to_contain_text("told meanwhile")
    expect(notice).to_be_hidden()
    assert page.locator("main h1").evaluate("it => getComputedStyle(it).color") == ink


def test_a_button_says_that_nothing_was_sent_without_a_network(
    page: Page, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    opened(page, bare, declare(bare_api))
    session.set_offline(True)
    acknowledge = page.locator("main form[action$='/acknowledge'] button").first
    acknowledge.click()
    expect(acknowledge).to_have_text("Not sent: no network. Tap again")
    session.set_offline(False)
    acknowledge.click()
    expect(page.locator("main")).to_contain_text("acknowledged")


def test_what_came_while_one_reads_elsewhere_waits_behind_a_pill(
    page: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api, notes=40)
    opened(page, bare, number)
    page.locator("#timeline li", has_text="earlier 3").last.scroll_into_view_if_needed()
    page.evaluate(SHIFTS)
    tell(bare_api, number, "news 1", "news 2", "news 3")
    pill = page.locator("[data-pill]")
    # What was told of the incident meanwhile may be a fourth.
    expect(pill).to_contain_text(re.compile("[34] new"))
    assert page.evaluate("window.shifts") == [], "what is read does not move"
    pill.click()
    expect(page.locator("#timeline li", has_text="news 1").last).to_be_in_viewport()
    expect(pill).to_be_hidden()


def test_nothing_moves_while_parts_are_fetched_anew(
    page: Page, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api, notes=3)
    page.set_viewport_size(browsers.PHONE)
    opened(page, bare, number)
    page.wait_for_timeout(600)
    page.evaluate(SHIFTS)
    tell(bare_api, number, *(f"event {time}" for time in range(5)))
    expect(page.locator("#timeline")).to_contain_text("event 4")
    session.set_offline(True)
    expect(page.locator("[data-notice]")).to_be_visible()
    session.set_offline(False)
    expect(page.locator("[data-notice]")).to_be_hidden()
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifts") == []


def test_a_phone_that_slept_fetches_everything_anew(page: Page, bare: browsers.Up, bare_api: httpx2.Client) -> None:
    number = declare(bare_api)
    page.clock.install()
    opened(page, bare, number)
    with page.expect_response(f"**/incidents/{number}/**") as anew:
        page.clock.fast_forward("05:00")
    assert anew.value.ok
    expect(page.locator("[data-notice]")).to_be_hidden()


def test_a_connection_that_nobody_said_was_dead_is_noticed(
    page: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api)
    # A stream that opens and then tells nothing, as one does whose other end has gone.
    page.add_init_script("window.EventSource = class extends EventTarget { close() {} }")
    page.clock.install()
    page.goto(f"{bare.base}/incidents/{number}")
    tell(bare_api, number, "told to a dead connection")
    page.clock.run_for(50_000)
    expect(page.locator("#timeline")).to_contain_text("told to a dead connection")


def test_where_streams_do_not_get_through_it_asks(page: Page, bare: browsers.Up, bare_api: httpx2.Client) -> None:
    number = declare(bare_api)
    page.route("**/live/**", lambda route: route.abort())
    page.goto(f"{bare.base}/incidents/{number}")
    tell(bare_api, number, "told by asking")
    expect(page.locator("#timeline")).to_contain_text("told by asking")
    expect(page.locator("[data-notice]")).to_be_hidden()


def test_signed_out_elsewhere_it_says_so_and_keeps_what_is_typed(
    chromium: Browser, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api)
    context = browsers.signed_in(chromium, bare)
    page = context.new_page()
    opened(page, bare, number)
    page.get_by_label("Note", exact=True).type(HALF)
    session = context.cookies()
    context.clear_cookies()
    page.evaluate("window.dispatchEvent(new Event('online'))")
    notice = page.locator("[data-notice]")
    expect(notice).to_contain_text("You are signed out")
    link = notice.get_by_role("link", name="Sign in and come back")
    assert str(link.get_attribute("href")) == f"/login?next=%2Fincidents%2F{number}"
    expect(page.get_by_label("Note", exact=True)).to_have_value(HALF)
    link.click()
    page.wait_for_url("**/login**")
    context.add_cookies(session)  # type: ignore[arg-type]  # what it gave, it takes
    page.goto(f"{bare.base}/incidents/{number}")
    expect(page.get_by_label("Note", exact=True)).to_have_value(HALF)
    context.close()


def test_a_page_of_before_a_release_says_so_quietly(page: Page, bare: browsers.Up, bare_api: httpx2.Client) -> None:
    opened(page, bare, declare(bare_api))
    page.get_by_label("Note", exact=True).type(HALF)
    page.evaluate("document.body.dataset.release = 'of before'; window.dispatchEvent(new Event('online'))")
    notice = page.locator("[data-notice]")
    expect(notice).to_contain_text("Backstop was updated")
    notice.get_by_role("link", name="Load it anew").click()
    expect(notice).to_be_hidden()
    expect(page.get_by_label("Note", exact=True)).to_have_value(HALF)


def test_lists_and_the_first_page_are_live_too(
    page: Page, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    home = session.new_page()
    for tab, place in ((page, "incidents"), (home, "")):
        with tab.expect_response("**/live/**"):
            tab.goto(f"{bare.base}/{place}")
    declare(bare_api, "Declared while lists are open")
    for tab in (page, home):
        expect(tab.locator("main")).to_contain_text("Declared while lists are open")
    home.close()


def test_a_server_killed_and_started_under_open_pages_is_no_loss(chromium: Browser, tmp_path: Path) -> None:
    with browsers.up(tmp_path, "--no-demo") as first:
        headers = {"Authorization": f"Bearer {first.token()}"}
        with httpx2.Client(base_url=f"{first.base}/api/v1", headers=headers, timeout=30) as api:
            number = declare(api)
            session = browsers.signed_in(chromium, first)
            page, section = session.new_page(), Section(session.new_page(), first, api)
            opened(page, first, number)
            page.get_by_label("Note", exact=True).type(HALF)
            page.evaluate("window.sameDocument = true")
            section.types(" While it died")
            os.killpg(first.process.pid, signal.SIGKILL)
            first.process.wait()
            section.types(" and while it was gone.")
            expect(page.locator("[data-notice]")).to_contain_text("reconnecting")
            section.says("Kept on this device, tried again by itself")
            port = int(first.base.rpartition(":")[2])
            with browsers.up(tmp_path, "--no-demo", port=port):
                expect(page.locator("[data-notice]")).to_be_hidden()
                section.says(re.compile(r"saved \d\d:\d\d:\d\d UTC"))
                section.types(" And after.")
                tell(api, number, "told by the second server")
                expect(page.locator("#timeline")).to_contain_text("told by the second server")
                expect(page.get_by_label("Note", exact=True)).to_have_value(HALF)
                assert page.evaluate("window.sameDocument"), "without loading the page again"
                page.locator("form[data-note] button[type=submit]").click()
                expect(page.locator("#timeline")).to_contain_text(HALF)
                section.holds("Before. While it died and while it was gone. And after.")


class Section:
    """A section of a postmortem that somebody has open and writes in."""

    def __init__(self, page: Page, up: browsers.Up, api: httpx2.Client) -> None:
        self.page, self.api, self.number = page, api, drafted(api)
        page.goto(f"{up.base}/postmortems/{self.number}")
        page.evaluate("window.sameDocument = true")
        write(page, "Summary", "Before.")
        settled(api, self.number, "summary", "Before.", page)
        self.area = page.get_by_label("Text of Summary")

    def types(self, words: str) -> None:
        """Key by key, at the end."""
        self.area.press("Control+End")
        self.page.keyboard.type(words, delay=10)

    def says(self, words: str | re.Pattern[str]) -> None:
        """What stands below it about saving."""
        expect(self.page.locator("#s-summary [data-told]")).to_contain_text(words)

    def holds(self, words: str) -> None:
        """On the page, which was never loaded anew, and in the database; nothing of it is left on the device."""
        settled(self.api, self.number, "summary", words, self.page)
        expect(self.area).to_have_value(words)
        expect(self.page.locator("[data-notice]")).to_be_hidden()
        assert self.page.evaluate("window.sameDocument")
        self.area.press("Control+Enter")
        expect(self.page.locator("#s-summary .is-edited")).to_contain_text("edited by Admin")
        assert self.page.evaluate("Object.keys(localStorage).filter(name => name.includes('summary'))") == []
