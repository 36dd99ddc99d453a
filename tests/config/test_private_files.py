"""What an embedded set-up leaves on the disk holds sessions and keys: its owner alone reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import production

BEHIND = "from django.db.migrations.recorder import MigrationRecorder as M; M.Migration.objects.last().delete()"
pytestmark = pytest.mark.slow


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An embedded set-up whose data folder is not there yet, for a user with the usual umask."""
    return production.without_settings() | {"BACKSTOP_DATA_DIR": str(tmp_path / "data")}


def readable_by_others(folder: Path) -> list[str]:
    """Files that the folder's own mode does not even have to protect."""
    return [str(path) for path in folder.rglob("*.sqlite3*") if path.stat().st_mode & 0o077]


def test_the_database_its_copies_and_what_is_restored(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    before = os.umask(0o022)
    try:
        production.manage(env, "prepare")
        production.manage(env, "backup", str(tmp_path / "copy"))
        (tmp_path / "copy").chmod(0o644)
        production.manage(env, "restore", str(tmp_path / "copy"), "--yes")
        # One migration pends again; the copy is made before it fails over tables that are there.
        production.manage(env, "shell", "-v0", "-c", BEHIND)
        production.manage(env, "prepare", wrong=True)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o077 == 0
    assert list(folder.glob("before-migration/*.sqlite3"))
    assert readable_by_others(folder) == []
