"""One clock: the database's. Read it once per transaction, after the lock, and pass the value on.

Workers on machines with wrong clocks must not disagree about leases and timers, so on PostgreSQL the time comes from
the server. SQLite runs in our own process, so there the process clock is the database clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from django.db import connection

_replacement: Callable[[], datetime] | None = None


def now() -> datetime:
    """The database's time, with zone UTC."""
    if _replacement is not None:
        return _replacement()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            row = cursor.fetchone()
        moment: datetime = row[0]
        return moment.astimezone(UTC)
    return datetime.now(UTC)


@contextmanager
def replaced(source: Callable[[], datetime]) -> Iterator[None]:
    """Use another clock for a while (tests, `runbook test`). Process-wide, so that worker threads see it too."""
    global _replacement
    before, _replacement = _replacement, source
    try:
        yield
    finally:
        _replacement = before
