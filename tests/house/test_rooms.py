"""Each room says what it owns; files stay small; only the web speaks HTTP; nothing lies about at the top."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ["config", "web", "runbooks", "incidents", "evaluations", "catalog", "common", "drills"]
TOP = {
    *ROOMS, "manage.py", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile",
    "requirements", "templates", "tests", "deploy", "docs", "bench", ".ci", ".github", ".gitignore", ".dockerignore",
    ".gitattributes", ".editorconfig",
}  # fmt: skip
HTTP = ("django.http", "django.shortcuts", "django.views")
LONGEST = 500


def _files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


@pytest.mark.parametrize("room", ROOMS)
def test_its_docstring_says_what_it_owns_and_does_not_know(room: str) -> None:
    text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or ""
    assert [word for word in ("Owns:", "Knows:", "Does not know:") if word not in text] == []


def test_every_module_has_a_docstring() -> None:
    bare = [
        str(path.relative_to(ROOT))
        for path in _files()
        if path.suffix == ".py" and "migrations" not in path.parts and path.read_text().strip()
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert bare == []


def test_no_file_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _files()
        if path.suffix in {".py", ".html", ".css", ".js", ".md", ".yaml"}
        and not {"migrations", "vendor", "requirements"} & set(path.parts)
        and (lines := len(path.read_text(errors="replace").splitlines())) > LONGEST
    }
    assert long == {}


def test_only_the_web_speaks_http() -> None:
    found = []
    for path in _files():
        room = path.relative_to(ROOT).parts[0]
        if path.suffix == ".py" and room in ROOMS and room not in ("web", "config"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.startswith(HTTP)]
    assert found == []


def test_nothing_lies_about_at_the_top() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in _files()} - TOP == set()
