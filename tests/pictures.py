"""A picture of every kind of page, in both themes and both sizes: `make screenshots ARGS="--all <folder>"`."""

from __future__ import annotations

import itertools
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext

from tests import browser as browsers
from tests import crawl

SIZES = {"desk": browsers.DESK, "phone": browsers.PHONE}
THEMES: tuple[Any, ...] = ("light", "dark")
# A page may be longer than what is worth looking at.
LONGEST = 4000


def take_all(target: Path) -> None:
    """From a fresh demo at the moment that it asks for approval."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="pictures-", ignore_cleanup_errors=True) as folder,
        browsers.up(Path(folder)) as running,
        browsers.chromium() as chromium,
    ):
        session = browsers.signed_in(chromium, running)
        page = session.new_page()
        page.goto(running.base)
        page.get_by_role("link", name="Look and decide").first.wait_for(timeout=180_000)
        kinds = dict(_kinds(session, running.base))
        for theme, (size, viewport) in itertools.product(THEMES, SIZES.items()):
            kept = session.storage_state()
            context = chromium.new_context(viewport=viewport, color_scheme=theme, storage_state=kept)
            for kind, path in kinds.items():
                _take(context, running.base + path, target / f"{kind}-{theme}-{size}.png")
            context.close()
    sys.stdout.write(f"{len(kinds)} pages, {4 * len(kinds)} pictures in {target}\n")


def _kinds(session: BrowserContext, base: str) -> Iterator[tuple[str, str]]:
    """One address per kind of page, by the name of its view."""
    seen: set[str] = set()

    def get(path: str) -> crawl.Answer:
        answer = session.request.get(base + path)
        return crawl.Answer(path, answer.status, answer.headers.get("content-type", ""), answer.text())

    for page in crawl.Walk(get, each=1).pages():
        kind = re.sub(r"\W+", "-", crawl.shape(page.path).partition("?")[0])
        if kind not in seen and not page.is_part:
            seen.add(kind)
            yield kind, page.path


def _take(context: BrowserContext, address: str, path: Path) -> None:
    page = context.new_page()
    page.goto(address, wait_until="load")
    page.evaluate("document.fonts.ready")
    width, tall = page.viewport_size or browsers.DESK, page.evaluate("document.documentElement.scrollHeight")
    # A picture of the whole page, with what is fixed to the window's edge where it belongs.
    page.set_viewport_size({"width": width["width"], "height": min(max(tall, width["height"]), LONGEST)})
    page.screenshot(path=path, animations="disabled")
    page.close()
