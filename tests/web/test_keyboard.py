"""The whole journey twice: by keys alone, and without a script: home, incident, note, run, approval, postmortem."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from playwright.sync_api import TimeoutError as TappedTooLate

from tests import browser as browsers

pytestmark = [pytest.mark.browser, pytest.mark.slow]
RUNBOOK = """spec: 1
id: {slug}
title: {title}
incident_type: other
owner: team:default
phases:
  remediate:
    - id: tell
      action: notify.send
      with: {{text: It is looked after}}
      approval: {{from: [role:oncall], timeout: 20m}}
"""


@pytest.fixture
def page(session: BrowserContext) -> Iterator[Page]:
    """A page of that person."""
    opened = session.new_page()
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


def publish(page: Page, up: browsers.Up, slug: str, title: str) -> None:
    """A runbook that asks for one approval."""
    page.goto(f"{up.base}/runbooks/new")
    page.get_by_role("textbox", name="YAML").click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(RUNBOOK.format(slug=slug, title=title))
    page.get_by_role("button", name="Keep as a new revision").click()
    page.get_by_role("link", name="Look at it").click()
    page.get_by_role("button", name="Publish: new runs use it").click()


def declare(api: httpx2.Client, title: str) -> int:
    """An incident; gives its number."""
    made = api.post("/incidents", json={"title": title, "severity": 2, "team": "default"})
    return int(made.json()["number"])


def tab_to(page: Page, role: str, name: str, *, within: str = "main") -> None:
    """Press Tab until that control has the focus, as somebody without a mouse does."""
    wanted = page.locator(within).get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type]
    wanted.wait_for()
    for _ in range(120):
        if wanted.evaluate("it => it === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab never reached {role} {name!r} on {page.url}")


def test_the_journey_by_keys_alone(page: Page, bare: browsers.Up, bare_api: httpx2.Client) -> None:
    publish(page, bare, "by_keys", "Tell by keys")
    number = declare(bare_api, "Walked by keys")
    keys = page.keyboard
    page.goto(bare.base)
    # The newest incident is not first on the first page when graver ones are open: the list is in order of number.
    keys.press("g")
    keys.press("i")
    page.wait_for_url("**/incidents")
    keys.press("j")
    assert f"INC-{number}" in str(page.evaluate("document.activeElement.innerText"))
    keys.press("Enter")
    page.wait_for_url(f"**/incidents/{number}")
    # It brings a page; before its answer the old one may show what became of it, and keys in between reach neither.
    with page.expect_event("load"):
        keys.press("a")
    expect(page.locator("main")).to_contain_text("acknowledged")
    keys.press("n")
    keys.type("Keys a, n and g are typed here")
    tab_to(page, "button", "Write it down")
    keys.press("Enter")
    expect(page.locator("#timeline")).to_contain_text("Keys a, n and g are typed here")
    page.evaluate("document.activeElement.blur()")
    keys.press("s")
    expect(page.get_by_role("button", name="Set the severity")).to_be_visible()
    keys.press("r")
    page.wait_for_url(f"**/incidents/{number}/runs")
    keys.press("Control+k")
    keys.type("tell by keys")
    link = page.locator("[data-palette] a", has_text="Tell by keys")
    link.wait_for()
    keys.press("ArrowDown")
    keys.press("Enter")
    page.wait_for_url("**/runbooks/by_keys")
    tab_to(page, "combobox", "Incident optional")
    keys.type(f"INC-{number}")
    tab_to(page, "button", "Start")
    keys.press("Enter")
    page.wait_for_url("**/runs/**")
    page.get_by_role("link", name="Look and decide").first.wait_for()
    keys.press("o")
    page.wait_for_url("**/approvals/**")
    tab_to(page, "button", "Approve")
    keys.press("Enter")
    expect(page.locator("main")).to_contain_text("Approved by")
    expect(page.locator("main")).to_contain_text("Confirmed")
    assert bare_api.post(f"/incidents/{number}/mitigate", json={"note": "It is over"}).status_code == 200
    page.evaluate("document.activeElement.blur()")
    keys.press("g")
    keys.press("p")
    page.wait_for_url("**/postmortems")
    for _ in range(30):
        keys.press("j")
        if f"INC-{number}" in str(page.evaluate("document.activeElement.innerText")):
            break
    keys.press("Enter")
    page.wait_for_url(f"**/postmortems/{number}")
    tab_to(page, "button", "Draft it from the timeline")
    keys.press("Enter")
    expect(page.locator("main")).to_contain_text("Walked by keys")
    assert "Keys a, n and g are typed here" in bare_api.get(f"/postmortems/{number}").json()["body"]


def test_keys_rest_while_one_types_and_where_they_are_switched_off(
    page: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    number = declare(bare_api, "Typed about")
    page.goto(f"{bare.base}/incidents/{number}")
    page.keyboard.press("/")
    field = page.locator(".top [data-search]")
    expect(field).to_be_focused()
    page.keyboard.type("gi?a")
    expect(field).to_have_value("gi?a")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.evaluate("document.body.dataset.shortcuts = 'off'")
    page.keyboard.press("a")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert bare_api.get(f"/incidents/{number}").json()["state"] == "open"


def test_a_number_typed_into_the_search_goes_there(page: Page, bare: browsers.Up, bare_api: httpx2.Client) -> None:
    number = declare(bare_api, "Found by its number")
    page.goto(f"{bare.base}/runbooks")
    page.keyboard.press("/")
    page.keyboard.type(f"inc-{number}")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/incidents/{number}")


def test_a_decision_on_an_old_page_asks_first_and_a_second_tap_shows_the_first_result(
    page: Page, session: BrowserContext, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    publish(page, bare, "by_two", "Tell by two")
    started = bare_api.post("/runs", json={"runbook": "by_two", "incident": declare(bare_api, "Decided twice")})
    page.goto(f"{bare.base}/runs/{started.json()['id']}")
    page.get_by_role("link", name="Look and decide").first.click()
    page.wait_for_url("**/approvals/**")
    second = session.new_page()
    second.route("**/live/**", lambda route: route.abort())
    second.clock.install()
    second.goto(page.url)
    session.set_offline(True)
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_role("button", name="Not sent: no network. Tap again")).to_be_visible()
    session.set_offline(False)
    page.get_by_role("button", name="Not sent: no network. Tap again").click()
    expect(page.locator("main")).to_contain_text("Approved by")
    # The other page is old by now: its button asks, and shows what has become of it.
    second.clock.fast_forward(20_000)
    # It may have asked by itself and taken the button away, before the tap or under it.
    with suppress(TappedTooLate):
        second.get_by_role("button", name="Approve", exact=True).click(timeout=2_000)
    expect(second.locator("main")).to_contain_text("Approved by")
    expect(second.get_by_role("button", name="Approve", exact=True)).to_be_hidden()
    second.close()


# --- without JavaScript ----------------------------------------------------------------------------------------------
def press(page: Page, name: str) -> None:
    """Press the button of that name on the page itself."""
    page.locator("main").get_by_role("button", name=name, exact=True).first.click()


def follow(page: Page, name: str) -> None:
    """Follow the link of that name once the page has it; without a script it must be asked for again."""
    link = page.locator("main").get_by_role("link", name=name).first
    for _ in range(60):
        if link.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    link.click()


def test_the_journey_without_a_script(
    chromium: Browser, page: Page, bare: browsers.Up, bare_api: httpx2.Client
) -> None:
    publish(page, bare, "by_forms", "Tell by forms")
    number = declare(bare_api, "Walked without a script")
    context = browsers.signed_in(chromium, bare, java_script_enabled=False)
    plain = context.new_page()
    plain.set_default_timeout(20_000)
    plain.goto(bare.base)
    follow(plain, "All incidents")
    follow(plain, f"INC-{number}")
    press(plain, "Acknowledge")
    plain.get_by_label("Note", exact=True).fill("Written without a script")
    press(plain, "Write it down")
    expect(plain.locator("main")).to_contain_text("Written without a script")
    plain.locator(".top").get_by_role("searchbox").fill("tell by forms")
    plain.keyboard.press("Enter")
    follow(plain, "Tell by forms")
    plain.get_by_label("Incident").select_option(str(number))
    press(plain, "Start")
    follow(plain, "Look and decide")
    press(plain, "Approve")
    expect(plain.locator("main")).to_contain_text("Approved by")
    assert bare_api.post(f"/incidents/{number}/mitigate", json={"note": "It is over"}).status_code == 200
    plain.goto(f"{bare.base}/postmortems")
    follow(plain, f"INC-{number}")
    press(plain, "Draft it from the timeline")
    expect(plain.locator("main")).to_contain_text("Walked without a script")
    context.close()
