"""Imports go down only: the contracts of pyproject.toml hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_they_hold(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cli = pytest.importorskip("importlinter.cli", reason="import-linter is not installed (make check installs it)")
    monkeypatch.chdir(ROOT)
    assert cli.lint_imports(no_cache=True) == os.EX_OK, capsys.readouterr().out
