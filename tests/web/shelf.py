"""Pages taken off Django once, and shown in Chromium without any server: the same on every machine, at any time.

A crawl of full pages fills the shelf; the browser's requests are answered from it, static files from their folders.
Scripts run, the content security policy holds, times stand still. What a page asks for that is not on the shelf is
noted: from elsewhere, that is a leak.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.contrib.staticfiles import finders
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests import crawl

BASE = "https://backstop.test"


@dataclass
class Kept:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Shelf:
    """Pages by address."""

    pages: dict[str, Kept] = field(default_factory=dict)
    # One of each kind, for tests that look at kinds of pages: name of the kind → address.
    kinds: dict[str, str] = field(default_factory=dict)

    def fill(self, client: Client, *starts: str, each: int = 1) -> None:
        """Put there what somebody reaches from these addresses."""

        def get(path: str) -> crawl.Answer:
            answer: Any = client.get(path, follow=True)
            led_to = answer.redirect_chain[-1][0] if answer.redirect_chain else path
            body = b"".join(answer.streaming_content) if answer.streaming else answer.content
            kind = answer.headers.get("Content-Type", "")
            self.pages[path] = Kept(answer.status_code, dict(answer.headers), body)
            return crawl.Answer(led_to, answer.status_code, kind, body.decode(errors="replace"))

        for page in crawl.Walk(get, starts=starts or ("/",), each=each).pages():
            # A list that is filtered looks like the whole one.
            if not page.is_part:
                self.kinds.setdefault(crawl.shape(page.path).partition("?")[0], page.path)

    @contextmanager
    def shown(self, browser: Browser, **options: Any) -> Iterator[tuple[BrowserContext, list[str]]]:
        """A browser session that sees the shelf only, and the addresses elsewhere that it was made to ask for."""
        context, strayed = browser.new_context(base_url=BASE, reduced_motion="reduce", **options), list[str]()

        def answer(route: Route) -> None:
            parts = urlsplit(route.request.url)
            if f"{parts.scheme}://{parts.netloc}" != BASE:
                strayed.append(route.request.url)
                route.abort()
            elif parts.path.startswith("/static/"):
                _serve_file(route, parts.path.removeprefix("/static/"))
            elif parts.path.startswith("/live/"):
                # Nothing happens on a shelf: the stream stays open, and silent.
                return
            elif parts.path.startswith("/version/"):
                route.fulfill(status=204)
            else:
                self._serve(route, parts.path + (f"?{parts.query}" if parts.query else ""))

        context.route("**/*", answer)
        try:
            yield context, strayed
        finally:
            context.close()

    def _serve(self, route: Route, address: str) -> None:
        kept = self.pages.get(address)
        if kept is None and route.request.resource_type in ("fetch", "xhr"):
            # A part that a page reads anew: there is never news.
            route.fulfill(status=204)
        elif kept is None:
            route.fulfill(status=404, content_type="text/plain", body="not on the shelf")
        else:
            route.fulfill(status=kept.status, headers=kept.headers, body=kept.body)


def _serve_file(route: Route, name: str) -> None:
    found = finders.find(name)
    if not isinstance(found, str):
        route.fulfill(status=404)
        return
    route.fulfill(content_type=mimetypes.guess_type(name)[0] or "font/woff2", body=Path(found).read_bytes())


def settled(page: Page, address: str) -> None:
    """Open a page and wait until its fonts are there and nothing moves."""
    page.goto(address, wait_until="load")
    page.evaluate("document.fonts.ready")
