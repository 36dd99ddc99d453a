"""Telling waiting readers in this process that something visible changed; the database stays the truth."""

from __future__ import annotations

import threading

_changed = threading.Condition()
_generation = 0


def wake() -> None:
    """Wake every waiting stream of this process; cheap, and harmless when nobody waits."""
    global _generation
    with _changed:
        _generation += 1
        _changed.notify_all()


def wait(seconds: float, seen: int) -> int:
    """Wait until something changed after generation `seen`, or the time is over; gives the current generation."""
    with _changed:
        if _generation == seen:
            _changed.wait(seconds)
        return _generation
