"""Two clicks on Approve are one decision (A8), in real Chromium: a double click, and one click in each of two tabs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from catalog import people
from catalog.models import Team
from runbooks.models import ApprovalRequest, Decision, Effect, Run
from tests import browser as browsers
from tests.factories import make_actor, make_incident, make_user
from tests.factories_runbooks import make_runbook, pump, start, states

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]
STEPS = """
  remediate:
    - id: tell
      action: notify.send
      with: {text: The model is rolled back}
      approval: {from: [role:oncall], timeout: 20m}
"""


@pytest.fixture
def run(team: Team) -> Run:
    """A run that waits for approval."""
    run = start(make_runbook(team, STEPS), make_actor(team), team, make_incident(team))
    pump()
    return run


@pytest.fixture
def sam(live_server: LiveServer, team: Team) -> Iterator[BrowserContext]:
    """The browser of somebody on call, signed in."""
    link = people.new_login_link(make_user("sam", team=team))
    with browsers.chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{live_server.url}/login/link/{link}")
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{live_server.url}/")
        yield context


def ask(sam: BrowserContext, live_server: LiveServer) -> Page:
    """The approval in a tab of its own."""
    page = sam.new_page()
    page.goto(f"{live_server.url}/approvals/{ApprovalRequest.objects.get().uuid}")
    return page


def assert_decided_once(run: Run) -> None:
    assert [row.approve for row in Decision.objects.all()] == [True]
    pump()
    assert states(run) == {"tell": "pass"}
    assert [row.times_sent for row in Effect.objects.all()] == [1]


def test_a_double_click_is_one_decision(live_server: LiveServer, sam: BrowserContext, run: Run) -> None:
    page = ask(sam, live_server)
    page.get_by_role("button", name="Approve", exact=True).dblclick()
    expect(page.get_by_text("Approved by sam")).to_be_visible()
    assert_decided_once(run)


def test_a_click_in_a_second_tab_shows_the_first_result(live_server: LiveServer, sam: BrowserContext, run: Run) -> None:
    # Without its script the second tab does not notice what the first one did.
    first = ask(sam, live_server)
    sam.route("**/js/*.js", lambda route: route.abort())
    second = ask(sam, live_server)
    first.get_by_role("button", name="Approve", exact=True).click()
    expect(first.get_by_text("Approved by sam")).to_be_visible()
    second.get_by_role("button", name="Approve", exact=True).click()
    expect(second.get_by_text("Approved by sam")).to_be_visible()
    assert_decided_once(run)
