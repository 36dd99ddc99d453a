"""Copies of the whole database in one file, and putting one back without doing anything twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, connections

from common.errors import Conflict, Invalid, Unavailable
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
    else is there. Gives what was put in doubt.
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
        _refuse_company()
        name = str(connection.settings_dict["NAME"])
        options = ["--clean", "--if-exists", "--no-owner", "--single-transaction", "--dbname", name]
        _run(["pg_restore", *options, str(source)])
    else:
        _put_sqlite_back(source)
    connections.close_all()
    prepare.migrate()
    return restored.put_in_doubt()


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
    shutil.copyfile(source, fresh)
    connections.close_all()
    # The journal belongs to the file that goes away; left behind, SQLite would play it into the new one.
    for name in (f"{target}-wal", f"{target}-shm"):
        Path(name).unlink(missing_ok=True)
    fresh.replace(target)


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
