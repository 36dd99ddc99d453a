"""Taking turns among the writers of this process on SQLite, which has one writer at a time and no queue for it.

A waiting SQLite connection polls with growing pauses: under a storm some thread may miss its turn until it times out,
while the lock lies idle in between. Threads that take turns here are served in order, at once. PostgreSQL needs none of
this.
"""

from __future__ import annotations

import threading
from collections import deque


class Turn:
    """A lock that its owner may take again and that is handed to the one who has waited longest.

    A plain lock is mostly got back by the thread that has just released it: the others would starve.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[tuple[int, threading.Lock]] = deque()
        self._owner: int | None = None
        self._depth = 0

    def take(self, seconds: float) -> bool:
        """Wait for it, for so long at most; whether it was got."""
        me = threading.get_ident()
        with self._guard:
            if self._owner in (None, me):
                self._owner, self._depth = me, self._depth + 1
                return True
            entry = (me, threading.Lock())
            entry[1].acquire()
            self._waiting.append(entry)
        if entry[1].acquire(timeout=seconds):
            return True
        with self._guard:
            if entry in self._waiting:
                self._waiting.remove(entry)
                return False
        # It was handed over at the very last moment.
        return True

    def give(self) -> None:
        """Hand it on, once for each time it was taken."""
        with self._guard:
            self._depth -= 1
            if self._depth:
                return
            self._owner = None
            if self._waiting:
                (self._owner, woken), self._depth = self._waiting.popleft(), 1
                woken.release()


TURN = Turn()
