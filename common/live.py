"""Telling waiting readers that something visible changed; the database stays the truth.

In this process by a condition; to the processes that serve streams by a relay, where there is one (config/relay.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from django.conf import settings

_changed = threading.Condition()
_generation = 0
_calls: set[Callable[[], object]] = set()


def wake() -> None:
    """Wake every waiting stream; cheap, waits for nothing, and harmless when nobody waits."""
    _wake_here()
    relay = _relay()
    if relay is not None:
        relay.tell()


def wait(seconds: float, seen: int) -> int:
    """Wait until something changed after generation `seen`, or the time is over; gives the current generation."""
    with _changed:
        if _generation == seen:
            _changed.wait(seconds)
        return _generation


@contextmanager
def calling(call: Callable[[], object]) -> Iterator[None]:
    """Have `call` called at each wake while the block lasts, by the thread that changed something: it must be quick."""
    with _changed:
        _calls.add(call)
    try:
        yield
    finally:
        with _changed:
            _calls.discard(call)


def listen() -> None:
    """From now on be woken by other processes too; whoever serves streams asks for it, as often as they like."""
    relay = _relay()
    if relay is not None:
        relay.listen(_wake_here)


def _relay() -> Any:
    return import_module(settings.LIVE_RELAY) if settings.LIVE_RELAY else None


def _wake_here() -> None:
    global _generation
    with _changed:
        _generation += 1
        _changed.notify_all()
        for call in _calls:
            call()
