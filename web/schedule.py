"""What the clock starts in this room (the table is in config/celery.py)."""

from __future__ import annotations

from celery import shared_task

from common import clock
from web.operate import tidy as tidying


@shared_task(name="web.tidy")
def tidy() -> None:
    """Throw away what is past its time."""
    tidying.run(clock.now())
