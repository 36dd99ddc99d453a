"""The broker of the embedded mode: kombu's in-memory transport, woken by a publish instead of a poll.

The stock one sleeps `polling_interval` (1 s by default) whenever its queues are empty, which makes every hop a second
long; polling quickly costs idle CPU. Publishers and consumers are threads of one process here, so a condition is
enough. Nothing survives the process: the rows are the queue, and the runner thread finds what was never announced.
"""

from __future__ import annotations

import threading
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, memory

URL = "wake://in-process"
TRANSPORT_ALIASES["wake"] = "config.broker:Transport"
# A consumer looks again at least this often (seconds), in case a wake-up fell between two looks.
_LONGEST_NAP = 1.0


class _Bell:
    """Counts the rings, so that several consumers may listen and none misses a ring between look and sleep."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.rings = 0

    def ring(self) -> None:
        with self._changed:
            self.rings += 1
            self._changed.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        with self._changed:
            if self.rings == seen:
                self._changed.wait(seconds)


bell = _Bell()


class Channel(memory.Channel):
    """A channel that rings when a message arrives, and when an acknowledgement makes room for the next."""

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        super()._put(queue, message, **options)
        bell.ring()

    def basic_ack(self, *args: Any, **options: Any) -> None:
        """Acknowledge; a consumer that was full may read on."""
        super().basic_ack(*args, **options)
        bell.ring()


class Transport(memory.Transport):
    """Waits on the bell between two looks at the queues."""

    Channel = Channel
    driver_name = "wake"

    def drain_events(self, connection: Any, timeout: float | None = None, **options: Any) -> None:
        """Deliver one message, or raise TimeoutError after `timeout` seconds, and at once while the workers stop."""
        end = None if timeout is None else monotonic() + timeout
        while True:
            seen = bell.rings
            try:
                assert self.cycle is not None
                self.cycle.get(self._deliver, timeout=timeout)
                return
            except Empty:
                left = _LONGEST_NAP if end is None else end - monotonic()
            if left <= 0 or stopping.is_set():
                raise TimeoutError
            bell.wait(seen, min(left, _LONGEST_NAP))


# Set while the embedded workers stop: a consumer then returns from its nap at once.
stopping = threading.Event()
