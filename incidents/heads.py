"""Heads of timelines, written outside the database once a day: whoever rewrites a whole chain cannot rewrite these."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from common.errors import Invalid
from incidents.evidence import canonical
from incidents.models import TimelineEntry

log = logging.getLogger(__name__)
# Each file reaches back over the last days, so that a night without a clock leaves no hole.
REACH = timedelta(days=7)


def current(now: datetime) -> dict[str, Any]:
    """The last entry of every timeline that moved within REACH, and one hash over all of them."""
    rows = TimelineEntry.objects.filter(recorded_at__gt=now - REACH, recorded_at__lte=now).order_by("incident", "seq")
    heads = {f"INC-{number}": [seq, sha] for number, seq, sha in rows.values_list("incident__number", "seq", "hash")}
    return {"at": now.isoformat(), "heads": heads, "sha256": hashlib.sha256(canonical(heads)).hexdigest()}


def keep(folder: Path, now: datetime) -> Path:
    """Write one log line with the day's hash, for logs that leave the machine, and the day's file; again is harmless.

    A file that cannot be written is an error in the log and no more: the line has gone out by then.
    """
    told = current(now)
    target = folder / f"{now:%Y-%m-%d}.json"
    log.info("timeline heads: %s of %s timelines", told["sha256"], len(told["heads"]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(told, indent=1) + "\n")
    except OSError as error:
        log.error("the heads of timelines cannot be written to %s: %s", target, error.strerror)
    return target


def contradictions(path: Path) -> list[str]:
    """What the database says otherwise than a file, or every file of a folder, that was kept earlier."""
    found = []
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        try:
            told = json.loads(file.read_text())
            heads = {int(key.removeprefix("INC-")): (int(seq), str(sha)) for key, (seq, sha) in told["heads"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Invalid(
                f"{file} holds no heads of timelines.", fix="Name a file of data/heads, or that folder."
            ) from error
        rows = TimelineEntry.objects.filter(incident__number__in=heads, seq__in={seq for seq, _ in heads.values()})
        there = {(number, seq): sha for number, seq, sha in rows.values_list("incident__number", "seq", "hash")}
        found += [
            f"INC-{number}: entry {seq} is not the one that {file.name} has on record"
            for number, (seq, sha) in heads.items()
            if there.get((number, seq)) != sha
        ]
    return found
