"""What workers are asked to do for incidents: ids in, one verb called."""

from __future__ import annotations

from celery import shared_task

from incidents import outbox


@shared_task(name="incidents.deliver")
def deliver(message_id: int) -> None:
    """Try one message of the outbox once."""
    outbox.deliver(message_id)
