"""The tokens keep their promise: every ink can be read on every ground, in both themes (pages of WCAG 2.2, 1.4.3)."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "web" / "static"
CSS = (STATIC / "tokens.css").read_text()
GROUNDS = ("canvas", "surface", "sunken")
TINTED = ("fail", "pass", "unsure", "error", "running", "waits", "skipped")
SEVERITIES = ("sev-1", "sev-2", "sev-3", "sev-4")
INKS = ("ink", "ink-2", "ink-3", "accent", *TINTED, *SEVERITIES)
BLOCK = re.compile(r"([^{}]*)\{([^{}]*--canvas:[^{}]*)\}")


def themes() -> dict[str, list[dict[str, str]]]:
    """The colours of each block that sets them, by theme."""
    found: dict[str, list[dict[str, str]]] = {"light": [], "dark": []}
    for _, body in BLOCK.findall(CSS):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", body))
        found["dark" if "color-scheme: dark" in body else "light"].append(colours)
    return found


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture(params=["light", "dark"])
def colours(request: pytest.FixtureRequest) -> dict[str, str]:
    """All colours of one theme; the two places that set dark say the same."""
    blocks = themes()[request.param]
    assert blocks[0]
    assert all(block == blocks[0] for block in blocks)
    return blocks[0]


def test_every_ink_is_read_on_every_ground_and_on_its_own_tint(colours: dict[str, str]) -> None:
    pairs = [
        *product(INKS, GROUNDS),
        *((ink, f"{ink}-tint") for ink in TINTED),
        *(("ink", f"{ink}-tint") for ink in TINTED),
    ]
    faint = {pair: round(found, 2) for pair in pairs if (found := contrast(colours[pair[0]], colours[pair[1]])) < 4.7}
    assert faint == {}


def test_the_edge_of_a_control_is_seen_and_filled_shapes_are_read(colours: dict[str, str]) -> None:
    assert min(contrast(colours["edge"], colours[ground]) for ground in GROUNDS) >= 3
    assert min(contrast(colours["on-fill"], colours[level]) for level in SEVERITIES) >= 6
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.7


def test_stylesheets_take_every_colour_from_the_tokens() -> None:
    """Paper is white whatever the theme: its rules may name colours."""
    own = {}
    for path in STATIC.glob("*.css"):
        rules = [line for line in path.read_text().splitlines() if "@media print" not in line and ".paper" not in line]
        found = re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;, )])|rgba?\(", "\n".join(rules))
        if found and path.name not in ("tokens.css", "print.css"):
            own[path.name] = found
    assert own == {}
