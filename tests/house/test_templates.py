"""Templates: our own words for what things are, htmx in macros only, nothing that our policy refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "templates").rglob("*.html"))
STYLES = sorted(path for path in (ROOT / "web" / "static").rglob("*.css") if "vendor" not in path.parts)
# Bootstrap's, which bring its looks with them; its reset, grid and form base are all that is used of it.
BANNED = ("card", "badge", "alert", "navbar", "modal", "accordion", "list-group", "breadcrumb", "toast")
# With what Bootstrap hangs on to them; `alert-rows` may be ours.
_TAIL = "body|title|text|header|footer|link|heading|dismissible|item|button|content|dialog|brand|nav|toggler|primary|"
BOOTSTRAP = re.compile(rf"(?:{'|'.join(BANNED)})(?:-(?:{_TAIL}secondary|success|danger|warning|info|light|dark))?")
TAG = re.compile(r"<(\w+)\b((?:[^<>{]|\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})*)>", re.DOTALL)
MACRO = re.compile(r"\{%-?\s*macro\b.*?\{%-?\s*endmacro\s*-?%\}", re.DOTALL)


def tags(text: str) -> Iterator[tuple[str, str]]:
    """Name and attributes of every tag."""
    for found in TAG.finditer(text):
        yield found[1].lower(), found[2]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def banned_in(text: str) -> set[str]:
    """The banned classes among those that a template gives, also by the choices within an expression."""
    found = set()
    for _, attributes in tags(text):
        for value in re.findall(r"\bclass\s*=\s*\"((?:\{\{.*?\}\}|\{%.*?%\}|[^\"])*)\"", attributes, re.DOTALL):
            words = set(re.split(r"[^\w-]+", value))
            found |= {word for word in words if BOOTSTRAP.fullmatch(word)}
    return found


def test_no_template_uses_a_banned_class() -> None:
    assert {named(path): found for path in PAGES if (found := banned_in(path.read_text()))} == {}


def test_no_stylesheet_knows_a_banned_class() -> None:
    banned = re.compile(rf"\.({'|'.join(BANNED)})(?![\w-])")
    assert {named(path): found for path in STYLES if (found := banned.findall(path.read_text()))} == {}


def test_htmx_is_spoken_in_macros_only() -> None:
    # `hx-ignore` asks nothing of htmx: it keeps htmx out of people's text.
    spoken = {
        named(path): sorted(set(found))
        for path in PAGES
        if (found := re.findall(r"[\s\"'](?:data-)?(hx-(?!ignore\b)[\w:-]+)", MACRO.sub("", path.read_text())))
    }
    assert spoken == {}


def inline_in(text: str) -> list[str]:
    """Styles and scripts that the policy of our pages refuses, and events in attributes."""
    found = [f"style on <{name}>" for name, rest in tags(text) if re.search(r"\sstyle\s*=", rest)]
    found += [f"{event} on <{name}>" for name, rest in tags(text) for event in re.findall(r"\s(on[a-z]+)\s*=", rest)]
    found += ["<style>" for name, _ in tags(text) if name == "style"]
    found += [
        "<script>" for name, rest in tags(text) if name == "script" and " src=" not in rest and "json" not in rest
    ]
    return found + [
        "javascript: link" for _ in re.findall(r"(?:href|action)\s*=\s*\"\s*javascript:", text, re.IGNORECASE)
    ]


def test_no_template_has_inline_styles_or_scripts() -> None:
    assert {named(path): found for path in PAGES if (found := inline_in(path.read_text()))} == {}


def test_no_template_trusts_text() -> None:
    """`|safe` may stand behind a literal only: data would become markup."""
    loose = {named(path): found for path in PAGES if (found := re.findall(r"[^'\"\s]\s*\|\s*safe\b", path.read_text()))}
    assert loose == {}


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ('<p class="card">', True),
        ('<p class="panel {{ "alert-danger" if x > 1 else "" }}">', True),
        ('<p class="alerts evidence-card alert-rows">', False),
        ('<p title="an alert">', False),
    ],
)
def test_it_finds_classes_however_they_are_given(text: str, finds: bool) -> None:
    assert bool(banned_in(text)) is finds


@pytest.mark.parametrize(
    "text",
    [
        '<p {% if a > 1 %}class="x"{% endif %} style="color: red">',
        "<style>p {}</style>",
        "<script>alert(1)</script>",
        '<button\n onclick="x()">',
        '<a href="javascript:x()">',
    ],
)
def test_it_finds_what_is_inline(text: str) -> None:
    assert inline_in(text)
