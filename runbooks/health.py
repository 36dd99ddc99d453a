"""What the engine's rows say about the engine: who works, what waits and since when, and what is wrong with that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min, QuerySet

from incidents.models import Delivery, Message
from runbooks import ticker
from runbooks.models import OPEN_RUN_STATES, StepRun, Worker

# A worker ticks each second; three missed looks of 5 s and it is not counted any more.
WORKER_ALIVE = timedelta(seconds=20)
# What is not working must show within a minute (P16).
SILENT_SECONDS = 60.0
NO_TICK = "no worker ticks"


@dataclass(frozen=True)
class State:
    """Ages in seconds; 0 where nothing waits, None where no worker ever ticked."""

    workers: int
    tick_age_seconds: float | None
    tick_error: str
    oldest_ready_seconds: float
    timer_late_seconds: float
    deliveries_waiting: int
    oldest_delivery_seconds: float
    messages_undelivered: int
    oldest_message_seconds: float
    message_late_seconds: float
    runs_wedged: int

    @property
    def faults(self) -> list[str]:
        """What is wrong, in words that hold no secret; empty while all is well."""
        found = []
        if self.tick_age_seconds is None or self.tick_age_seconds > SILENT_SECONDS:
            found.append(NO_TICK)
        for late, what in (
            (self.oldest_ready_seconds, "steps wait"),
            (self.timer_late_seconds, "timers are late"),
            (self.oldest_delivery_seconds, "deliveries wait"),
            # One that is tried again later, because its channel is away, is no fault of the engine.
            (self.message_late_seconds, "messages wait"),
        ):
            if late > SILENT_SECONDS:
                found.append(f"{what} over a minute")
        if self.runs_wedged:
            found.append("a run is wedged: nothing will move it")
        return found


def look(now: datetime) -> State:
    """A handful of indexed queries; cheap enough for each scrape and each minute."""
    last = Worker.objects.order_by("-ticked_at").first()
    at_work = StepRun.objects.filter(run__state__in=[state for state in OPEN_RUN_STATES if state != "paused"])
    deliveries = Delivery.objects.filter(status="received")
    messages = Message.objects.filter(state="pending")
    return State(
        workers=Worker.objects.filter(ticked_at__gte=now - WORKER_ALIVE).count(),
        tick_age_seconds=_age(last.ticked_at if last else None, now),
        tick_error=last.tick_error if last else "",
        oldest_ready_seconds=_oldest(at_work.filter(state="ready"), "ready_at", now),
        timer_late_seconds=_oldest(at_work.filter(state__in=["sleeping", "blocked"], due_at__lt=now), "due_at", now),
        deliveries_waiting=deliveries.count(),
        oldest_delivery_seconds=_oldest(deliveries, "received_at", now),
        messages_undelivered=messages.count(),
        oldest_message_seconds=_oldest(messages, "created_at", now),
        message_late_seconds=_oldest(messages.filter(due_at__lt=now), "due_at", now),
        runs_wedged=len(ticker.wedged()),
    )


def _age(moment: datetime | None, now: datetime) -> float | None:
    return max(0.0, (now - moment).total_seconds()) if moment else None


def _oldest(rows: QuerySet[Any], field: str, now: datetime) -> float:
    return _age(rows.aggregate(first=Min(field))["first"], now) or 0.0
