"""Serving everything from one process: uvicorn in the main thread, the engine's threads beside it."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import uvicorn
from django.conf import settings
from django.utils.module_loading import import_string

log = logging.getLogger(__name__)
# Open event streams are cut after this long, so that stopping does not wait for browsers.
STREAM_SECONDS = 2


class Engine(Protocol):
    """What `settings.EMBEDDED_ENGINE` starts."""

    def wait_ready(self, seconds: float) -> bool: ...

    def stop(self, seconds: float = ...) -> bool: ...


def run(sock: socket.socket, *, on_ready: Callable[[bool], object]) -> bool:
    """Serve until SIGTERM or SIGINT; `on_ready(workers_ready)` is called once pages answer. False: not all ended.

    The engine starts in a thread after the server, so that the first page waits for no worker.
    """
    config = uvicorn.Config(
        settings.ASGI_APPLICATION.replace(".application", ":application"),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=STREAM_SECONDS,
    )
    server = uvicorn.Server(config)
    started: list[Engine] = []
    starter = threading.Thread(target=_start_engine, args=(server, started, on_ready), name="starter", daemon=True)
    # uvicorn raises the signal again once it has stopped, which would end the process before our own clean-up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    starter.start()
    server.run(sockets=[sock])
    starter.join(10)
    return all(engine.stop(_seconds_to_stop()) for engine in started)


def _start_engine(server: uvicorn.Server, started: list[Engine], on_ready: Callable[[bool], object]) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.02)
    if server.should_exit:
        return
    start: Callable[[], Any] = import_string(f"{settings.EMBEDDED_ENGINE}.start")
    started.append(start())
    on_ready(started[0].wait_ready(20))


def _seconds_to_stop() -> float:
    # Supervisors commonly kill 30 s after SIGTERM; the streams have had their share already.
    return 25.0 - STREAM_SECONDS
