"""The servers: everything from one process (uvicorn, the engine's threads beside it), or pages and streams apart."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import uvicorn
from django.conf import settings
from django.urls import get_resolver
from django.utils.module_loading import import_string

log = logging.getLogger(__name__)
# Open event streams are cut after this long, so that stopping does not wait for browsers.
STREAM_SECONDS = 2


class Engine(Protocol):
    """What `settings.EMBEDDED_ENGINE` starts."""

    def wait_ready(self, seconds: float) -> bool: ...

    def stop(self, seconds: float = ...) -> bool: ...


def run(sock: socket.socket, *, before_engine: Callable[[], object] | None, on_ready: Callable[[bool], object]) -> bool:
    """Serve until SIGTERM or SIGINT; `on_ready(workers_ready)` is called once pages answer. False: not all ended.

    `before_engine` and the engine follow in a thread once pages answer, so that the first page waits for neither.
    """
    # Workers compute beside web threads that mostly wait for the database: at the usual 5 ms a turn each such wait
    # costs a turn of somebody else's, and a storm is acknowledged at two thirds of the speed (bench/README.md).
    sys.setswitchinterval(0.0005)
    server = _server()
    started: list[Engine] = []
    starter = threading.Thread(
        target=_start_engine, args=(server, started, before_engine, on_ready), name="starter", daemon=True
    )
    starter.start()
    server.run(sockets=[sock])
    starter.join(10)
    return all(engine.stop(_seconds_to_stop()) for engine in started)


def run_streams(sock: socket.socket) -> None:
    """Serve `/live/` alone (config/asgi.py) until SIGTERM or SIGINT."""
    _server().run(sockets=[sock])


def become_gunicorn(sock: socket.socket, *, workers: int, threads: int) -> NoReturn:
    """Turn this process into gunicorn on the socket: pages, API and hooks on threads (docs/decisions/0009)."""
    sock.set_inheritable(True)
    program = str(Path(sys.executable).with_name("gunicorn"))
    command = [program, "config.wsgi:application", "--bind", f"fd://{sock.fileno()}", "--worker-class", "gthread"]
    command += ["--workers", str(workers), "--threads", str(threads)]
    # Browsers and nginx keep connections; a request under way at SIGTERM gets as long as a step.
    command += ["--keep-alive", "60", "--graceful-timeout", "25", "--log-level", "warning"]
    os.execv(program, command)  # noqa: S606  a fixed program of our own environment


def _server() -> uvicorn.Server:
    """uvicorn on our application, which leaves a signal's last word to us."""
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
    # uvicorn raises the signal again once it has stopped, which would end the process before our own clean-up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return uvicorn.Server(config)


def _start_engine(
    server: uvicorn.Server,
    started: list[Engine],
    before_engine: Callable[[], object] | None,
    on_ready: Callable[[bool], object],
) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.02)
    if server.should_exit:
        return
    # Brings every page in. A first request that comes now waits for the same imports, and has no others beside it.
    _ = get_resolver().url_patterns
    if before_engine is not None:
        before_engine()
    start: Callable[[], Any] = import_string(f"{settings.EMBEDDED_ENGINE}.start")
    started.append(start())
    on_ready(started[0].wait_ready(20))


def _seconds_to_stop() -> float:
    # Supervisors commonly kill 30 s after SIGTERM; the streams have had their share already.
    return 25.0 - STREAM_SECONDS
