"""No barrier that axe can find, on any page, in either theme, on a phone and at a desk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ViewportSize

from tests import browser as browsers
from tests.web.shelf import Shelf, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db]
# Everything axe calls a violation, also of good practice; `target-size` is WCAG 2.2.
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}

Look = tuple[Literal["light", "dark"], ViewportSize]


def told(found: dict[str, Any]) -> Iterator[str]:
    """Each violation in a line: the rule, what it is about, where."""
    for violation in found["violations"]:
        for node in violation["nodes"][:3]:
            why = (node.get("failureSummary") or "").split("\n")[-1].strip()
            yield f"{violation['id']}: {' '.join(node['target'])[:90]}: {why[:150]}"


# Files with many tests are begun first: this one takes minutes, and begun last it would be waited for.
PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_axe_finds_nothing_on_any_page(full: Shelf, chromium: Browser, part: int) -> None:
    """Both themes and both sizes; every theme at every size for the four pages is looked at below."""
    kinds = dict(sorted(full.kinds.items())[part::PARTS])
    looks: list[Look] = [("light", browsers.DESK), ("dark", browsers.PHONE)]
    assert kinds
    assert not (faults := faults_on(full, chromium, kinds, looks)), faults


def test_axe_finds_nothing_on_the_four_pages(full: Shelf, chromium: Browser) -> None:
    kinds = {kind: full.kinds[kind] for kind in ("incident", "run", "approval", "postmortem")}
    looks: list[Look] = [("dark", browsers.DESK), ("light", browsers.PHONE)]
    assert not (faults := faults_on(full, chromium, kinds, looks)), faults


def faults_on(shelf: Shelf, browser: Browser, kinds: dict[str, str], looks: list[Look]) -> str:
    """A line per violation, with the pages and looks that have it; each page is opened once and changes its look."""
    axe, faults = Axe(), dict[str, list[str]]()
    with shelf.shown(browser) as (context, _):
        page = context.new_page()
        for kind, address in kinds.items():
            settled(page, address)
            for scheme, size in looks:
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size(size)
                for line in told(axe.run(page, options=OPTIONS).response):
                    faults.setdefault(line, []).append(f"{kind} {scheme}")
    return "\n".join(f"{line}: on {', '.join(where)}" for line, where in faults.items())
