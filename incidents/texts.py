"""The templates of texts that leave as text: messages and postmortem drafts. Ours, never authored ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_MARKS = re.compile(r"([\\`*\[\]>|~])")
# An interval of numbers cannot be taken for a link, nor for a citation.
_NUMBERS = re.compile(r"(\[[+−]?[0-9.]+, [+−]?[0-9.]+\](?![(\[:]))")
# The renderer knows no backslash before these: an entity shows them as they are.
_ENTITIES = re.compile(r"<|&(?=#?\w+;)")
# An underscore inside a word (`accuracy_drop`) is no emphasis and stays readable.
_UNDERSCORE = re.compile(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
# What would start a list, a heading or a fold if it came first on a line.
_FIRST = re.compile(r"^(?:[-+#!]|\d{1,9}(?=[.)])|[=:?])")


def escaped(value: object) -> str:
    """A value as Markdown text on one line: shown as it is, never as formatting and never as a citation."""
    text = " ".join(str(value).split())
    pieces = (piece if _NUMBERS.fullmatch(piece) else _MARKS.sub(r"\\\1", piece) for piece in _NUMBERS.split(text))
    text = _UNDERSCORE.sub(r"\\_", "".join(pieces))
    text = _ENTITIES.sub(lambda m: "&lt;" if m.group() == "<" else "&amp;", text)
    return _FIRST.sub(lambda m: _unmarked(m.group()), text)


def _unmarked(first: str) -> str:
    if first.isdigit():
        return f"{first}\\"
    return f"&#{ord(first)};" if first in "=:?" else f"\\{first}"


def utc(moment: datetime | None, form: str = "%Y-%m-%d %H:%M UTC") -> str:
    """A moment in UTC, to the minute; `unknown` when there is none."""
    return moment.astimezone(UTC).strftime(form) if moment else "unknown"


def span(length: timedelta | None) -> str:
    """A duration for people: `45 s`, `7 min 5 s`, `26 min`, `2 h 5 min`, `3 d 4 h`; `unknown` when there is none."""
    if length is None:
        return "unknown"
    seconds = max(0, round(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min" + (f" {seconds % 60} s" if seconds < 600 and seconds % 60 else "")
    if seconds < 86400:
        return f"{seconds // 3600} h" + (f" {seconds % 3600 // 60} min" if seconds % 3600 >= 60 else "")
    return f"{seconds // 86400} d" + (f" {seconds % 86400 // 3600} h" if seconds % 86400 >= 3600 else "")


def offset(length: timedelta) -> str:
    """A moment beside the one that counts as zero: `T+9:49`, `T-3:30`, `T+1:02:03`, `T+2 d 4 h`."""
    seconds = round(abs(length.total_seconds()))
    sign = "-" if length.total_seconds() < 0 and seconds else "+"
    if seconds >= 2 * 86400:
        return f"T{sign}{span(timedelta(seconds=seconds))}"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    return f"T{sign}{f'{hours}:{minutes:02}' if hours else minutes}:{seconds % 60:02}"


def short(value: float) -> str:
    """Two or three digits: `.91`, `1.7`, `26`, `1,240`."""
    if abs(value) < 1:
        return f"{value:.2f}".replace("0.", ".", 1) if abs(value) >= 0.005 else f"{value:.1g}"
    return f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"


def code(value: object) -> str:
    """A query as Markdown code on one line, also inside a table; plain escaped text where it has backticks."""
    text = " ".join(str(value).split())
    if not text or "`" in text:
        return escaped(text)
    return f"`{text}`"


def _environment() -> Environment:
    # Plain text and Markdown, which the filter `md` escapes.
    made = Environment(
        loader=FileSystemLoader(settings.CHECKOUT / "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  nothing here is HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters.update(md=escaped, utc=utc, span=span)
    return made


_made = _environment()


def render(name: str, **context: Any) -> str:
    """One of our text templates, filled in; an unknown variable is an error."""
    return _made.get_template(name).render(**context).strip() + "\n"
