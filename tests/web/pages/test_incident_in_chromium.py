"""The incident page in a browser, at both sizes: every field is in sight, and the answer is above the fold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import browser as browsers
from tests.web.conftest import Demo

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIZES = {"phone": browsers.PHONE, "desk": browsers.DESK}
TABS = ["Now", "Timeline", "Signals", "Runs", "People", "Postmortem"]


@pytest.fixture(scope="module")
def at_demo(chromium: Browser, demo: Demo) -> BrowserContext:
    """One person, signed in to the demo."""
    return browsers.signed_in(chromium, demo.up)


@pytest.fixture(scope="module")
def at_bare(chromium: Browser, bare: browsers.Up) -> BrowserContext:
    """One person, signed in to the product without its demo."""
    return browsers.signed_in(chromium, bare)


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, at_demo: BrowserContext, demo: Demo) -> Iterator[Page]:
    """The demo's incident that waits for an approval, on a phone and on a desk."""
    opened = at_demo.new_page()
    opened.set_viewport_size(SIZES[request.param])
    opened.goto(f"{demo.up.base}/incidents/{demo.incident}")
    yield opened
    opened.close()


def is_phone(page: Page) -> bool:
    """Whether it is the small one."""
    return page.viewport_size == browsers.PHONE


def bottom_of(page: Page, selector: str) -> float:
    """Where an element ends on the screen."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box["y"] + box["height"]


def test_the_head_tells_all_and_stays(page: Page, demo: Demo) -> None:
    head = page.locator(".incident-head")
    for said in (f"INC-{demo.incident}", "SEV1 critical", "Open", re.compile(r"T\+\d\d:\d\d"), "rag-chat",
                 "nobody leads", re.compile("nobody has acknowledged for .+")):  # fmt: skip
        expect(head).to_contain_text(said)
    expect(head.get_by_role("link", name="rag-chat")).to_have_attribute("href", "/services/rag-chat")
    expect(page.locator(".sev-band")).to_be_in_viewport()
    box = head.bounding_box()
    assert box is not None
    assert box["height"] <= (96 if is_phone(page) else 120)
    page.evaluate("scrollTo(0, 900)")
    expect(head).to_be_in_viewport(ratio=0.9)


def test_cause_ask_and_button_are_above_the_fold(page: Page, demo: Demo) -> None:
    card = page.locator(".now")
    expect(card.locator(".sentence")).to_have_text(re.compile(r"Accuracy of rag-chat fell from \.\d+ to \.\d+"))
    expect(card).to_contain_text(re.compile(r"Likely cause: .*worse than the previous"))
    expect(card.locator(".asks")).to_contain_text("Asks whoever is on call")
    expect(card.locator(".asks")).to_contain_text("Roll back rag-chat: v43 → v42")
    expect(card.locator(".asks")).to_contain_text("until ")
    button = card.get_by_role("link", name="Look and decide")
    expect(button).to_have_attribute("href", f"/approvals/{demo.approval}")
    bar = page.locator(".incident-head .bottom").bounding_box()
    fold = bar["y"] if is_phone(page) and bar else 900
    assert bottom_of(page, ".now .cause") <= fold
    assert bottom_of(page, ".now .asks .button") <= fold


def test_the_card_tells_impact_evidence_and_course(page: Page, demo: Demo) -> None:
    card = page.locator(".now")
    for figure in ("Users", "Traffic", "Slices", "Tenants", "Cost per hour"):
        expect(card.locator(".impact")).to_contain_text(figure)
    expect(card.locator(".impact")).to_contain_text("unknown")
    expect(card.locator(".impact")).to_contain_text("measured")
    expect(card.locator(".balance").first).to_contain_text(re.compile(r"For\s*E\d+.*Against.*Not checked", re.DOTALL))
    expect(card.locator(".course")).to_contain_text("next: ")
    expect(card).not_to_contain_text("robability is")
    page.get_by_text("All possible causes by score").click()
    expect(card.get_by_role("columnheader", name="Score")).to_be_visible()


def test_below_stand_changes_runs_alerts_told_and_timeline(page: Page, demo: Demo) -> None:
    main = page.locator("main")
    first = page.locator(".ranked > li").first
    expect(first).to_contain_text(re.compile(r"v43.*before onset", re.DOTALL))
    expect(first).to_contain_text("model")
    expect(main).to_contain_text(re.compile("phase remediate"))
    expect(main).to_contain_text(re.compile(r"waiting for: .*approval", re.DOTALL))
    expect(main).to_contain_text(re.compile(r"\d of \d firing"))
    expect(main).to_contain_text("no address to tell")
    expect(main).to_contain_text("Similar incidents")
    expect(page.locator(".timeline .when").first).to_contain_text(re.compile(r"T\+\d\d:\d\d"))
    expect(page.locator(".timeline .pin.is-set").first).to_be_visible()


def test_every_tab_has_its_address_and_fits(page: Page, demo: Demo) -> None:
    heard = browsers.complaints(page)
    for name in TABS:
        page.get_by_role("navigation", name="Parts of").get_by_role("link", name=name).click()
        end = "" if name == "Now" else f"/{name.lower()}"
        page.wait_for_url(f"{demo.up.base}/incidents/{demo.incident}{end}")
        expect(page.locator(".tabs [aria-current]")).to_have_text(name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        expect(page.locator(".incident-head h1")).to_be_visible()
    assert heard == []


def test_the_tabs_tell_what_they_are_for(page: Page, demo: Demo) -> None:
    told = {
        "signals": ["Firing", "first ", "last ", "raw", "5 labels", "Changes in 72 hours"],
        "runs": [
            "Waits for a person",
            "asks whoever is on call",
            "phase remediate",
            "Problem found",
            "Start a runbook",
        ],
        "people": ["Leads nobody", "by nobody", "On call", "Known", "Ruled out", "Running", "Next", "Nobody reached"],
        "postmortem": ["48 hours", "Closing needs a published postmortem", "Action items", "same service"],
    }
    for name, words in told.items():
        page.goto(f"{demo.up.base}/incidents/{demo.incident}/{name}")
        text = " ".join(page.locator("main").inner_text().split())
        assert [word for word in words if word not in text] == [], name


def test_the_phones_bar_acts(at_demo: BrowserContext, demo: Demo) -> None:
    page = at_demo.new_page()
    page.set_viewport_size(browsers.PHONE)
    page.goto(f"{demo.up.base}/incidents/{demo.incident}/people")
    bar = page.get_by_role("navigation", name="Actions on")
    expect(bar.get_by_role("button", name="Acknowledge")).to_be_visible()
    expect(bar.get_by_role("link", name="Approve")).to_have_attribute("href", f"/approvals/{demo.approval}")
    for place in bar.locator("a:visible, button:visible, summary").all():
        box = place.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    bar.get_by_text("More").click()
    expect(bar.get_by_role("link", name="Resolve")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(f"{demo.up.base}/incidents/{demo.incident}/people")
    bar.get_by_role("link", name="Note").click()
    expect(page.get_by_label("Note", exact=True)).to_be_focused()
    page.close()


@pytest.mark.parametrize("size", SIZES)
def test_the_layout_holds_whatever_it_is_called(
    at_bare: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client, size: str
) -> None:
    zalgo = "Z̸̢̛͙͚̹̎a̶̡͝l̵̨͘g̷̛͜o̴͜͝" * 8
    titles = ["Wort" * 125, "‮שלום " + "עולם" * 60, zalgo, "a " * 240]
    page = at_bare.new_page()
    page.set_viewport_size(SIZES[size])
    for title in titles:
        body: dict[str, Any] = {"title": title[:500], "severity": 1, "team": "default", "summary": title[:400]}
        number = int(bare_api.post("/incidents", json=body).json()["number"])
        bare_api.post(f"/incidents/{number}/note", json={"text": title})
        figure = {"basis": "estimate", "value": title[:110].replace(",", " "), "reason": title[:400]}
        assert bare_api.put(f"/incidents/{number}/impact/slices", json=figure).status_code == 200
        for place in ("", "/timeline", "/people"):
            page.goto(f"{bare.base}/incidents/{number}{place}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (title[:20], place)
            box = page.locator(".incident-head").bounding_box()
            assert box is not None
            assert box["height"] <= 120
            expect(page.locator(".incident-head")).to_contain_text("service unknown")
    page.close()


def test_a_star_and_a_figure_are_set_by_hand(
    at_bare: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    made = bare_api.post("/incidents", json={"title": "Costs doubled", "severity": 3, "team": "default"})
    number = int(made.json()["number"])
    bare_api.post(f"/incidents/{number}/note", json={"text": "the batch job"})
    page = at_bare.new_page()
    page.goto(f"{bare.base}/incidents/{number}/timeline")
    row = page.locator(".timeline > li.is-note")
    row.get_by_role("button", name="Make it a key moment").click()
    expect(row.get_by_role("button", name="Take the star away")).to_be_visible()
    page.goto(f"{bare.base}/incidents/{number}")
    page.get_by_text("Set a figure of the impact").click()
    page.get_by_label("Figure").select_option("cost")
    page.get_by_label("Value").fill("240 EUR")
    page.locator(".impact-form").get_by_label("How do you know").fill("the bill")
    page.get_by_role("button", name="Set it").click()
    expect(page.locator(".impact")).to_contain_text("240 EUR estimate")
    assert bare_api.get(f"/incidents/{number}/impact").json()["items"][4]["words"] == "240 EUR"
    page.close()
