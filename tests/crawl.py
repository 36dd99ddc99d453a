"""A crawler for our own pages: reads what a page offers (links, forms), and goes wherever it leads.

It knows no list of addresses: a page that nobody links to is not found, and one that is added is found by itself.
Pages of one kind (the same view, or the same path with its numbers and ids left out) are looked at a few times only.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urldefrag, urljoin, urlsplit

from django.urls import Resolver404, resolve

_TYPED = {"text", "textarea", "search", "url", "email", "password", "datetime-local", "date", "number"}
_VOID = {"input", "img", "br", "hr", "meta", "link", "wbr", "col", "source", "area"}


@dataclass
class Field:
    """A control of a form, with what the browser would send for it."""

    name: str
    kind: str
    value: str = ""
    options: list[str] = field(default_factory=list)
    chosen: bool = False

    @property
    def is_text(self) -> bool:
        """Whether a person can type anything into it."""
        return self.kind in {
            "text",
            "textarea",
            "search",
            "url",
            "email",
            "password",
            "datetime-local",
            "date",
            "number",
        }


@dataclass
class Form:
    """A form of a page."""

    page: str
    action: str
    method: str
    multipart: bool = False
    fields: list[Field] = field(default_factory=list)

    def sent(self) -> dict[str, list[str]]:
        """What a browser sends when nothing was touched; of several buttons the first."""
        told: dict[str, list[str]] = {}
        pressed = False
        for one in self.fields:
            if one.kind in ("checkbox", "radio") and not one.chosen:
                continue
            if one.kind == "submit":
                if pressed:
                    continue
                pressed = True
            if one.kind != "file":
                told.setdefault(one.name, []).append(one.value)
        return told

    def buttons(self) -> list[tuple[str, str]]:
        """The named buttons."""
        return [(one.name, one.value) for one in self.fields if one.kind == "submit"]

    @property
    def kind(self) -> tuple[str, ...]:
        """What tells this form from others: where it goes, and what it asks."""
        fixed = (f"{one.name}={one.value}" for one in self.fields if one.kind == "submit")
        return (shape(self.action), self.method, *sorted({one.name for one in self.fields}), *fixed)


@dataclass
class Page:
    """A page as it came, and what it offers."""

    path: str
    status: int
    html: str
    title: str = ""
    headings: int = 0
    # Without a frame of its own: it is put into the page that fetched it.
    is_part: bool = False
    has_main: bool = False
    stylesheets: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    # The links of the part that differs from page to page.
    own_links: list[str] = field(default_factory=list)
    # What it fetches of itself: parts that are read anew when something changes.
    parts: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    forms: list[Form] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self.form: Form | None = None
        self.select: Field | None = None
        self.area: Field | None = None
        self.inside: list[str] = []
        self.loose: list[tuple[str, Field]] = []
        self.named: dict[str, Form] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        it = {name: value or "" for name, value in attrs}
        page = self.page
        if tag not in _VOID:
            self.inside.append(tag)
        if it.get("id"):
            page.ids.add(it["id"])
        if it.get("hx-get"):
            page.parts.append(urljoin(page.path, it["hx-get"]))
        if tag in ("link", "script", "img"):
            self._fetched(tag, it)
        elif tag == "h1":
            page.headings += 1
        elif tag == "main":
            page.has_main = True
        elif tag == "a" and "href" in it:
            page.links.append(it["href"])
            if "main" in self.inside:
                page.own_links.append(it["href"])
        elif tag == "form":
            action = urljoin(page.path, it["action"]) if it.get("action") else page.path
            self.form = Form(page.path, action, it.get("method", "get").lower(), "multipart" in it.get("enctype", ""))
            page.forms.append(self.form)
            if it.get("id"):
                self.named[it["id"]] = self.form
        else:
            self._control(tag, it)

    def _fetched(self, tag: str, it: dict[str, str]) -> None:
        if tag == "img":
            self.page.images.append(urljoin(self.page.path, it.get("src", "")))
        elif tag == "script" and it.get("src"):
            self.page.scripts.append(it["src"])
        elif "stylesheet" in it.get("rel", ""):
            self.page.stylesheets.append(it.get("href", ""))

    def _control(self, tag: str, it: dict[str, str]) -> None:
        name, found = it.get("name", ""), None
        if tag == "input" and it.get("type") not in ("button", "reset", "image"):
            found = Field(name, it.get("type", "text"), it.get("value", "on" if it.get("type") == "checkbox" else ""))
            found.chosen = "checked" in it
        elif tag == "textarea":
            found = self.area = Field(name, "textarea")
        elif tag == "select":
            found = self.select = Field(name, "select")
        elif tag == "button" and it.get("type", "submit") == "submit":
            found = Field(name, "submit", it.get("value", ""))
        elif tag == "option" and self.select is not None:
            self.select.options.append(it.get("value", ""))
            if "selected" in it or len(self.select.options) == 1:
                self.select.value = it.get("value", "")
        if found is None or not name or "disabled" in it:
            return
        if it.get("form"):
            self.loose.append((it["form"], found))
        elif self.form is not None:
            self.form.fields.append(found)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass
        if tag == "form":
            self.form = None
        elif tag == "select":
            self.select = None
        elif tag == "textarea":
            self.area = None

    def handle_data(self, data: str) -> None:
        if self.area is not None:
            self.area.value += data
        elif self.inside[-1:] == ["title"] and "svg" not in self.inside:
            self.page.title += data

    def finish(self) -> None:
        for name, found in self.loose:
            if name in self.named:
                self.named[name].fields.append(found)


def read(path: str, status: int, html: str) -> Page:
    """What a page offers."""
    page = Page(path, status, html)
    reader = _Reader(page)
    reader.feed(html)
    reader.close()
    reader.finish()
    return page


def shape(path: str) -> str:
    """What kind of page an address leads to: the name of its view and the names in its query."""
    parts = urlsplit(path)
    try:
        name = resolve(parts.path).view_name
    except Resolver404:
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+", "#", parts.path)
    return name + "".join(f"?{key}" for key in sorted(parse_qs(parts.query, keep_blank_values=True)))


def is_ours(address: str) -> bool:
    """Whether an address of a page leads to another page of ours."""
    parts = urlsplit(address)
    return not parts.scheme and not parts.netloc and not address.startswith("#") and bool(address)


@dataclass(frozen=True)
class Answer:
    """What came of opening an address: where it led to in the end, and what was there."""

    path: str
    status: int
    content_type: str
    body: str


@dataclass
class Walk:
    """A walk through the pages that somebody can reach."""

    get: Callable[[str], Answer]
    starts: Iterable[str] = ("/",)
    # How many of one kind are looked at.
    each: int = 2
    # What is not a page: streams, exports, files.
    leave: tuple[str, ...] = ("/live/", "/static/", "/logout")
    faults: list[str] = field(default_factory=list)
    # Where each address was found first.
    found_on: dict[str, str] = field(default_factory=dict)

    def pages(self) -> Iterator[Page]:
        """Every page, once; what does not answer 200 is kept as a fault."""
        waiting = deque(self.starts)
        self.found_on = dict.fromkeys(waiting, "the start")
        seen: dict[str, int] = {}
        while waiting:
            path = waiting.popleft()
            kind = shape(path)
            if seen.get(kind, 0) >= self.each:
                continue
            seen[kind] = seen.get(kind, 0) + 1
            answer = self.get(path)
            if answer.status != 200:
                self.faults.append(f"{path} answers {answer.status}; {self.found_on[path]} links to it")
            # What is exported stands by itself: nothing leads on from it.
            if not answer.content_type.startswith("text/html") or "/export." in path:
                continue
            path = answer.path
            page = read(path, answer.status, answer.body)
            page.is_part = "<html" not in answer.body
            yield page
            for image in page.images:
                if image not in self.found_on:
                    self.found_on[image] = path
                    if (status := self.get(image).status) != 200:
                        self.faults.append(f"{path}: its picture {image} answers {status}")
            for link in [*page.links, *page.parts]:
                target = urldefrag(urljoin(path, link)).url
                if is_ours(link) and not target.startswith(self.leave) and target not in self.found_on:
                    self.found_on[target] = path
                    waiting.append(target)


def faults_of(page: Page) -> list[str]:
    """What makes a page a dead end or leaves it unstyled."""
    if page.is_part:
        return []
    ids = page.ids | {"", "top"}
    told = {
        "it has no title": not page.title.strip(),
        "it has no stylesheet of ours": not any(sheet.startswith("/static/") for sheet in page.stylesheets),
        "it has no main part": not page.has_main or "main" not in page.ids,
        f"it has {page.headings} headings of the first level": page.headings != 1,
        "it leads nowhere": not page.forms
        and not any(is_ours(link) and urljoin(page.path, link) != page.path for link in page.links),
        "a link has no address": any(not link.strip() for link in page.links),
    }
    missing = sorted({link[1:] for link in page.links if link.startswith("#")} - ids)
    return [f"{page.path}: {text}" for text, bad in told.items() if bad] + [
        f"{page.path}: it links to #{name}, which is not on it" for name in missing
    ]
