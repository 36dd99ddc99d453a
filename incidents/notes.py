"""Correcting what a person wrote down: the note stays, and a new entry with the right time takes its place."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from catalog.actors import Actor
from common import clock
from common.errors import Conflict, Invalid
from incidents import pins, timeline
from incidents.locking import locked
from incidents.models import Incident, TimelineEntry


def correct_time(incident: Incident, seq: int, *, at: datetime, reason: str, actor: Actor) -> TimelineEntry:
    """Say when what a note tells really happened; who wrote it, its words and its star go with it."""
    if not reason.strip():
        raise Invalid("A reason is needed to change a time.", fields={"reason": "how do you know?"})
    if at > clock.now():
        raise Invalid("A note cannot be about the future.", fields={"at": "now or earlier"})
    with transaction.atomic():
        row = locked(incident, actor)
        note = pins.entry_of(row, seq)
        if note.kind != "note":
            raise Conflict(
                "Only the time of a note can be corrected: the clock wrote that of every other entry.",
                fix="Write a note that says when it really was.",
            )
        if TimelineEntry.objects.filter(incident=row, supersedes=seq).exists():
            raise Conflict("This note was corrected already.", fix="Correct the one that took its place.")
        data = {
            "written_by": note.data.get("written_by", note.actor),
            "at_was": note.at.isoformat(),
            "reason": " ".join(reason.split())[:500],
        }
        corrected = timeline.record(
            row, kind="note", actor=actor, text=note.text, at=at, data=data, pinned=note.pinned, supersedes=seq
        )
        star = pins.overruled(row).get(seq)
        if star is not None:
            pins.pin(row, corrected.seq, pinned=star, actor=actor)
    incident.version, incident.last_seq = row.version, row.last_seq
    return corrected
