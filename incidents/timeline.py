"""The append-only log of an incident, from which everything else is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from catalog.actors import Actor
from catalog.models import Team
from common import clock, live, statements
from common.plain import plain
from common.secrets import redact, redact_json
from incidents.evidence import canonical, is_whole, moment
from incidents.models import Evidence, Incident, TimelineEntry

# Every kind of entry; templates/incidents/_entries.html knows the shape of each.
KINDS = {
    "alert": "an alert fired, changed or stopped",
    "state": "the incident changed state, severity, commander or service",
    "note": "a person wrote something down",
    "impact": "how far it reaches was measured, estimated or asked for",
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
# What an incident knows of its newest entry.
_HEAD = ("last_seq", "last_hash", "version")


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
    now: datetime | None = None,
) -> TimelineEntry:
    """Append one entry, redacted and chained to the one before, in the caller's transaction.

    The incident row is locked by the UPDATE that hands out the number, so entries of one incident are a gapless
    sequence; `incident` is refreshed. `at` is when it happened (default now); `text` must stand alone for a reader.
    `now` is given by a caller who has read the clock under the incident's lock.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown timeline kind {kind!r}")
    cited = {item.number: item.sha256 for item in evidence if item.number is not None}
    entry = TimelineEntry(
        incident_id=incident.pk,
        kind=kind,
        actor=redact(plain(actor.label))[:120],
        role=actor.role[:40],
        text=redact(plain(text))[:_LIMIT],
        data=plain(redact_json(data or {})),
        evidence=list(cited),
        pinned=pinned,
        supersedes=supersedes,
    )
    # All of it or nothing: what fails in here fails the caller's transaction too.
    with transaction.atomic(savepoint=False):
        if not _append(entry, incident, cited, at=at, now=now or clock.now()):
            # Somebody wrote to it since it was read.
            fresh = Incident.objects.select_for_update().only(*_HEAD).get(pk=incident.pk)
            for name in _HEAD:
                setattr(incident, name, getattr(fresh, name))
            _append(entry, incident, cited, at=at, now=clock.now())
        bump(incident.team_id)
    return entry


def _append(
    entry: TimelineEntry, incident: Incident, cited: Mapping[int, str], *, at: datetime | None, now: datetime
) -> bool:
    """Chain the entry to the newest one that `incident` knows; False, with nothing written, where there is a newer."""
    entry.seq, entry.previous_hash = incident.last_seq + 1, incident.last_hash
    entry.at, entry.recorded_at = at or now, now
    entry.hash = digest(entry, cited)
    head = {"last_seq": entry.seq, "last_hash": entry.hash, "version": incident.version + 1}
    as_read = {name: getattr(incident, name) for name in _HEAD}
    if not statements.in_turn(statements.changing(Incident, head, pk=incident.pk, **as_read), statements.adding(entry)):
        return False
    for name, value in head.items():
        setattr(incident, name, value)
    return True


def digest(entry: TimelineEntry, cited: Mapping[int, str]) -> str:
    """The entry's hash: SHA-256 over the previous hash, every field, and the hashes of the evidence it cites."""
    fields: list[Any] = [entry.previous_hash, entry.incident_id, entry.seq, moment(entry.at), moment(entry.recorded_at)]
    fields += [entry.kind, entry.actor, entry.role, entry.text, entry.data, entry.pinned, entry.supersedes]
    fields += [[number, cited.get(number, "gone")] for number in entry.evidence]
    return hashlib.sha256(canonical(fields)).hexdigest()


def broken_links(incident: Incident) -> list[str]:
    """What is wrong with an incident's chain and evidence, one sentence each; empty when all of it is whole."""
    found, before, expected = [], "", 1
    rows = Evidence.objects.filter(incident_id=incident.pk, number__isnull=False).order_by("number")
    kept: dict[int, str] = {}
    for row in rows.iterator(chunk_size=200):
        kept[row.number or 0] = row.sha256
        if not is_whole(row):
            found.append(f"{incident.key}: evidence {row.key} was changed")
    gone = sorted(set(range(1, incident.last_evidence + 1)) ^ set(kept))
    found += [f"{incident.key}: evidence E{number} is missing or was put in" for number in gone]
    for entry in TimelineEntry.objects.filter(incident=incident).order_by("seq").iterator(chunk_size=500):
        if entry.seq != expected:
            found.append(f"{incident.key}: entry {expected} is missing")
        if entry.previous_hash != before or digest(entry, kept) != entry.hash:
            found.append(f"{incident.key}: entry {entry.seq} was changed")
        before, expected = entry.hash, entry.seq + 1
    if expected != incident.last_seq + 1 or before != incident.last_hash:
        found.append(f"{incident.key}: the end was cut off")
    return found


def bump(team_id: int) -> None:
    """Raise the team's version (the live id of its lists) and wake readers, once, after the commit.

    Not inside the transaction: every change of every incident would queue behind the team's row, and two transactions
    that touch several incidents could deadlock on it (docs/decisions/0010). On SQLite a transaction has the database to
    itself, so there it is part of it: one wait for the disk less.
    """
    inside = connection.vendor == "sqlite" and connection.in_atomic_block

    def tell() -> None:
        if not inside:
            statements.increment(Team, "version", pk=team_id)
        live.wake()

    tell.team_id = team_id  # type: ignore[attr-defined]  # how a second call in one transaction is seen
    if any(getattr(waiting[1], "team_id", None) == team_id for waiting in connection.run_on_commit):
        return
    if inside:
        statements.increment(Team, "version", pk=team_id)
    transaction.on_commit(tell)
