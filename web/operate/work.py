"""A production worker process: Celery's worker for some queues, and the runner that needs no broker."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery import Celery, bootsteps, current_app
from celery.apps.worker import Worker
from celery.fixups.django import DjangoFixup
from celery.signals import worker_shutting_down

from web.operate import runner

log = logging.getLogger(__name__)
QUEUES = ("engine", "checks", "actions")
# SIGTERM gives running steps this long; then the process leaves, and their leases end by themselves.
STOP_SECONDS = 25.0
POOLS = ("threads", "prefork")
# A consumer waits for messages on its socket, so it may be more patient than a publisher in a web request.
_CONSUMER_TIMEOUT = 5
_asked = threading.Event()


def queues(text: str) -> list[str]:
    """The queue names of `--queues`; ValueError names a wrong one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        raise ValueError(f"There is no queue {', '.join(unknown) or '(none given)'}; known: {', '.join(QUEUES)}.")
    return names


def _runner_step(own: runner.Runner) -> type[bootsteps.StartStopStep]:
    class RunnerStep(bootsteps.StartStopStep):
        """Starts the runner after the pool (whose children are forked first) and before the broker is asked."""

        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            own.start()

        def stop(self, parent: Any) -> None:
            own.stop()
            own.join(STOP_SECONDS)

        terminate = stop

    return RunnerStep


def run(names: list[str], *, pool: str, slots: int) -> int:
    """Work until SIGTERM; gives the exit code."""
    app: Celery = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  the proxy has no other door
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "socket_timeout": _CONSUMER_TIMEOUT,
        "socket_connect_timeout": _CONSUMER_TIMEOUT,
    }
    if pool == "prefork":
        # It cares for connections and their pool across the fork; threads need only what config/celery.py does.
        DjangoFixup(app).install()
    own = runner.Runner(queues=names, name=runner.own_name("worker"))
    app.steps["worker"].add(_runner_step(own))
    worker_shutting_down.connect(_leave_in_time, weak=False)
    worker = Worker(
        app=app,
        queues=names,
        pool_cls=pool,
        concurrency=slots,
        optimization="fair",
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
        quiet=True,
        loglevel="WARNING",
    )
    worker.start()
    # Celery calls Ctrl-C a failure; a stop that was asked for is none.
    return 0 if _asked.is_set() else int(worker.exitcode or 0)


def _leave_in_time(**_: Any) -> None:
    _asked.set()

    def leave() -> None:
        log.warning("steps were still running after %s seconds; their leases end by themselves", STOP_SECONDS)
        os._exit(0)

    timer = threading.Timer(STOP_SECONDS, leave)
    timer.daemon = True
    timer.start()
