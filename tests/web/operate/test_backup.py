"""backup and restore: the copy is whole and private, and nothing else is ever restored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection

from common.errors import Conflict, Invalid
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


def test_the_journal_of_what_is_replaced_is_emptied_into_it(tmp_path: Path) -> None:
    target, wal = tmp_path / "backstop.sqlite3", tmp_path / "backstop.sqlite3-wal"
    with closing(sqlite3.connect(target)) as old:
        old.execute("PRAGMA journal_mode=WAL")
        old.execute("CREATE TABLE written (x)")
        # As after a kill: the commit is in the journal alone.
        left = (target.read_bytes(), wal.read_bytes())
    target.write_bytes(left[0])
    wal.write_bytes(left[1])
    backup._empty_journal(target)
    assert not wal.exists()
    with closing(sqlite3.connect(target)) as kept:
        assert kept.execute("SELECT name FROM sqlite_master").fetchall() == [("written",)]


def test_it_replaces_nothing_that_somebody_reads(tmp_path: Path) -> None:
    target = tmp_path / "backstop.sqlite3"
    with closing(sqlite3.connect(target)) as old, closing(sqlite3.connect(target)) as reader:
        old.execute("PRAGMA journal_mode=WAL")
        old.execute("CREATE TABLE written (x)")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM written").fetchall()
        old.execute("INSERT INTO written VALUES (1)")
        old.commit()
        with pytest.raises(Conflict, match="in use by another program"):
            backup._empty_journal(target)
