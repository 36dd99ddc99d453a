"""The senders' words in ours: severities, statuses, times, labels and links.

Every source uses these, so that one rule holds for all: an empty text is an absent one, a value of the wrong type is
treated as absent, and nothing here raises on foreign input. Thresholds and words are those of docs/guide/alerts.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from incidents.sources.base import Status

_SEVERITIES: dict[str, str] = {
    word: ours
    for ours, words in {
        "critical": "critical crit page emergency fatal disaster urgent sev0 sev1 p0 p1",
        "high": "high error err major sev2 p2",
        "warning": "warning warn medium average moderate minor sev3 p3",
        "info": "info information informational notice low none debug sev4 sev5 p4 p5",
    }.items()
    for word in words.split()
}
_STATUSES: dict[str, Status] = {
    "firing": "firing",
    "fired": "firing",
    "triggered": "firing",
    "trigger": "firing",
    "alerting": "firing",
    "alarm": "firing",
    "open": "firing",
    "opened": "firing",
    "active": "firing",
    "problem": "firing",
    "failed": "firing",
    "down": "firing",
    "acknowledged": "acknowledged",
    "acknowledge": "acknowledged",
    "ack": "acknowledged",
    "resolved": "resolved",
    "resolve": "resolved",
    "recovered": "resolved",
    "closed": "resolved",
    "close": "resolved",
    "ok": "resolved",
    "up": "resolved",
    "healthy": "resolved",
    "normal": "resolved",
    "inactive": "resolved",
    "succeeded": "resolved",
    "suppressed": "suppressed",
    "silenced": "suppressed",
    "muted": "suppressed",
    "paused": "suppressed",
    "no_data": "no_data",
    "nodata": "no_data",
    "no data": "no_data",
}
SERVICE_LABELS = ("service", "service_name", "app", "application")
ENVIRONMENT_LABELS = ("environment", "env", "deployment_environment")
# Nobody's alert began before computers did; such times are defaults of the sender's language, not facts.
_EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE = re.compile(r"[0-9]{1,25}", re.ASCII)


def text(value: object) -> str:
    """A foreign scalar as text without surrounding blanks; empty for None, containers and blanks."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float):
        return str(value)
    return ""


def first(*values: object) -> str:
    """The first value that has text."""
    return next((found for value in values if (found := text(value))), "")


def fields(value: object) -> dict[str, Any]:
    """A foreign object as a dict; empty when it is something else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """A foreign list; empty when it is something else."""
    return value if isinstance(value, list) else []


def severity(word: object) -> str:
    """Our severity for a sender's word, case-insensitive; `unknown` for anything else."""
    return _SEVERITIES.get(text(word).casefold(), "unknown")


def status(word: object) -> Status | None:
    """Our status for a sender's word, case-insensitive; None when the word is not known."""
    return _STATUSES.get(text(word).casefold())


def moment(value: object) -> datetime | None:
    """A foreign time as UTC with microseconds, or None when it says nothing.

    Text is ISO 8601 (any number of fractional digits, no zone means UTC) or a whole number. Whole numbers are seconds
    below 1e11, milliseconds below 1e14, microseconds below 1e17, else nanoseconds. Year 1, the epoch, empty texts and
    macros that the sender did not expand are None.
    """
    found: datetime | None = None
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, str):
            word = value.strip()
            found = _counted(int(word)) if _WHOLE.fullmatch(word) else _zoned(datetime.fromisoformat(word))
        elif isinstance(value, int):
            found = _counted(value)
        elif isinstance(value, float) and math.isfinite(value):
            found = _EPOCH + timedelta(seconds=value) if abs(value) < 1e11 else _counted(int(value))
    except (ValueError, OverflowError):
        return None
    return found if found is not None and found >= _EARLIEST else None


def _zoned(moment: datetime) -> datetime:
    # Year 1 east of Greenwich overflows in astimezone; the caller takes that for "no time", as it is meant.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _counted(number: int) -> datetime:
    if number < 10**11:
        microseconds = number * 1_000_000
    elif number < 10**14:
        microseconds = number * 1_000
    elif number < 10**17:
        microseconds = number
    else:
        microseconds = number // 1_000
    return _EPOCH + timedelta(microseconds=microseconds)


def flat(value: object) -> dict[str, str]:
    """A foreign object as a flat map of texts: empty values are dropped, nested ones become JSON."""
    found: dict[str, str] = {}
    for name, item in fields(value).items():
        if isinstance(item, dict | list):
            as_text = json.dumps(item, ensure_ascii=False, allow_nan=False, default=str) if item else ""
        else:
            as_text = text(item)
        if as_text and name.strip():
            found[name.strip()] = as_text
    return found


def service(labels: Mapping[str, str]) -> str | None:
    """The service that labels name."""
    return next((labels[name] for name in SERVICE_LABELS if labels.get(name)), None)


def environment(labels: Mapping[str, str]) -> str | None:
    """The environment that labels name."""
    return next((labels[name] for name in ENVIRONMENT_LABELS if labels.get(name)), None)


def links(pairs: Iterable[tuple[str, object]]) -> list[dict[str, str]]:
    """Links as `{"rel", "href"}`: only http and https, each address once, empty and broken ones dropped."""
    found: list[dict[str, str]] = []
    for rel, value in pairs:
        href = text(value)
        if len(href) > 2000 or any(href == known["href"] for known in found):
            continue
        try:
            parts = urlsplit(href)
        except ValueError:
            continue
        if parts.scheme in ("http", "https") and parts.netloc:
            found.append({"rel": rel, "href": href})
    return found
