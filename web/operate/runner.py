"""The runner: one thread that ticks each second, and two that take over when the broker is silent.

Every worker process has one, the embedded process too. It needs the database only, so no work waits for Redis.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import close_old_connections, connections

from common import clock, http
from common.faults import crashpoint
from runbooks import health, ticker

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0
# A ready row older than this was not announced, or nobody hears announcements (design: five seconds).
SILENCE_SECONDS = 5.0
LONGEST_PAUSE = 10.0
DEAD_MAN_SECONDS = 60.0


def own_name(kind: str) -> str:
    """This process's name in leases and signs of life: kind, machine, process."""
    return f"{kind}@{socket.gethostname()}:{os.getpid()}"[:120]


class Runner:
    """The threads, with one database connection each."""

    def __init__(self, *, queues: list[str], name: str) -> None:
        self.queues, self.name = tuple(queues), name
        self.last_ok: float | None = None
        self._stopping = threading.Event()
        self._pinged = 0.0
        self._threads = [
            threading.Thread(target=self._every_second, args=(self.tick,), name="ticker", daemon=True),
            threading.Thread(target=self._every_second, args=(self.take_over,), name="takeover", daemon=True),
            threading.Thread(target=self._every_second, args=(self.evaluate,), name="evaluations", daemon=True),
        ]

    def start(self) -> None:
        """Begin to tick."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new; `join` waits for what runs."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait until all threads have ended, `seconds` at most."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))

    def is_alive(self) -> bool:
        """Whether a thread still runs."""
        return any(thread.is_alive() for thread in self._threads)

    def tick(self) -> None:
        """One tick of the engine, and the outside heartbeat once a minute while all is well."""
        crashpoint("B1")
        ticker.tick(self.name, self.queues)
        crashpoint("B2")
        self.last_ok = time.monotonic()
        if settings.BACKSTOP.dead_man_url and time.monotonic() - self._pinged >= DEAD_MAN_SECONDS:
            self._pinged = time.monotonic()
            self._say_alive(settings.BACKSTOP.dead_man_url)

    def _say_alive(self, url: str) -> None:
        """Silence is the alarm: a worker that ticks while work waits must not report that all is well."""
        faults = health.look(clock.now()).faults
        if faults:
            log.error("the dead-man address is not called: %s", "; ".join(faults))
            return
        try:
            http.request("GET", url, timeout=5.0)
        except http.HttpError as error:
            log.warning("the dead-man address does not answer: %s", error)

    def take_over(self) -> None:
        """Execute ready rows that nobody has taken for five seconds."""
        ticker.run_pending(self.name, self.queues, SILENCE_SECONDS)

    def evaluate(self) -> None:
        """Work on evaluations that nobody has taken for five seconds."""
        ticker.run_evaluations(self.queues, SILENCE_SECONDS)

    def _every_second(self, work: Callable[[], object]) -> None:
        pause = TICK_SECONDS
        while not self._stopping.wait(pause * random.uniform(0.9, 1.1)):  # noqa: S311  jitter, not a secret
            try:
                work()
            except Exception as error:  # the database may be away for hours; this thread must outlive that
                pause = min(pause * 2, LONGEST_PAUSE)
                log.exception("the runner failed (%s); next try in %.0f s", type(error).__name__, pause)
                connections.close_all()
            else:
                pause = TICK_SECONDS
                close_old_connections()
        connections.close_all()
