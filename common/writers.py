"""Taking turns among the writers of this process on SQLite, which has one writer at a time and no queue for it.

A waiting SQLite connection polls with growing pauses: under a storm some thread may miss its turn until it times out,
while the lock lies idle in between. Threads that take turns here hand over at once. PostgreSQL needs none of this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_turn = threading.Lock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait for this thread's turn to write; put it around the outermost transaction.

    Inside a transaction it does nothing: whoever holds SQLite's lock must never wait here, or two would wait for each
    other.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with _turn:
        yield
