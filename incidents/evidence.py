"""Evidence: what was measured, kept for ever, cited by number."""

from __future__ import annotations

import hashlib
import json
import zlib
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import JSONField

from common import clock, statements
from common.errors import Invalid, NotFound
from common.plain import plain
from common.secrets import redact, redact_json
from incidents.models import Blob, Evidence, Incident

INLINE_BYTES = 64 * 1024
BLOB_BYTES = 20 * 1024 * 1024


def store(
    *, incident: Incident | None, kind: str, summary: str, now: datetime | None = None, **fields: Any
) -> Evidence:
    """Keep one piece of evidence, redacted and hashed; with an incident it gets the next number `E<n>`.

    `fields` are columns of Evidence; texts are cut to their columns. Numbers that JSON cannot carry (NaN, infinities)
    become None. A `result` over 64 KiB moves to a blob and leaves its keys behind. `now` is when it is kept, where the
    caller has read the clock under a lock.
    """
    # All of it or nothing: what fails in here fails the caller's transaction too.
    with transaction.atomic(savepoint=False):
        result = plain(redact_json(fields.pop("result", None) or {}))
        incident_id = incident.pk if incident is not None else None
        row = Evidence(incident_id=incident_id, kind=kind, created_at=now or clock.now())
        for name, value in (fields | {"summary": summary}).items():
            setattr(row, name, _kept(name, value))
        packed = canonical(result)
        if len(packed) > INLINE_BYTES:
            row.blob_sha256 = keep_bytes(packed, "application/json")
            result = {"moved_to_blob": sorted(result)}
        row.result = result
        if incident is not None:
            _add(row, incident, packed)
        else:
            row.sha256 = digest(row, packed)
            statements.insert(row)
    return row


def _add(row: Evidence, incident: Incident, packed: bytes) -> None:
    """Add it under the incident's next number, whose UPDATE locks the incident's row; `incident` is refreshed."""
    # Who read the row under its lock knows the number; one that was read before is read once more.
    while True:
        row.number = incident.last_evidence + 1
        row.sha256 = digest(row, packed)
        as_read = {"pk": incident.pk, "last_evidence": incident.last_evidence}
        raised = statements.changing(Incident, {}, "last_evidence", **as_read)
        if statements.in_turn(raised, statements.adding(row)):
            incident.last_evidence = row.number
            return
        locked = Incident.objects.select_for_update().values_list("last_evidence", flat=True)
        incident.last_evidence = locked.get(pk=incident.pk)


def _kept(name: str, value: Any) -> Any:
    """A value as its column keeps it, the same on every database, so that its hash can be computed again."""
    column = Evidence._meta.get_field(name)
    if isinstance(column, JSONField):
        return plain(redact_json(value))
    if isinstance(value, str):
        return redact(plain(value))[: getattr(column, "max_length", None)]
    return int(value) if isinstance(value, float) else value


def digest(row: Evidence, packed: bytes) -> str:
    """SHA-256 over every column and the canonical bytes of the whole result."""
    columns: list[Any] = [row.incident_id, row.number, row.run_id, row.step, row.attempt, row.kind]
    columns += [row.provider, row.provider_version, row.verdict, row.reason, row.summary, row.rule, row.threshold]
    columns += [row.query, moment(row.window_from), moment(row.window_to), row.value, row.unit, row.samples]
    columns += [moment(row.observed_at), row.source, row.params, row.blob_sha256, moment(row.created_at)]
    return hashlib.sha256(canonical(columns) + packed).hexdigest()


def is_whole(row: Evidence) -> bool:
    """Whether a stored row, and the blob that it may point to, still say what they said when they were recorded."""
    try:
        packed = read_bytes(row.blob_sha256) if row.blob_sha256 else canonical(row.result)
    except (NotFound, zlib.error):
        return False
    return digest(row, packed) == row.sha256


def moment(value: datetime | None) -> str | None:
    """A moment as hashes are made over it: in UTC, whatever zone it was given in."""
    return value.astimezone(UTC).isoformat() if value is not None else None


def canonical(value: Any) -> bytes:
    """The one byte form of a JSON value that hashes are made over."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def keep_bytes(content: bytes, content_type: str) -> str:
    """Store bytes once under their sha256, compressed; gives the sha256. At most 20 MiB."""
    if len(content) > BLOB_BYTES:
        raise Invalid(f"A file of {len(content) >> 20} MiB is too large.", fix="At most 20 MiB can be kept.")
    sha256 = hashlib.sha256(content).hexdigest()
    Blob.objects.get_or_create(
        sha256=sha256,
        defaults={
            "content_type": content_type,
            "size": len(content),
            "compressed": zlib.compress(content),
            "created_at": clock.now(),
        },
    )
    return sha256


def read_bytes(sha256: str) -> bytes:
    """The bytes kept under a sha256."""
    blob = Blob.objects.filter(sha256=sha256).first()
    if blob is None:
        raise NotFound("This file is not kept here.")
    return zlib.decompress(bytes(blob.compressed))


def full_result(row: Evidence) -> dict[str, Any]:
    """The provider's result, also when it was moved to a blob."""
    if not row.blob_sha256:
        return dict(row.result)
    loaded: dict[str, Any] = json.loads(read_bytes(row.blob_sha256))
    return loaded
