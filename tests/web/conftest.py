"""Running products for browser tests: two of them, shared by all files, since each costs seconds to start.

A test makes what it needs in them by the API or the pages and leaves alone what others made. The browser is started
anew per file: while it runs, no other event loop can (tests/browser.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, StorageState

from tests import browser as browsers
from tests.factories_pages import frozen_pages
from tests.factories_web import signed_in
from tests.web.shelf import Shelf


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Up]:
    """The product without its demo."""
    with browsers.up(tmp_path_factory.mktemp("bare"), "--no-demo") as started:
        yield started


@pytest.fixture(scope="session")
def bare_api(bare: browsers.Up) -> Iterator[httpx2.Client]:
    """A program, or somebody else, at work on what is in `bare`."""
    headers = {"Authorization": f"Bearer {bare.token()}"}
    with httpx2.Client(base_url=f"{bare.base}/api/v1", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def full(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Every kind of page, full, as somebody with every role sees it; the same each time. Read only."""
    shelf = Shelf()
    with (
        django_db_blocker.unblock(),
        frozen_pages(tmp_path_factory.mktemp("full"), slug="search", mark="Search") as pages,
    ):
        shelf.fill(signed_in(pages.world.member), *pages.addresses, "/")
    return shelf


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser."""
    with browsers.chromium() as started:
        yield started


@dataclass(frozen=True)
class Demo:
    """The demo, its service gone wrong: the live incident, its run, and the approval that waits. Read only."""

    up: browsers.Up
    incident: int
    run: str
    approval: str


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo at the moment that it asks for approval; nobody answers, so that every file sees the same."""
    with browsers.up(tmp_path_factory.mktemp("demo")) as started:
        headers = {"Authorization": f"Bearer {started.token()}"}
        with browsers.chromium() as browser:
            page = browsers.signed_in(browser, started).new_page()
            page.goto(started.base)
            ask = page.get_by_role("link", name="Look and decide").first
            ask.wait_for(timeout=120_000)
            approval = str(ask.get_attribute("href")).rpartition("/")[2]
            number = re.findall(r"INC-(\d+)", page.locator(".steps-guide").inner_text())[0]
        with httpx2.Client(base_url=f"{started.base}/api/v1", headers=headers, timeout=30) as api:
            runs = api.get("/runs").json()["items"]
        run = next(row["id"] for row in runs if row["incident"] == int(number))
        yield Demo(started, int(number), run, approval)


@pytest.fixture(scope="module")
def session(chromium: Browser, bare: browsers.Up) -> BrowserContext:
    """One person, signed in to `bare`."""
    return browsers.signed_in(chromium, bare)


@pytest.fixture(scope="module")
def demo_state(chromium: Browser, demo: Demo) -> StorageState:
    """The cookies of one person who is signed in to `demo`: one sign-in for every size."""
    context = browsers.signed_in(chromium, demo.up)
    kept = context.storage_state()
    context.close()
    return kept
