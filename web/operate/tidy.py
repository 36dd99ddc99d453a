"""What is thrown away and when: sessions, spent login links, raw bodies of old deliveries, silent workers, readers."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.sessions.models import Session

from catalog import pictures, presence
from catalog.models import LoginLink
from incidents.models import Delivery
from runbooks.models import Worker

# The raw bytes may hold prompts and personal data; what was read from them stays (docs/guide/operate.md).
RAW_BODY_DAYS = 30
LOGIN_LINK_DAYS = 30
WORKER_DAYS = 7
_BATCH = 1000


def run(now: datetime) -> dict[str, int]:
    """Delete or blank what is past its time; gives counts. Safe to repeat, and it holds no lock for long."""
    old = Delivery.objects.filter(received_at__lt=now - timedelta(days=RAW_BODY_DAYS)).exclude(status="received")
    ids = list(old.exclude(body_encrypted=b"").values_list("pk", flat=True)[:_BATCH])
    return {
        "bodies": Delivery.objects.filter(pk__in=ids).update(body_encrypted=b""),
        "sessions": Session.objects.filter(expire_date__lt=now).delete()[0],
        "login links": LoginLink.objects.filter(expires_at__lt=now - timedelta(days=LOGIN_LINK_DAYS)).delete()[0],
        "pictures": pictures.tidy(now),
        "workers": Worker.objects.filter(ticked_at__lt=now - timedelta(days=WORKER_DAYS)).delete()[0],
        "readers": presence.tidy(now),
    }
