"""Pages full of hostile and endless text, in Chromium: nothing runs, nothing is fetched, nothing spills."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from playwright.sync_api import Browser, Page, ViewportSize

from catalog.actors import person
from incidents import lifecycle
from incidents.evidence import store
from incidents.models import Alert
from tests import browser as browsers
from tests import crawl
from tests.factories import make_incident, make_team, make_user
from tests.factories_nasty import SCRIPTS, nasty, spoil
from tests.factories_pages import frozen_pages
from tests.factories_web import signed_in
from tests.web.shelf import Shelf, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db]
# What fits a phone fits a desk, where it is looked at nightly.
SIZES = [pytest.param(browsers.PHONE, id="phone"), pytest.param(browsers.DESK, id="desk", marks=pytest.mark.nightly)]
# What is wider than the page without a bar of its own, with where it is: for whoever has to mend it.
WIDER = """() => {
  const page = document.documentElement;
  if (page.scrollWidth <= innerWidth) return [];
  const inside = (it) => { for (let at = it.parentElement; at && at !== page; at = at.parentElement)
    if (/auto|scroll|hidden|clip/.test(getComputedStyle(at).overflowX)) return true; return false };
  return [...document.querySelectorAll("body *")].filter((it) =>
    it.getBoundingClientRect().right > innerWidth + 1 && !inside(it)).slice(-2).map((it) =>
    `${it.tagName.toLowerCase()}.${it.className} in ${it.parentElement.className}: ${it.textContent.slice(0, 40)}`)
}"""


@pytest.fixture(scope="module")
def nasty_shelf(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Every kind of page, with such text wherever a person or a sender may write."""
    shelf, folder = Shelf(), tmp_path_factory.mktemp("nasty")
    with django_db_blocker.unblock(), frozen_pages(folder, slug="nasty") as pages:
        cache.clear()
        actor = person(pages.world.member)
        for number in range(len(SCRIPTS) + 4):
            lifecycle.add_note(pages.live, text=nasty(3000, number), actor=actor)
            store(incident=pages.live, kind="check", summary=nasty(900, number), verdict="fail", query="x" * 3000)
        labels = {f"label_{number}_{'y' * 90}": nasty(1000, number) for number in range(128)}
        Alert.objects.filter(pk=pages.world.alert.pk).update(labels=labels, incident=pages.live)
        assert spoil() > 50
        pages.world.member.refresh_from_db()
        shelf.fill(signed_in(pages.world.member), *pages.addresses, "/")
    return shelf


@pytest.fixture(scope="module")
def bare_shelf(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """A team that has nothing but an incident of which nothing is known."""
    shelf = Shelf()
    with django_db_blocker.unblock(), frozen_pages(tmp_path_factory.mktemp("bare")):
        cache.clear()
        team = make_team("new-team")
        incident = make_incident(team, number=7, title="Something")
        shelf.fill(signed_in(make_user("first", team=team)), f"/incidents/{incident.number}", "/")
    return shelf


def spilling(page: Page, shelf: Shelf) -> dict[str, list[str]]:
    """Kinds of pages that must be scrolled sideways, and what sticks out."""
    found = {}
    for kind, address in shelf.kinds.items():
        settled(page, address)
        if out := page.evaluate(WIDER):
            found[kind] = out
    return found


@pytest.mark.parametrize("size", SIZES)
def test_nothing_runs_nothing_leaks_nothing_spills(nasty_shelf: Shelf, chromium: Browser, size: ViewportSize) -> None:
    with nasty_shelf.shown(chromium, viewport=size) as (context, strayed):
        ran: list[str] = []
        context.expose_function("hacked", lambda *told: ran.append(str(told)))
        page = context.new_page()
        page.on("dialog", lambda dialog: ran.append(dialog.message))
        spills = spilling(page, nasty_shelf)
        assert (ran, strayed) == ([], [])
        assert not spills, "\n".join(f"{kind}: {'; '.join(out)}" for kind, out in spills.items())


def test_every_link_of_such_a_page_is_harmless(nasty_shelf: Shelf) -> None:
    for address, kept in nasty_shelf.pages.items():
        if kept.headers.get("Content-Type", "").startswith("text/html"):
            links = crawl.read(address, kept.status, kept.body.decode()).links
            bad = [link for link in links if re.match(r"\s*(?:javascript|data|vbscript):|//", link, re.IGNORECASE)]
            assert bad == [], address


@pytest.mark.parametrize("size", SIZES)
def test_where_nothing_is_known_pages_hold_and_say_so(bare_shelf: Shelf, chromium: Browser, size: ViewportSize) -> None:
    with bare_shelf.shown(chromium, viewport=size) as (context, _):
        page = context.new_page()
        heard = browsers.complaints(page)
        spills = spilling(page, bare_shelf)
        assert (spills, heard) == ({}, [])
        settled(page, "/incidents/7")
        told = page.locator("main").inner_text().lower()
        assert "unknown" in told
        assert "none" not in told.split()
