"""Values in Markdown are shown as they are."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.markdown import to_html
from incidents.texts import escaped

HARD = [
    "# x [a](javascript:1) [E7] | `b` <script> *c* ~~d~~ &lt; & _e_ f_g",
    "- x",
    "1. x",
    "2026. A year",
    "> x",
    "= x",
    ": x",
    "??? x",
    "!!! x",
    "\\*x\\*",
    "__init__ and accuracy_drop",
    "rate(http_requests_total{code=~'5..'}[5m]) > .05",
]


def shown(value: str) -> str:
    """What a reader sees of a value that begins a paragraph."""
    return " ".join(html.unescape(re.sub("<[^>]+>", "", to_html(escaped(value)))).split())


@pytest.mark.parametrize("value", HARD)
def test_it_shows_a_value_as_it_is(value: str) -> None:
    assert shown(value) == value


@given(st.text(alphabet="[]()<>!*_`~|-#:\\\"'&;=+?.1a Z", min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_it_shows_every_value_as_it_is(value: str) -> None:
    assert shown(f"a {value} b") == " ".join(f"a {value} b".split())
