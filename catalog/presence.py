"""Who looks at a thing right now: a row per reader and thing, renewed by their open page."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import DatabaseError, transaction

from catalog.models import Presence, User
from common import clock
from common.statements import Written

# An open page is renewed each 15 s; two renewals may go missing before its reader counts as gone.
RENEW_AFTER = timedelta(seconds=15)
HERE_FOR = timedelta(seconds=40)
KEPT_FOR = timedelta(days=1)


def seen(user: User, kind: str, key: str) -> bool:
    """Note that `user` has the thing open now; True if a row was written, at most once per 15 s.

    It serves others' curiosity, so it never fails its caller: while the database is away nothing is noted.
    """
    try:
        with transaction.atomic():
            return _renew(user, kind, key, clock.now())
    except DatabaseError:
        return False


def _renew(user: User, kind: str, key: str, now: datetime) -> bool:
    rows = Presence.objects.filter(user=user, kind=kind, key=key)
    last = rows.values_list("seen_at", flat=True).first()
    if last is None:
        row = Presence(user=user, kind=kind, key=key, since=now, seen_at=now)
        Presence.objects.bulk_create([row], ignore_conflicts=True)
        return True
    if now - last < RENEW_AFTER:
        return False
    # Who was away in between has come anew.
    changed = {"seen_at": now} if now - last < HERE_FOR else {"seen_at": now, "since": now}
    return rows.update(**changed) > 0


_here = Written(
    lambda kind, key, since, but: (
        Presence.objects.filter(kind=kind, key=key, seen_at__gte=since, user__is_active=True)
        .exclude(user=but)
        .select_related("user")
        .order_by("since", "pk")
    )
)


def here(kind: str, key: str, *, but: User | None = None) -> list[User]:
    """Who has the thing open, who came first first; without `but`, usually the one who asks."""
    return [row.user for row in _here(kind, key, clock.now() - HERE_FOR, 0 if but is None else but.pk)]


def tidy(now: datetime) -> int:
    """Throw away who was last here a day ago; gives how many."""
    return Presence.objects.filter(seen_at__lt=now - KEPT_FOR).delete()[0]
