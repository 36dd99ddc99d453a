"""What the clock starts for incidents (the table is in config/celery.py); each is safe at any time."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from common import clock
from incidents import action_items, heads, notices, outbox, pictures, postmortems


@shared_task(name="incidents.check_clocks")
def check_clocks() -> None:
    """Tell owners of postmortems at 24, 44 and 48 hours, and of action items that are due or overdue."""
    now = clock.now()
    postmortems.check_clocks(now)
    action_items.remind(now)


@shared_task(name="incidents.keep_heads")
def keep_heads() -> None:
    """Write the heads of the timelines beside the database, once a day."""
    heads.keep(settings.BACKSTOP.data_dir / "heads", clock.now())


@shared_task(name="incidents.look_at_signals")
def look_at_signals() -> None:
    """Ask for pictures of the signals of services with open incidents; workers of the queue `checks` read them."""
    pictures.ask_for_open(clock.now())


@shared_task(name="incidents.send_due")
def send_due() -> None:
    """Send messages whose hint was lost or whose next try has come; where none gets through, tell others."""
    notices.tell_second_channel(clock.now())
    send_due_messages()


def send_due_messages(limit: int = 50) -> int:
    """The same, with the number of messages tried."""
    return sum(outbox.deliver(message_id) is not None for message_id in outbox.due(limit))
