"""Key moments: entries with a star. Some get theirs when they are recorded; people set and take away the others.

Entries are append-only, so a person's star is a row beside them. It says who and when, and is no entry of its own: a
line "somebody starred line 12" would be noise in the very list that stars are to shorten.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import F

from catalog.actors import Actor
from common import clock
from common.errors import NotFound
from common.statements import Written
from incidents import timeline
from incidents.locking import locked
from incidents.models import Incident, Pin, TimelineEntry


def pin(incident: Incident, seq: int, *, pinned: bool, actor: Actor) -> bool:
    """Set the star of one entry or take it away; False when it is so already. The same again is harmless."""
    with transaction.atomic():
        row = locked(incident, actor)
        if is_key(entry_of(row, seq), overruled(row)) is pinned:
            return False
        said = {"pinned": pinned, "by": actor.label[:120], "at": clock.now()}
        Pin.objects.update_or_create(incident=row, seq=seq, defaults=said)
        Incident.objects.filter(pk=row.pk).update(version=F("version") + 1)
        timeline.bump(row.team_id)
    return True


def entry_of(incident: Incident, seq: int) -> TimelineEntry:
    """The entry of that number, or NotFound."""
    entry = TimelineEntry.objects.filter(incident=incident, seq=seq).first()
    if entry is None:
        raise NotFound(f"{incident.key} has no entry {seq}.", fix=f"It has 1 to {incident.last_seq}.")
    return entry


_said = Written(lambda incident: Pin.objects.filter(incident=incident).values_list("seq", "pinned"))


def overruled(incident: Incident) -> dict[int, bool]:
    """What people said of stars, by the number of the entry."""
    return dict(_said(incident.pk))


def is_key(entry: TimelineEntry, said: dict[int, bool]) -> bool:
    """Whether an entry is a key moment; `said` is what `overruled` gave."""
    return said.get(entry.seq, entry.pinned)
