"""The workers of the embedded mode are real ones, each on its own queue."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from common import background
from config import embedded
from config.celery import QUEUES, app


@pytest.mark.django_db(transaction=True)
def test_every_queue_has_a_worker_that_hears_its_hints() -> None:
    heard: dict[str, threading.Event] = {queue: threading.Event() for queue in QUEUES}

    @app.task(name="test.hear")
    def hear(queue: str) -> None:
        heard[queue].set()

    engine = embedded.start()
    try:
        assert engine.wait_ready(20)
        # What the types of Celery do not tell.
        workers: Any = engine.workers
        consumed = [[queue.name for queue in worker.consumer.task_consumer.queues] for worker in workers]
        assert consumed == [[queue] for queue in QUEUES]
        for queue in QUEUES:
            background.hint(hear.name, queue, queue)
        assert all(event.wait(20) for event in heard.values()), heard
    finally:
        assert engine.stop()
        app.tasks.unregister("test.hear")
