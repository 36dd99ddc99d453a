"""Handing work to Celery after the commit, without ever waiting for the broker.

The row is the work; the message is a hint that carries its id. `enqueue` puts (task, id) into a queue of this process
once the transaction has committed, and one publisher thread sends them, behind a breaker: while the broker is away the
hints are dropped and the runner thread of any worker finds the rows (docs/decisions/0004).
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from typing import Any, ParamSpec, Protocol

import celery
from celery import current_app
from django.db import transaction

from common.faults import crashpoint

log = logging.getLogger(__name__)
P = ParamSpec("P")
_BREAK_SECONDS = 2.0
Hint = tuple[str, tuple[Any, ...], str]
_hints: queue.Queue[Hint] = queue.Queue(maxsize=10_000)
_start = threading.Lock()
_thread: threading.Thread | None = None
_open_until = 0.0


class Task(Protocol[P]):
    """A Celery task, as far as this module needs it."""

    name: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class Gathering(celery.Task):  # type: ignore[type-arg]  # generic in the stubs only
    """A task that takes along whatever waits beside its row, so that one hint of many waiting ones is enough."""


def enqueue(task: Task[P], queue_name: str, *args: P.args, **kwargs: P.kwargs) -> None:
    """Send a waking hint for `task(*args)` on a queue once the current transaction has committed. Never blocks."""
    if kwargs:
        raise TypeError("hints carry positional ids only")
    hint(task.name, queue_name, *args)


def hint(task_name: str, queue_name: str, *ids: Any) -> None:
    """The same by the task's name, for modules that the task itself calls."""

    def put() -> None:
        try:
            _hints.put_nowait((task_name, ids, queue_name))
        except queue.Full:
            return
        _ensure_thread()

    transaction.on_commit(put)


def _ensure_thread() -> None:
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    with _start:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_publish, name="publisher", daemon=True)
            _thread.start()


def _publish() -> None:
    global _open_until
    while True:
        waiting = [_hints.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.append(_hints.get_nowait())
        if time.monotonic() < _open_until:
            continue
        crashpoint("W4", after=0.5)
        try:
            for task_name, args, queue_name in few(waiting):
                current_app.send_task(task_name, args=args, queue=queue_name, retry=False, ignore_result=True)
        except Exception as error:  # noqa: BLE001  whatever a broker client raises, the row stays and is found
            _open_until = time.monotonic() + _BREAK_SECONDS
            log.warning("the broker does not take hints: %s", type(error).__name__)


def few(waiting: list[Hint]) -> list[Hint]:
    """Without the hints that another one stands for (see `Gathering`)."""
    kept: list[Hint] = []
    gathering: set[str] = set()
    for hinted in waiting:
        name = hinted[0]
        if name in gathering:
            continue
        if isinstance(current_app.tasks.get(name), Gathering):
            gathering.add(name)
        kept.append(hinted)
    return kept
