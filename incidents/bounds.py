"""The limits that hold for every notice of every source, whatever its sender sent."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from common.secrets import MASK, redact
from incidents.sources.base import AlertNotice, ChangeNotice, Reading

# Alerts of one body that are read; the rest is counted in a note and stays in the stored body.
ALERTS = 5_000
LABELS = 128
LABEL_NAME = 200
LABEL_BYTES = 1024
TITLE = 1024
DESCRIPTION = 64 * 1024
LINKS = 20
KEY = 500
CUT = "… [cut]"
# Clocks of senders go wrong by minutes; what lies further ahead is a mistake and must not become a timer.
AHEAD = timedelta(minutes=10)
_SECRET_NAME = re.compile(r"(?i)(^|[_.-])(password|passwd|secret|token|api[_-]?key|routing_key|authorization)$")


def bound(reading: Reading, *, received_at: datetime) -> Reading:
    """The reading within our limits, secrets masked, times filled in and clamped; notes say what was changed."""
    notes = list(reading.notes)
    alerts = reading.alerts
    if len(alerts) > ALERTS:
        notes.append(f"{len(alerts) - ALERTS} of {len(alerts)} alerts were left out: one message carries {ALERTS}.")
        alerts = alerts[:ALERTS]
    return replace(
        reading,
        alerts=[_alert(notice, received_at, notes) for notice in alerts],
        changes=[_change(notice, received_at) for notice in reading.changes[:ALERTS]],
        notes=notes[:100],
    )


def _alert(notice: AlertNotice, received_at: datetime, notes: list[str]) -> AlertNotice:
    name = (notice.title or notice.dedup_key)[:80]
    labels = _labels(notice.labels, name, notes)
    starts_at = _not_ahead(notice.starts_at, "start", labels, received_at, name, notes) or received_at
    ends_at = None
    if notice.status == "resolved":
        ends_at = _not_ahead(notice.ends_at, "end", labels, received_at, name, notes) or received_at
        if ends_at < starts_at:
            # Only a start that the sender gave can contradict its end.
            if notice.starts_at is not None:
                notes.append(f"{name}: it ended before it began; it is taken to have ended when it began.")
                labels["ends_at_as_sent"] = ends_at.isoformat()
                ends_at = starts_at
            else:
                starts_at = ends_at
    if len(notice.title or "") > TITLE:
        notes.append(f"{name}: the title was cut at {TITLE} characters.")
    return replace(
        notice,
        dedup_key=key(notice.dedup_key),
        title=redact(notice.title)[:TITLE] if notice.title else None,
        # What lies beyond twice the limit is cut anyway; masking it would cost time on hostile bodies.
        description=cut(redact(notice.description[: 2 * DESCRIPTION]), DESCRIPTION),
        service=notice.service[:200] if notice.service else None,
        environment=notice.environment[:100] if notice.environment else None,
        labels=labels,
        links=[{"rel": link["rel"][:40], "href": redact(link["href"])} for link in notice.links[:LINKS]],
        starts_at=starts_at,
        ends_at=ends_at,
    )


def _not_ahead(
    at: datetime | None, which: str, labels: dict[str, str], received_at: datetime, name: str, notes: list[str]
) -> datetime | None:
    if at is None or at <= received_at + AHEAD:
        return at
    notes.append(f"{name}: its {which} {at:%Y-%m-%d %H:%M} UTC lies in the future; the time of receipt is used.")
    labels[f"{which}s_at_as_sent"] = at.astimezone(UTC).isoformat()
    return received_at


def _labels(labels: dict[str, str], name: str, notes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for label, value in labels.items():
        if len(found) == LABELS - 1 and len(labels) > LABELS:
            notes.append(f"{name}: {len(labels) - len(found)} of {len(labels)} labels were left out.")
            found["…"] = f"{len(labels) - len(found)} more labels were left out {CUT}"
            break
        masked = MASK if _SECRET_NAME.search(label) else redact(value[: 2 * LABEL_BYTES])
        found[cut(label, LABEL_NAME)] = cut(masked, LABEL_BYTES)
    return found


def _change(notice: ChangeNotice, received_at: datetime) -> ChangeNotice:
    at = notice.occurred_at
    return replace(
        notice,
        labels=_labels(notice.labels, notice.summary[:80], []),
        occurred_at=received_at if at is None or at > received_at + AHEAD else at,
    )


def cut(text: str, size: int) -> str:
    """A text of at most `size` bytes in UTF-8, with a mark where it was cut."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= size:
        return text
    return encoded[: size - len(CUT.encode())].decode("utf-8", "ignore") + CUT


def key(dedup_key: str) -> str:
    """A dedup key that fits its column and shows no secret; a changed one gets its hash, so that it stays distinct."""
    masked = redact(dedup_key)
    if masked == dedup_key and len(dedup_key) <= KEY:
        return dedup_key
    return f"{masked[:400]}…{hashlib.sha256(dedup_key.encode('utf-8', 'replace')).hexdigest()}"
