"""`manage.py beat`: the clock of the house jobs in production."""

from __future__ import annotations

import signal
from typing import Any

from celery import current_app
from celery.beat import Scheduler, Service
from django.core.management.base import BaseCommand

from web.management.commands.worker import refuse_unsafe
from web.operate import watch

# No remote control: nobody may talk to the clock over the broker (celery-types does not know the argument).
OPTIONS: dict[str, Any] = {"remote_control": False}


class Command(BaseCommand):
    """Start house jobs when they are due, and watch the engine; no run depends on it."""

    help = "Start house jobs when due, until SIGTERM. One is enough; a second one only repeats harmless jobs."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the clock until SIGTERM or Ctrl-C; ends with 0."""
        refuse_unsafe()
        # In memory: the table is short, and a file could only be stale.
        service = Service(current_app, max_interval=2, scheduler_cls=Scheduler, **OPTIONS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        self.stdout.write("The clock is running.")
        self.stdout.flush()
        watching = watch.Watch()
        watching.start()
        service.start()
        watching.stop()
