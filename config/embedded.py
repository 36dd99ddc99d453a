"""The workers of the embedded mode: real Celery workers and beat as threads of the web process, plus the runner.

One worker per queue, each with its own slots, so that slow checks never hold up an action. Found by
`settings.EMBEDDED_ENGINE`, as Django finds its WSGI application: nothing imports the wiring.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import Celery
from celery.beat import Scheduler, Service
from celery.worker import WorkController
from django.conf import settings
from django.db import connections

from config import broker
from config.celery import QUEUES
from config.celery import app as celery_app
from web.operate import runner, watch

log = logging.getLogger(__name__)
STOP_SECONDS = 25.0
# A worker is ready within hundredths of a second; one that is not must not keep the others from starting.
READY_SECONDS = 10.0
# No remote control: nobody may talk to the clock over the broker (celery-types does not know the argument).
BEAT: dict[str, Any] = {"remote_control": False}
# One thread for actions is not enough (a slow one would delay a rollback elsewhere); the engine's work is short.
SLOTS = {"engine": 2, "checks": settings.BACKSTOP.workers, "actions": 2}


class Engine:
    """The running threads of one embedded process; made by `start`."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.workers: list[WorkController] = []
        self.threads: list[threading.Thread] = []
        self.ready = {name: threading.Event() for name in QUEUES}
        self.beat = Service(app, max_interval=2, scheduler_cls=Scheduler, **BEAT)
        self.runner = runner.Runner(queues=list(QUEUES), name=runner.own_name("embedded"))
        self.watch = watch.Watch()

    def start(self) -> None:
        """Start every thread; `ready` tells per queue when its worker takes messages."""
        broker.stopping.clear()
        for queue in QUEUES:
            worker = WorkController(
                app=self.app,
                hostname=f"{queue}@embedded",
                queues=[queue],
                pool_cls="threads",
                concurrency=SLOTS[queue],
                ready_callback=lambda _consumer, queue=queue: self.ready[queue].set(),
                without_heartbeat=True,
                without_mingle=True,
                without_gossip=True,
            )
            self.workers.append(worker)
            self._thread(worker.start, f"worker-{queue}")
            # Which queues to consume is a property of the app, read when a worker's consumer starts: one at a time, or
            # they would all consume the last one's, and nobody the first one's.
            self.ready[queue].wait(READY_SECONDS)
        self._thread(self.beat.start, "beat")
        self._thread(_warm, "warm-up")
        self.runner.start()
        self.watch.start()

    def wait_ready(self, seconds: float) -> bool:
        """Whether every worker took up its queue within `seconds`."""
        end = time.monotonic() + seconds
        return all(event.wait(max(0.0, end - time.monotonic())) for event in self.ready.values())

    def stop(self, seconds: float = STOP_SECONDS) -> bool:
        """Claim nothing new and let running steps end, for at most `seconds`; False when some were left behind.

        What is left behind loses its lease and is taken up at the next start.
        """
        end = time.monotonic() + seconds
        broker.stopping.set()
        self.watch.stop()
        self.runner.stop()
        self.beat.stop()
        stoppers = [threading.Thread(target=worker.stop, daemon=True) for worker in self.workers]
        for stopper in stoppers:
            stopper.start()
        broker.bell.ring()
        for stopper in stoppers:
            stopper.join(max(0.0, end - time.monotonic()))
        self.runner.join(max(0.0, end - time.monotonic()))
        clean = not any(stopper.is_alive() for stopper in stoppers) and not self.runner.is_alive()
        if not clean:
            log.warning("steps were still running after %s seconds; their leases end by themselves", seconds)
        return clean

    def _thread(self, target: Any, name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()


def start(app: Celery = celery_app) -> Engine:
    """Start the workers, beat and the runner of this process."""
    connections.close_all()
    engine = Engine(app)
    engine.start()
    return engine


def _warm() -> None:
    """Import the statistics once, away from the first check that needs them."""
    time.sleep(3)
    import scipy.stats  # noqa: F401, PLC0415  takes seconds and 80 MB: never on the way to the first page
