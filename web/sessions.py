"""Where somebody is signed in: every browser session of theirs, and ending all but the one at hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session

from catalog.models import User
from common import clock


@dataclass(frozen=True)
class Sitting:
    """One browser that is signed in; `seen` is right to ten minutes."""

    began: datetime | None
    seen: datetime | None
    ends: datetime
    remembered: bool
    is_this: bool


def sittings(user: User, this_key: str | None) -> list[Sitting]:
    """The person's sessions, the one at hand first."""
    found = [
        Sitting(
            _moment(data.get("began_at")),
            _moment(data.get("seen_at")),
            row.expire_date,
            bool(data.get("remember")),
            row.session_key == this_key,
        )
        for row, data in _rows(user)
    ]
    return sorted(found, key=lambda one: (not one.is_this, -(one.seen.timestamp() if one.seen else 0)))


def end_others(user: User, this_key: str | None) -> int:
    """Sign the person out everywhere else, at once; how many sessions that were."""
    keys = [row.session_key for row, _ in _rows(user) if row.session_key != this_key]
    Session.objects.filter(session_key__in=keys).delete()
    return len(keys)


def _rows(user: User) -> list[tuple[Session, dict[str, Any]]]:
    # Whose a session is stands inside it, so each is read; those that ended are tidied away daily.
    rows = [(row, row.get_decoded()) for row in Session.objects.filter(expire_date__gt=clock.now()).iterator()]
    return [(row, data) for row, data in rows if data.get(SESSION_KEY) == str(user.pk)]


def _moment(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) else None
