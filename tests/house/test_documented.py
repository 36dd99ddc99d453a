"""Settings and their page agree; no document names a setting, file or command that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.environment import Environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guide/settings.md").read_text()
ROWS = set(re.findall(r"^\| `(BACKSTOP_[A-Z_]+)`", PAGE, re.MULTILINE))
SETTINGS = {f"BACKSTOP_{name.upper()}" for name in Environment.model_fields}
# Read elsewhere than in Environment, each with its reason in the page.
OTHER = {"BACKSTOP_STATEMENT_TIMEOUT", "BACKSTOP_TEST_DATABASE_URL", "BACKSTOP_TEST_SQLITE", "BACKSTOP_TEST_PROCESSES"}
DOCUMENTS = [
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md"), ROOT / "deploy/env.example",
    *(ROOT / "deploy/systemd").iterdir(), ROOT / "Makefile",
]  # fmt: skip


def test_every_setting_has_its_row() -> None:
    assert not SETTINGS - ROWS


def test_every_row_has_its_setting() -> None:
    assert not ROWS - SETTINGS - OTHER


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_names_known_settings_only(path: Path) -> None:
    known = SETTINGS | OTHER | {"BACKSTOP_DATABASE_PASSWORD", "BACKSTOP_REDIS_PASSWORD"}
    assert set(re.findall(r"\bBACKSTOP_[A-Z_]+[A-Z]\b", path.read_text())) - known == set()


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.suffix == ".md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_its_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith(("http", "/", "mailto:"))]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_command_it_names_exists() -> None:
    commands = {path.stem for path in (ROOT / "web/management/commands").glob("*.py")}
    django = {"migrate", "collectstatic", "check", "makemigrations", "shell"}
    named = set()
    for path in DOCUMENTS:
        named |= set(re.findall(r"manage\.py ([a-z_]+)", path.read_text()))
    assert named - commands - django == set()
