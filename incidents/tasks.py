"""What workers are asked to do for incidents: ids in, one verb called."""

from __future__ import annotations

from celery import shared_task

from incidents import outbox, pictures


@shared_task(name="incidents.deliver")
def deliver(message_id: int) -> None:
    """Try one message of the outbox once."""
    outbox.deliver(message_id)


@shared_task(name="incidents.take_pictures")
def take_pictures(incident_id: int) -> None:
    """Read the signals around one incident from their sources."""
    pictures.take_of_incident(incident_id)


@shared_task(name="incidents.take_pictures_of_service")
def take_pictures_of_service(service_id: int) -> None:
    """Read the last hours of one service's signals from their sources."""
    pictures.take_of_service(service_id)
