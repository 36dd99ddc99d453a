"""Evidence: what was measured, kept for ever, cited by number."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from typing import Any

from django.db import transaction
from django.db.models import F

from common import clock
from common.errors import Invalid, NotFound
from common.secrets import redact, redact_json
from incidents.models import Blob, Evidence, Incident

INLINE_BYTES = 64 * 1024
BLOB_BYTES = 20 * 1024 * 1024


def store(*, incident_id: int | None, kind: str, summary: str, **fields: Any) -> Evidence:
    """Keep one piece of evidence, redacted and hashed; with an incident it gets the next number `E<n>`.

    `fields` are columns of Evidence. Numbers that JSON cannot carry (NaN, infinities) become None in `value` and text
    in `result`; a `result` over 64 KiB moves to a blob and leaves its keys behind.
    """
    with transaction.atomic():
        number = None
        if incident_id is not None:
            Incident.objects.filter(pk=incident_id).update(last_evidence=F("last_evidence") + 1)
            number = Incident.objects.values_list("last_evidence", flat=True).get(pk=incident_id)
        result = plain(redact_json(fields.pop("result", None) or {}))
        params = plain(redact_json(fields.pop("params", None) or {}))
        row = Evidence(
            incident_id=incident_id,
            number=number,
            kind=kind,
            summary=redact(summary.replace("\x00", "\ufffd")),
            value=plain(redact_json(fields.pop("value", None))),
            params=params,
            created_at=clock.now(),
            **fields,
        )
        packed = canonical(result)
        if len(packed) > INLINE_BYTES:
            row.blob_sha256 = keep_bytes(packed, "application/json")
            result = {"moved_to_blob": sorted(result)}
        row.result = result
        row.sha256 = hashlib.sha256(
            canonical(
                [
                    incident_id,
                    number,
                    row.run_id,
                    row.step,
                    row.kind,
                    row.verdict,
                    row.summary,
                    row.query,
                    row.value,
                    params,
                ]
            )
            + packed
        ).hexdigest()
        row.save(force_insert=True)
    return row


def plain(value: Any) -> Any:
    """A JSON value with floats that JSON lacks made None, and text that PostgreSQL lacks made U+FFFD."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


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
