"""The README's claims lead to tests: each row that works, or partly works, names one that exists and has cases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text()
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| .+ \| (works|partly|not yet)", line)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_what_it_says_to_work_is_shown_by_a_test(row: str) -> None:
    links = re.findall(r"\]\((tests/[^)]+)\)", row)
    if "| not yet" in row:
        assert not links
        return
    assert links
    for link in links:
        assert re.search(r"^def test_", (ROOT / link).read_text(), re.MULTILINE), link


def test_every_never_leads_to_its_test() -> None:
    for line in TEXT.splitlines():
        if re.search(r"\b(never|always|cannot be lost)\b", line, re.IGNORECASE):
            assert "](tests/" in line, line


def test_every_figure_leads_to_what_shows_it() -> None:
    for paragraph in TEXT.split("\n\n"):
        if re.search(r"\b\d[\d,.]*\s*(%|ms|s|seconds|minutes|hours|MiB|times)\b", paragraph):
            assert re.search(r"\]\((tests|bench)/", paragraph), paragraph


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (ROOT / link).exists(), link


def test_its_first_screen_has_a_sentence_a_picture_and_two_commands() -> None:
    first = TEXT.split("## The tree")[0]
    assert "](docs/guide/pictures/" in first
    assert "git clone" in first
    assert "\nmake run\n" in first
    assert "60 seconds" in first


def test_the_map_of_the_tree_has_eight_lines_and_no_invention() -> None:
    (block,) = re.findall(r"## The tree\n\n```\n(.*?)```", TEXT, re.DOTALL)
    assert len(block.splitlines()) == 8
    for line in block.splitlines():
        for name in re.findall(r"\b([a-z]+)/(?=\s|$)", line.split("   ")[0]):
            assert (ROOT / name).is_dir(), name
