"""Copies of the whole database in one file, and putting one back without doing anything twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.db import DatabaseError, connection, connections

from common.errors import Conflict, DomainError, Invalid, Unavailable
from common.faults import crashpoint
from runbooks import restored
from web.operate import prepare

_SQLITE_MAGIC = b"SQLite format 3\x00"
_PG_MAGIC = b"PGDMP"


def save(target: Path) -> int:
    """Write the database to a new file, consistent while others go on writing; gives its size in bytes.

    SQLite: a compacted copy. PostgreSQL: a pg_dump archive. The secret keys are not in it: keep those apart.
    """
    if target.exists():
        raise Invalid(f"{target} exists already.", fix="Name a file that does not exist; copies are never overwritten.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Readable by its owner only: it holds everything but the keys.
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise Unavailable(f"Cannot write {target}: {error.strerror}.", fix="Choose another folder.") from None
    try:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("VACUUM INTO %s", [str(target)])
        else:
            _run(["pg_dump", "--format=custom", "--no-owner", "--file", str(target)])
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return target.stat().st_size


def restore(source: Path) -> restored.Doubt:
    """Replace the whole database by a copy, bring it up to date, and make everything in flight ask before it acts.

    Nothing may run on the database meanwhile: the command holds the data folder's lock, and PostgreSQL is asked who
    else is there. Gives what was put in doubt. Cut off anywhere, it leaves the old database, or a new one whose mark
    lets nothing start on it before `restored.finish`.
    """
    magic = _PG_MAGIC if connection.vendor == "postgresql" else _SQLITE_MAGIC
    try:
        with source.open("rb") as file:
            head = file.read(len(magic))
    except OSError as error:
        raise Invalid(
            f"Cannot read {source}: {error.strerror}.", fix="Name a file made by `manage.py backup`."
        ) from None
    if head != magic:
        raise Invalid(
            f"{source} is not a copy of a {connection.vendor} database.", fix="Name a file made by `manage.py backup`."
        )
    if connection.vendor == "postgresql":
        _put_postgresql_back(source)
    else:
        _put_sqlite_back(source)
    connections.close_all()
    crashpoint("R1")
    prepare.migrate()
    # Nothing to finish: somebody ran `prepare` meanwhile.
    return restored.finish() or restored.Doubt(0, 0, 0, 0)


def _put_postgresql_back(source: Path) -> None:
    _refuse_company()
    marked, before = restored.unfinished(), _tables_made()
    # --clean drops what the copy holds and leaves the mark alone.
    restored.mark()
    name = str(connection.settings_dict["NAME"])
    options = ["--clean", "--if-exists", "--no-owner", "--single-transaction", "--dbname", name]
    try:
        _run(["pg_restore", *options, str(source)])
    except DomainError:
        # It replaces everything or nothing; if it cannot be told which (the server is away), the mark stays.
        with contextlib.suppress(DatabaseError):
            if not marked and _tables_made() == before:
                restored.unmark()
        raise


def _tables_made() -> int | None:
    """Another number whenever the tables were made anew."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations')::oid::bigint")
        return cast(int | None, cursor.fetchone()[0])


def _refuse_company() -> None:
    """Conflict while other sessions use the database; they would hold the restore up, or act on what it replaces."""
    with connection.cursor() as cursor:
        cursor.execute(
            # Our own pool may hold more than the one that asks.
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND application_name <> current_setting('application_name')"
        )
        others = cursor.fetchone()[0]
    if others:
        raise Conflict(
            f"The database is in use by {others} other session{'s' * (others > 1)}.",
            fix="Stop web, live, worker and beat first, and whoever else is connected.",
        )


def _put_sqlite_back(source: Path) -> None:
    target = Path(str(settings.DATABASES["default"]["NAME"]))
    fresh = target.with_suffix(".restoring")
    with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as copy:
        fault = copy.execute("PRAGMA quick_check").fetchone()[0]
    if fault != "ok":
        raise Invalid(f"{source} is damaged: {fault}.", fix="Use another copy.")
    for left in (fresh, *_journals(fresh)):
        left.unlink(missing_ok=True)
    # Readable by its owner only, like the database that it becomes.
    os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600))
    shutil.copyfile(source, fresh)
    with closing(sqlite3.connect(fresh)) as copy:
        copy.execute(restored.MAKE_MARK)
    connections.close_all()
    _empty_journal(target)
    fresh.replace(target)


def _empty_journal(target: Path) -> None:
    """Bring what was committed into the file itself and its journal to nothing: whole if we end here, and left behind
    a journal would be played into the file that comes."""
    if target.exists():
        try:
            with closing(sqlite3.connect(target, timeout=2)) as old:
                busy = old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            # Any other fault is damage, which is what a restore is for.
            busy = "locked" in str(error)
        if busy:
            raise Conflict(f"{target} is in use by another program.", fix="Close it, then restore again.")
    for journal in _journals(target):
        journal.unlink(missing_ok=True)


def _journals(file: Path) -> list[Path]:
    return [Path(f"{file}{suffix}") for suffix in ("-journal", "-wal", "-shm")]


def _run(command: list[str]) -> None:
    """Run one of PostgreSQL's programs against our database; the password goes by environment, not by argument."""
    if shutil.which(command[0]) is None:
        raise Unavailable(
            f"{command[0]} is not installed on this machine.",
            fix="Install PostgreSQL's client programs (Debian: postgresql-client), or run it where they are.",
        )
    wanted: dict[str, Any] = settings.DATABASES["default"]
    env = os.environ | {
        "PGHOST": str(wanted["HOST"] or ""),
        "PGPORT": str(wanted["PORT"] or ""),
        "PGUSER": str(wanted["USER"] or ""),
        "PGPASSWORD": str(wanted["PASSWORD"] or ""),
        "PGDATABASE": str(connection.settings_dict["NAME"]),
    }
    env = {key: value for key, value in env.items() if value or not key.startswith("PG")}
    connections.close_all()
    # A fixed program with our own arguments; nothing here comes from a request.
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=3600, check=False)  # noqa: S603
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {done.stderr.strip()[-300:]}", fix="Its message says what to change.")
