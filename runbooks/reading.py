"""What a run reads: its pinned runbook, and the names that expressions may use."""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from common import statements
from common.errors import Conflict
from incidents import evidence
from incidents.models import Alert, Evidence
from runbooks import items
from runbooks.definitions import Book, Definition
from runbooks.models import Revision, Run, StepRun
from runbooks.spec import SPECS, read_stored

FIX = "Cancel the run, or mend the row; where a newer version of Backstop wrote it, that version can read it."


class Unreadable(Conflict):
    """A row that this version cannot make sense of; the sentence says which and why. Whatever needs it waits."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, fix=FIX)


@lru_cache(maxsize=256)
def _book(revision_id: int, sha256: str) -> Book:
    revision = Revision.objects.select_related("runbook").get(pk=revision_id, sha256=sha256)
    which = f"Revision {revision.number} of {revision.runbook.slug}"
    written_in = written(revision).get("spec")
    if isinstance(written_in, int) and written_in not in SPECS:
        raise Unreadable(f"{which} is written in `spec: {written_in}`, which this version of Backstop does not know.")
    try:
        return Book(read_stored(revision.parsed))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise Unreadable(f"{which} cannot be read: {where}: {first['msg']}.") from None


def written(revision: Revision | None) -> dict[str, Any]:
    """A revision as it is stored, for pages that show it whether or not it can be run; empty where it is no map."""
    return revision.parsed if revision is not None and isinstance(revision.parsed, dict) else {}


def book_of(revision: Revision) -> Book:
    """A revision ready to run; revisions never change, so each is read once per process. Raises Unreadable."""
    return _book(revision.pk, revision.sha256)


def owner_of(revision: Revision) -> str:
    """Who looks after it, also of one that cannot be run; empty where that is not written."""
    try:
        return book_of(revision).owner
    except Unreadable:
        return str(written(revision).get("owner", ""))


def definition_of(revision: Revision, step_id: str) -> Definition:
    """The definition of one step. Raises Unreadable, also when the revision has no step of that id."""
    book = book_of(revision)
    try:
        return book.definition(step_id)
    except KeyError:
        raise Unreadable(f"The run has a step `{step_id}`, but its revision {revision.number} has none.") from None


def spec_of(run: Run) -> Book:
    """The runbook as it was when the run started. Raises Unreadable."""
    return book_of(run.revision)


def step_of(run: Run, step: StepRun) -> Definition:
    """The definition of one step of a run. Raises Unreadable."""
    return definition_of(run.revision, step.step)


def names(run: Run, steps: list[StepRun], now: datetime) -> dict[str, Any]:
    """The context of expressions: plain JSON data only, never model instances. Steps that have not ended are absent."""
    incident = run.incident
    book = spec_of(run)
    grouped = items.by_step(steps)
    return {
        "inputs": run.inputs,
        "steps": {
            name: _whole(rows) if book.definition(name).foreach else _part(rows[0]) | {"items": []}
            for name, rows in grouped.items()
            if all(row.is_terminal for row in rows)
        },
        "run": {
            "id": str(run.uuid),
            "started_at": _iso(run.started_at),
            "phase": run.phase,
            "outcome": run.outcome or (run.ends_as if run.ends_as in ("cancelled", "expired") else ""),
        },
        "incident": {
            "key": incident.key if incident else "",
            "title": incident.title if incident else "",
            "severity": incident.severity if incident else None,
            "started_at": _iso(incident.started_at) if incident else None,
            "onset": _iso(incident.onset_at or incident.started_at) if incident else None,
        },
        "service": {"slug": run.service.slug, "title": run.service.title, "tier": run.service.tier}
        if run.service
        else {"slug": "", "title": "", "tier": None},
        "alert": run.alert,
        "diagnosis": run.diagnosis or {"top": "unknown", "confidence": 0.0, "ranked": []},
        "now": _iso(now),
    }


def names_for(run: Run, step: StepRun, steps: list[StepRun], now: datetime) -> dict[str, Any]:
    """The same with `item`, for one row of a step with `foreach`."""
    return names(run, steps, now) | items.names(step, step_of(run, step))


def _part(row: StepRun) -> dict[str, Any]:
    return {
        "verdict": row.verdict,
        "value": row.value,
        "result": row.result if row.result is not None else {},
        "reason": row.reason,
    }


def _whole(rows: list[StepRun]) -> dict[str, Any]:
    """A step with `foreach`: the worst verdict, and what each element came to; it has no value of its own."""
    worst = items.decisive(rows)
    parts = [_part(row) | {"item": row.item_value} for row in rows] if items.is_spread(rows[0], rows) else []
    return {
        "verdict": worst.verdict if worst else "",
        "value": None,
        "result": {},
        "reason": worst.reason if worst else "",
        "items": parts,
    }


def alert_data(alert: Alert) -> dict[str, Any]:
    """An alert as plain data: what `alert` means in expressions."""
    return {
        "status": alert.status,
        "severity": alert.severity,
        "title": alert.title,
        "description": alert.description,
        "service": alert.service.slug if alert.service else alert.service_name,
        "environment": alert.environment,
        "labels": alert.labels,
        "links": alert.links,
        "starts_at": _iso(alert.starts_at),
        "ends_at": _iso(alert.ends_at),
        "dedup_key": alert.dedup_key,
        "source": alert.endpoint.source,
    }


def digest(value: Any) -> str:
    """SHA-256 over the canonical JSON of a value."""
    return hashlib.sha256(evidence.canonical(value)).hexdigest()


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


# Not with what each check found: a result may have 64 KiB.
_deciding = statements.Written(
    lambda run: Evidence.objects.filter(pk__in=StepRun.objects.filter(run=run).values("evidence_id")).only("number")
)


def evidence_keys(run: Run, steps: list[StepRun]) -> dict[str, str]:
    """Step ids with the key of the evidence that decided them; of several rows, that of the worst."""
    decided = [row for row in map(items.decisive, items.by_step(steps).values()) if row is not None]
    wanted = {step.evidence_id: step.step for step in decided if step.evidence_id}
    return {wanted[row.pk]: row.key for row in _deciding(run.pk) if row.pk in wanted}
