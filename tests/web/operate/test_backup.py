"""backup and restore: the copy is whole and private, and nothing else is ever restored."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from django.db import connection

from common.errors import Invalid
from tests.factories import make_team
from web.operate import backup


@pytest.mark.django_db(transaction=True)
def test_it_copies_the_whole_database(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("tests/deploy/test_restore.py copies PostgreSQL with the commands themselves")
    make_team("search")
    backup.save(tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy") as copy:
        assert copy.execute("SELECT slug FROM catalog_team").fetchall() == [("search",)]
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


@pytest.mark.django_db
def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("precious")
    with pytest.raises(Invalid, match="exists already"):
        backup.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "precious"


@pytest.mark.django_db
def test_it_restores_no_other_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("not a database at all")
    with pytest.raises(Invalid, match="is not a copy"):
        backup.restore(tmp_path / "copy")
