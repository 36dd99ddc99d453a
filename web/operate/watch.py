"""Watching the engine from outside of it: tells every team when nothing runs, and carries that message itself.

Runs beside the clock (`manage.py beat`) and in the embedded process. It is the second line: the first is the monitor at
BACKSTOP_DEAD_MAN_URL, which also notices when the whole machine is gone.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta

from django.db import close_old_connections, connections

from catalog.models import Team
from common import clock
from incidents import notices, schedule
from incidents.models import Message
from runbooks import backlog, health
from runbooks.models import Worker

log = logging.getLogger(__name__)
EVERY_SECONDS = 15.0
COMMAND = "python manage.py worker (embedded: python manage.py up)"
# Workers that have just come back find a backlog; it is a fault only when it is still there after so long.
CATCHING_UP = timedelta(minutes=2)


def look(now: datetime) -> list[Message]:
    """Tell every team, once per standstill (once an hour for a backlog that stays); gives the messages.

    Whoever should carry messages may be what is wrong, so the due ones are carried here, these and all others; what has
    become late meanwhile as one message to each address, as workers would.
    """
    last = Worker.objects.order_by("-ticked_at").first()
    if last is None:
        # Never was one: somebody is still setting up.
        return []
    told: list[Message] = []
    faults = health.look(now).faults
    living = list(Worker.objects.filter(ticked_at__gte=now - health.WORKER_ALIVE))
    if living and all(now - worker.started_at < CATCHING_UP for worker in living):
        return []
    # Without a worker everything else waits too; that is one fault, not four.
    for fault in [health.NO_TICK] if health.NO_TICK in faults else faults:
        silent = fault == health.NO_TICK
        seconds = round((now - last.ticked_at).total_seconds())
        words = f"nothing runs, no worker for {seconds} s" if silent else fault
        key = f"{last.ticked_at.isoformat()}" if silent else f"{fault}:{now:%Y-%m-%dT%H}"
        for team in Team.objects.order_by("pk"):
            told += notices.tell(
                team=team,
                kind="engine_down",
                key=f"{team.slug}:{key}",
                subject=f"Backstop: {words} · asks: start or restart a worker",
                body=notices.body("engine_down", what=words, command=COMMAND),
                link="/",
            )
    if faults:
        schedule.send_due_messages()
        backlog.carry_all(now, anybody_reads=any("engine" in worker.queues for worker in living))
    return told


class Watch:
    """A thread that looks every 15 seconds, until it is stopped."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; the thread ends by itself."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_SECONDS):
            try:
                look(clock.now())
            except Exception:  # the database may be away; this thread must outlive that
                log.exception("the engine could not be watched")
                connections.close_all()
            else:
                close_old_connections()
        connections.close_all()
