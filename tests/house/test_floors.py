"""Imports go down only: the contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("lint-imports")


@pytest.mark.skipif(not PROGRAM.exists(), reason="import-linter is not installed (make check installs it)")
def test_they_hold() -> None:
    # In a process of its own: it sets up logging as if it were alone, and silences what other tests listen to.
    done = subprocess.run([PROGRAM, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
