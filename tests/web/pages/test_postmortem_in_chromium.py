"""The postmortem editor in Chromium: its fields, two people at once, and that no word is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect

from tests import browser as browsers

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIZES = pytest.mark.parametrize("size", [browsers.PHONE, browsers.DESK], ids=["phone", "desk"])
OTHER = "second-writer"


@pytest.fixture
def page(session: BrowserContext) -> Iterator[Page]:
    """A page of that person, without what an earlier test left on the device."""
    opened = session.new_page()
    yield opened
    opened.close(run_before_unload=False)


@pytest.fixture(scope="module")
def other(chromium: Browser, bare: browsers.Up, session: BrowserContext) -> BrowserContext:
    """Somebody else of the team, in a browser of their own."""
    page = session.new_page()
    page.goto(f"{bare.base}/people/new")
    page.get_by_label("User name").fill(OTHER)
    page.get_by_label("E-mail").fill(f"{OTHER}@example.com")
    page.get_by_label("responder").check()
    page.locator("main form button[type=submit]").last.click()
    page.close()
    link = re.findall(r"/login/link/\S+", bare.command("login_link", "--user", OTHER))[0]
    context = chromium.new_context(viewport=browsers.DESK)
    signing = context.new_page()
    signing.goto(bare.base + link)
    signing.get_by_role("button", name="Sign in").click()
    signing.wait_for_url(bare.base + "/")
    signing.close()
    return context


def drafted(api: httpx2.Client) -> int:
    """A mitigated incident with a drafted postmortem; gives its number."""
    made = api.post("/incidents", json={"title": "Answers got worse", "severity": 2, "team": "default"})
    found = int(made.json()["number"])
    api.post(f"/incidents/{found}/note", json={"text": "The provider is slow."})
    assert api.post(f"/incidents/{found}/mitigate", json={"note": "It is over"}).status_code == 200
    item = {
        "incident": found, "title": "Add an alert on latency", "kind": "detect", "owner": "admin", "cause": 4,
        "due_on": "2099-01-31", "tracker": "https://tracker.example.com/7", "closing_check": "It rings in a drill.",
    }  # fmt: skip
    assert api.post("/action-items", json=item).status_code == 201
    assert api.post(f"/postmortems/{found}/draft").status_code == 200
    return found


@pytest.fixture
def number(bare_api: httpx2.Client) -> int:
    """One of its own for each test."""
    return drafted(bare_api)


def text_of(bare_api: httpx2.Client, number: int, key: str) -> str:
    """What the database has of a section."""
    sections = bare_api.get(f"/postmortems/{number}").json()["sections"]
    return next(str(one["text"]) for one in sections if one["key"] == key)


def write(page: Page, title: str, words: str) -> None:
    """Open a section and type."""
    page.get_by_role("button", name=f"Edit {title}").click()
    area = page.get_by_label(f"Text of {title}")
    area.fill(words)


def settled(bare_api: httpx2.Client, number: int, key: str, words: str, page: Page) -> None:
    """Wait until the words are in the database, at most five seconds."""
    for _ in range(50):
        if words in text_of(bare_api, number, key):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{words!r} is not in {text_of(bare_api, number, key)!r}")


@SIZES
def test_the_fields_of_the_editor(page: Page, bare: browsers.Up, number: int, size: ViewportSize) -> None:
    heard = browsers.complaints(page)
    page.set_viewport_size(size)
    page.goto(f"{bare.base}/postmortems/{number}")
    head = page.locator("#pm-head")
    for words in (f"INC-{number}", "SEV2", "Draft", "due", "saved", "Owner", "Reviewer", "Nobody else is here"):
        expect(head).to_contain_text(words)
    expect(page.locator("#pm-rail li")).to_have_count(17)
    expect(page.locator("#pm-rail")).to_contain_text("open questions")
    for key, told in {
        "facts": ("Impact began", "Detected", "Acknowledged", "Mitigated", "Resolved", "Verified", "Closed", "set by"),
        "impact": ("Users", "Traffic", "Cost per hour", "unknown", "How known"),
        "state": ("Before", "During", "After", "Prompt or template", "Retrieval index"),
        "whys": ("As a tree", "why it was not seen sooner", "T1"),
        "items": ("Owner", "Until", "Priority", "Cause", "Closing check", "Tracker", "why 4", "It rings"),
        "timeline": ("The provider is slow", "from evidence"),
    }.items():
        for word in told:
            expect(page.locator(f"#s-{key}")).to_contain_text(word)
    for name in ("Evidence", "Checks", "Comments", "History"):
        expect(page.locator("#pm-tabs")).to_contain_text(name)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert (head.bounding_box() or {"height": 999})["height"] <= 96
    assert heard == []


def test_what_is_typed_is_saved_by_itself_and_shown_as_edited(
    page: Page, bare: browsers.Up, bare_api: httpx2.Client, number: int
) -> None:
    page.goto(f"{bare.base}/postmortems/{number}")
    write(page, "Summary", "It fell for 412 users")
    expect(page.locator("#s-summary [data-told]")).to_contain_text("saved")
    assert text_of(bare_api, number, "summary") == "It fell for 412 users"
    area = page.get_by_label("Text of Summary")
    area.press("Alt+e")
    page.keyboard.type("T1")
    page.keyboard.press("Enter")
    expect(area).to_have_value("It fell for 412 users [T1]")
    area.press("Control+Enter")
    expect(page.locator("#s-summary .is-edited")).to_contain_text("edited by Admin")
    assert text_of(bare_api, number, "summary") == "It fell for 412 users [T1]"
    page.get_by_role("link", name="History").click()
    expect(page.locator("#pm-history li")).to_have_count(2)


def test_evidence_opens_beside_the_text_where_one_reads(page: Page, bare: browsers.Up, number: int) -> None:
    page.goto(f"{bare.base}/postmortems/{number}")
    chip = page.locator("#s-timeline a", has_text="[T1]").first
    chip.scroll_into_view_if_needed()
    before = chip.bounding_box()
    chip.click()
    expect(page.locator("#ev-T1.is-target")).to_be_in_viewport()
    assert chip.bounding_box() == before
    assert page.url.endswith(f"/postmortems/{number}")


def test_two_browsers_one_killed_and_no_word_is_lost(
    page: Page, other: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client, chromium: Browser, number: int
) -> None:
    theirs = other.new_page()
    for one in (page, theirs):
        one.goto(f"{bare.base}/postmortems/{number}")
    write(theirs, "Impact", "412 users felt it [T1].")
    expect(page.locator("#s-impact")).to_contain_text(f"{OTHER} is writing since")
    expect(page.locator("#pm-head")).to_contain_text(f"{OTHER} (writes in Impact)")
    write(page, "Summary", "Mine [T1].")
    settled(bare_api, number, "summary", "Mine", page)
    settled(bare_api, number, "impact", "412 users", page)
    # Offline, then killed: nothing is asked, nothing is flushed; what is on the device comes back.
    other.set_offline(True)
    theirs.get_by_label("Text of Impact").fill("412 users felt it [T1]. And 3 tenants.")
    expect(theirs.locator("#s-impact [data-told]")).to_contain_text("Kept on this device")
    state = other.storage_state()
    theirs.close(run_before_unload=False)
    other.set_offline(False)
    assert text_of(bare_api, number, "impact") == "412 users felt it [T1]."
    again = chromium.new_context(viewport=browsers.DESK, storage_state=state)
    back = again.new_page()
    back.goto(f"{bare.base}/postmortems/{number}")
    expect(back.get_by_label("Text of Impact")).to_have_value("412 users felt it [T1]. And 3 tenants.")
    settled(bare_api, number, "impact", "And 3 tenants.", back)
    assert text_of(bare_api, number, "summary") == "Mine [T1]."
    again.close()


def test_old_words_on_the_device_meet_new_ones_as_two_texts(
    page: Page, bare: browsers.Up, bare_api: httpx2.Client, number: int
) -> None:
    page.goto(f"{bare.base}/postmortems/{number}")
    write(page, "Summary", "First [T1].")
    settled(bare_api, number, "summary", "First", page)
    page.context.set_offline(True)
    page.get_by_label("Text of Summary").fill("Second, not saved [T1].")
    found = bare_api.get(f"/postmortems/{number}").json()
    body = found["body"].replace("First [T1].", "By a program [T1].")
    assert bare_api.put(f"/postmortems/{number}", json={"body": body, "edition": found["edition"]}).status_code == 200
    page.context.set_offline(False)
    both = page.locator("#s-summary .pm-both")
    expect(both).to_contain_text("Second, not saved")
    expect(both).to_contain_text("By a program")
    both.get_by_role("button", name="Put mine below it").click()
    settled(bare_api, number, "summary", "By a program [T1].\n\nSecond, not saved [T1].", page)


def test_a_section_is_taken_over_and_its_writer_is_told(
    page: Page, other: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client, number: int
) -> None:
    theirs = other.new_page()
    theirs.goto(f"{bare.base}/postmortems/{number}")
    write(theirs, "Summary", "Theirs [T1].")
    settled(bare_api, number, "summary", "Theirs", theirs)
    page.goto(f"{bare.base}/postmortems/{number}")
    page.locator("#s-summary").get_by_role("button", name="Take over").click()
    expect(page.get_by_label("Text of Summary")).to_have_value("Theirs [T1].")
    theirs.get_by_label("Text of Summary").fill("Theirs, and more [T1].")
    expect(theirs.locator("#s-summary [data-told]")).to_contain_text("is writing in this section")
    expect(theirs.get_by_label("Text of Summary")).to_have_value("Theirs, and more [T1].")
    assert text_of(bare_api, number, "summary") == "Theirs [T1]."
    theirs.close(run_before_unload=False)


def test_a_section_is_written_without_javascript(
    chromium: Browser, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client, number: int
) -> None:
    context = chromium.new_context(java_script_enabled=False, storage_state=session.storage_state())
    page = context.new_page()
    page.goto(f"{bare.base}/postmortems/{number}")
    page.get_by_role("button", name="Edit Summary").click()
    page.get_by_label("Text of Summary").fill("Without a script [T1].")
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#s-summary")).to_contain_text("Without a script")
    assert text_of(bare_api, number, "summary") == "Without a script [T1]."
    page.get_by_role("link", name="Comments").click()
    page.get_by_label("Comment", exact=True).fill("How was it counted?")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.locator("#pm-comments")).to_contain_text("How was it counted?")
    context.close()
