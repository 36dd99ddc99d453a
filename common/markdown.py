"""Markdown written by people, made into HTML that is safe to put on a page.

Raw HTML in the text is shown as text, never interpreted: an engineer who pastes `<unk>` or a log line sees it whole.
What the renderer makes passes nh3's allow-list afterwards, always: no scripts, handlers, forms, ids, styles or htmx
attributes, links only to http(s), mailto and our own paths, images only from our own uploads (a remote one becomes a
link, so that opening a page never fetches from elsewhere). Text that would keep the renderer busy is shown plain.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import nh3
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

# Limits found by trying (tests/common/test_markdown.py): what is under them renders within a second on a slow core.
MAX_CHARACTERS = 200_000
MAX_LINE = 20_000
MAX_COLUMNS = 100
MAX_NESTING = 20
# Openers of links, images and emphasis in one paragraph: the renderer's time grows with their square.
MAX_OPENERS = 400
# Past this much processor time the rendering stops between two pieces and the text is shown plain.
SECONDS = 1.5

TAGS = {
    *("a", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5"),
    *("h6", "hr", "img", "li", "ol", "p", "pre", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th"),
    *("thead", "tr", "ul"),
}
ATTRIBUTES = {
    "a": {"href", "title", "class"},
    "img": {"src", "alt", "title"},
    "code": {"class"},
    "ol": {"start"},
    "details": {"open"},
}
UPLOADS = ("/files/", "/static/")
REL = "noopener noreferrer nofollow"

_ABSOLUTE = re.compile(r"^https?://[^/\\?#@\s]+(?::\d+)?(?:[/?#]|$)", re.IGNORECASE)
_MAIL = re.compile(r"^mailto:[^\s<>\"\\]+$", re.IGNORECASE)
_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
# Controls that reverse or hide text, and NUL; line breaks and tabs stay.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_MARK = r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
# More than six combining marks on one letter only paint over the neighbouring lines.
_MARKS = re.compile(f"({_MARK}{{6}}){_MARK}+")
_OPENERS = re.compile(r"[\[*_`~<&\\]")
_PARAGRAPHS = re.compile(r"\n\s*\n")
# Begins an item, if the paragraph begins with one: after other text such a line only goes on with it.
_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]", re.MULTILINE)
_LEADING = re.compile(r"^[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t>]+)*")
_BOX = re.compile(r"^\[([ xX])\]\s+")


class TooLong(Exception):
    """Rendering took longer than SECONDS."""


def to_html(text: str) -> str:
    """Safe HTML for Markdown text; the text as it is, in a `pre`, when it cannot be rendered within the limits."""
    try:
        return _cached(text) if len(text) <= 50_000 else _render(text)
    except (TooLong, RecursionError):
        # Outside of the cache: a machine that was busy for a moment must not leave a text plain for ever.
        return plain(text)


def plain(text: str) -> str:
    """The text itself as safe HTML, cut at MAX_CHARACTERS."""
    cut = _INVISIBLE.sub("", text[:MAX_CHARACTERS])
    more = f"\n[cut: {len(text) - MAX_CHARACTERS} more characters]" if len(text) > MAX_CHARACTERS else ""
    return f'<pre class="plain">{html.escape(cut + more)}</pre>'


def link_is_safe(href: str) -> bool:
    """Whether a link may stay: absolute http(s) or mailto, or a path of ours (never `//host`, scripts or data)."""
    if _UNSAFE_IN_URL.search(href):
        return False
    if href.startswith("/"):
        return not href.startswith("//")
    return _is_external(href) or bool(_MAIL.match(href))


@lru_cache(maxsize=512)
def _cached(text: str) -> str:
    return _render(text)


def _render(text: str) -> str:
    cleaned = _MARKS.sub(r"\1", _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    if _too_much(cleaned):
        return plain(cleaned)
    rendered = _renderer().convert(cleaned)
    return nh3.clean(
        rendered, tags=TAGS, attributes=ATTRIBUTES, attribute_filter=_attribute, link_rel=REL, strip_comments=True
    )


def _too_much(text: str) -> bool:
    """Cheap signs of text that would keep the renderer busy."""
    if len(text) > MAX_CHARACTERS:
        return True
    for line in text.split("\n"):
        if len(line) > MAX_LINE or line.count("|") > MAX_COLUMNS:
            return True
        leading = _LEADING.match(line)
        prefix = leading.group() if leading else ""
        # Four columns of indent open one level of a list; each marker on the same line opens one as well.
        width = len(prefix.expandtabs(4))
        if prefix.count(">") > MAX_NESTING or width > 4 * MAX_NESTING:
            return True
    return any(len(_OPENERS.findall(piece)) > MAX_OPENERS for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """What the renderer works on as one: a paragraph, an item of a list, or a row of a table."""
    for paragraph in _PARAGRAPHS.split(text):
        if paragraph.lstrip().startswith("|"):
            yield from paragraph.split("\n")
        elif _ITEM.match(paragraph):
            yield from _ITEM.split(paragraph)
        else:
            yield paragraph


def _renderer() -> Markdown:
    """A fresh renderer (instances keep state and are not safe across threads) that gives up after SECONDS."""
    watch = _Watch(SECONDS)
    md = Markdown(
        extensions=[
            "tables",
            "sane_lists",
            "def_list",
            "pymdownx.superfences",
            "pymdownx.highlight",
            "pymdownx.betterem",
            "pymdownx.tilde",
            "pymdownx.details",
            "pymdownx.magiclink",
            _Ours(watch),
        ],
        extension_configs={
            "pymdownx.highlight": {"use_pygments": False},
            "pymdownx.tilde": {"subscript": False},
            "pymdownx.magiclink": {"hide_protocol": False},
        },
        output_format="html",
    )
    # Raw HTML stays text. Its parser is also the slowest part on hostile input.
    md.preprocessors.deregister("html_block")
    md.inlinePatterns.deregister("html")
    for pattern in md.inlinePatterns:
        pattern.handleMatch = watch.timed(pattern.handleMatch)  # type: ignore[method-assign]
        pattern.getCompiledRegExp = watch.timed(pattern.getCompiledRegExp)  # type: ignore[method-assign]
    # Loading the extensions takes long the first time, and is not the text's fault.
    watch.start()
    return md


class _Watch:
    """Counts the processor time of this thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.until = seconds, 0.0

    def start(self) -> None:
        """Count from now."""
        self.until = time.thread_time() + self.seconds

    def look(self) -> None:
        """TooLong when the time is over."""
        if time.thread_time() > self.until:
            raise TooLong

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which looks at the watch first."""

        def timed(*arguments: Any) -> Any:
            self.look()
            return call(*arguments)

        return timed


class _Ours(Extension):
    """Watches the time and makes the document fit for our pages."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  the library's name
        """Register with the renderer."""
        md.parser.blockprocessors.register(_Blocks(md.parser, self.watch), "watch", 10_000)
        # After the inline parts (20) have become elements, before they become text.
        md.treeprocessors.register(_Links(md), "links", 5)


