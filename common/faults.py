"""Crash points: places at which a test lets the process die, to prove that nothing is lost there."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from django.conf import settings

# Every point in the code; tests/journeys/test_crash_points.py fails if one has no case.
POINTS = {
    "W1": "a webhook's body was read, nothing stored",
    "W2": "a delivery was inserted, not committed",
    "W3": "a delivery was committed, not answered",
    "W4": "a delivery was answered, its hint not sent",
    "K1": "a step was claimed",
    "K2": "an effect's intent was committed",
    "K3": "an effect was marked sent, before the call",
    "K4": "the outer system answered, nothing recorded",
    "K5": "the result was committed",
    "B1": "a ticker's round begins",
    "B2": "a ticker's round has ended",
    "R1": "a restored copy is in place, nothing in it was put in doubt",
}
_passed: dict[str, int] = {}
_lock = threading.Lock()


def crashpoint(name: str, *, after: float = 0.0) -> None:
    """End this process at once, without clean-up, if BACKSTOP_FAULT_POINT is `name` or `name:n` (the n-th passing).

    Or `@folder`: if this process can take the file of that name out of the folder, so that of several one dies.
    `after` are seconds for what is under way already, such as bytes that the event loop holds.
    """
    wanted = settings.BACKSTOP.fault_point
    if not wanted:
        return
    if wanted.startswith("@"):
        with suppress(FileNotFoundError):
            Path(wanted[1:], name).unlink()
            os._exit(137)
        return
    point, _, count = wanted.partition(":")
    if point != name:
        return
    with _lock:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] < int(count or 1):
            return
    time.sleep(after)
    os._exit(137)
