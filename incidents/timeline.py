"""The append-only log of an incident, from which everything else is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from catalog.actors import Actor
from catalog.models import Team
from common import clock, live
from common.secrets import redact, redact_json
from incidents.models import Evidence, Incident, TimelineEntry

# Every kind of entry; each has a template templates/incidents/timeline/<kind>.html.
KINDS = {
    "alert": "an alert fired, changed or stopped",
    "state": "the incident changed state, severity, commander or service",
    "note": "a person wrote something down",
    "run": "a runbook was started, joined, refused, paused or ended",
    "check": "a check gave a verdict",
    "diagnosis": "the likely cause was settled",
    "approval": "an action was proposed, approved, rejected or expired",
    "effect": "something in the world was changed by us",
    "answer": "a person answered a manual step or overrode a verdict",
    "engine": "the engine recovered, retried or is in doubt",
    "message": "somebody was told, or could not be",
    "change": "something was changed by others",
    "postmortem": "the postmortem moved",
    "gate": "a closing condition was opened or answered",
}
_LIMIT = 20_000


def record(
    incident: Incident,
    *,
    kind: str,
    actor: Actor,
    text: str,
    at: datetime | None = None,
    data: dict[str, Any] | None = None,
    evidence: Iterable[Evidence] = (),
    pinned: bool = False,
    supersedes: int | None = None,
) -> TimelineEntry:
    """Append one entry, redacted and chained to the one before, in the caller's transaction.

    The incident row is locked by the UPDATE that hands out the number, so entries of one incident are a gapless
    sequence; `incident` is refreshed. `at` is when it happened (default now); `text` must stand alone for a reader.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown timeline kind {kind!r}")
    with transaction.atomic():
        Incident.objects.filter(pk=incident.pk).update(last_seq=F("last_seq") + 1, version=F("version") + 1)
        seq, version, before = Incident.objects.values_list("last_seq", "version", "last_hash").get(pk=incident.pk)
        now = clock.now()
        entry = TimelineEntry(
            incident_id=incident.pk,
            seq=seq,
            at=at or now,
            recorded_at=now,
            kind=kind,
            actor=redact(actor.label)[:120],
            role=actor.role[:40],
            text=redact(text.replace("\x00", "\ufffd"))[:_LIMIT],
            data=redact_json(data or {}),
            evidence=[item.number for item in evidence if item.number is not None],
            pinned=pinned,
            supersedes=supersedes,
            previous_hash=before,
        )
        entry.hash = digest(entry)
        entry.save(force_insert=True)
        Incident.objects.filter(pk=incident.pk).update(last_hash=entry.hash)
        bump(incident.team_id)
    incident.last_seq, incident.version, incident.last_hash = seq, version, entry.hash
    return entry


def digest(entry: TimelineEntry) -> str:
    """The entry's hash: SHA-256 over the previous hash and every field, as canonical JSON bytes."""
    fields = [
        entry.previous_hash,
        entry.incident_id,
        entry.seq,
        entry.at.isoformat(),
        entry.recorded_at.isoformat(),
        entry.kind,
        entry.actor,
        entry.role,
        entry.text,
        entry.data,
        entry.evidence,
        entry.pinned,
        entry.supersedes,
    ]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def broken_links(incident: Incident) -> list[str]:
    """What is wrong with an incident's chain, one sentence each; empty when it is whole."""
    found, before, expected = [], "", 1
    for entry in TimelineEntry.objects.filter(incident=incident).order_by("seq"):
        if entry.seq != expected:
            found.append(f"{incident.key}: entry {expected} is missing")
        if entry.previous_hash != before or digest(entry) != entry.hash:
            found.append(f"{incident.key}: entry {entry.seq} was changed")
        before, expected = entry.hash, entry.seq + 1
    if expected != incident.last_seq + 1 or before != incident.last_hash:
        found.append(f"{incident.key}: the end was cut off")
    return found


def bump(team_id: int) -> None:
    """Raise the team's version (the live id of its lists) and wake readers, once, after the commit.

    Not inside the transaction: every change of every incident would queue behind the team's row, and two transactions
    that touch several incidents could deadlock on it (docs/decisions/0010).
    """

    def raise_version() -> None:
        Team.objects.filter(pk=team_id).update(version=F("version") + 1)
        live.wake()

    raise_version.team_id = team_id  # type: ignore[attr-defined]  # how a second call in one transaction is seen
    if any(getattr(waiting[1], "team_id", None) == team_id for waiting in connection.run_on_commit):
        return
    transaction.on_commit(raise_version)