class _Blocks(BlockProcessor):
    """Takes no block, but stops the rendering when its time is over."""

    def __init__(self, parser: Any, watch: _Watch) -> None:
        super().__init__(parser)
        self.watch = watch

    def test(self, parent: Element, block: str) -> bool:
        """Never true."""
        self.watch.look()
        return False

    def run(self, parent: Element, blocks: list[str]) -> bool:
        """Never called."""
        return False


class _Links(Treeprocessor):
    """Marks links that lead elsewhere, turns remote images into links, and shows task boxes as signs."""

    def run(self, root: Element) -> None:
        """Change the tree in place."""
        for element in root.iter():
            if element.tag == "img" and not _is_upload(element.get("src", "")):
                self._unload(element)
            if element.tag == "a" and _is_external(element.get("href", "")):
                element.set("class", "external")
            if element.tag in ("li", "p") and element.text:
                element.text = _BOX.sub(lambda m: "☐ " if m.group(1) == " " else "☑ ", element.text)

    def _unload(self, image: Element) -> None:
        source, words = image.get("src", ""), image.get("alt") or "image"
        tail = image.tail
        image.clear()
        image.tag, image.tail, image.text = "a", tail, words
        image.set("href", source)


def _is_external(href: str) -> bool:
    if not _ABSOLUTE.match(href):
        return False
    try:
        parts = urlsplit(href)
        return bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:
        return False


def _is_upload(source: str) -> bool:
    return source.startswith(UPLOADS) and not _UNSAFE_IN_URL.search(source) and ".." not in source


def _attribute(tag: str, attribute: str, value: str) -> str | None:
    """What nh3 may keep of an attribute: None drops it."""
    if attribute == "href":
        return value if link_is_safe(value) else None
    if attribute == "src":
        return value if _is_upload(value) else None
    if attribute == "class":
        allowed = value == "external" if tag == "a" else bool(re.fullmatch(r"language-[\w+-]{1,30}", value))
        return value if allowed else None
    if attribute == "start":
        return value if value.isascii() and value.isdigit() and len(value) < 6 else None
    return value
