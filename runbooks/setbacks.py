"""Rows whose turn failed rest for a while that doubles each time, so that no number of them crowds out the others."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST, LONGEST = timedelta(seconds=1), timedelta(minutes=1)
# Forgotten so long after its rest: the row has been mended, or is gone.
FORGOTTEN = timedelta(minutes=10)


class Setbacks:
    """What failed in this process, by what was tried and the row's key. A new process begins without any."""

    def __init__(self) -> None:
        self._rests: dict[tuple[str, int], tuple[timedelta, datetime]] = {}

    def __len__(self) -> int:
        return len(self._rests)

    def is_resting(self, what: str, pk: int, now: datetime) -> bool:
        """Whether it failed so recently that the others come first."""
        rest = self._rests.get((what, pk))
        return rest is not None and now < rest[1]

    def failed(self, what: str, pk: int, now: datetime) -> None:
        """It failed just now: the next turn is after twice the last rest, a minute at most."""
        last = self._rests.get((what, pk))
        pause = FIRST if last is None else min(2 * last[0], LONGEST)
        self._rests[what, pk] = (pause, now + pause)

    def succeeded(self, what: str, pk: int) -> None:
        """It is like any other row again."""
        self._rests.pop((what, pk), None)

    def forget(self, now: datetime) -> None:
        """Drop those that nobody has tried for long."""
        for key, (_, until) in list(self._rests.items()):
            if now - until > FORGOTTEN:
                self._rests.pop(key, None)
