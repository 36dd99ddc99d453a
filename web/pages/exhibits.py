"""Evidence made ready for the evidence card: what to print, draw and fold away."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse

from common.errors import NotFound
from incidents import evidence
from incidents.models import Evidence, Incident
from web.pages import charts

TABLE_ROWS = 50
RAW_CHARACTERS = 20_000


@dataclass(frozen=True)
class Exhibit:
    """One evidence card."""

    evidence: Evidence
    url: str
    value: str
    limit: str
    limit_source: str
    estimate: str
    ends: str
    interval: charts.Interval | None
    chart: charts.Chart | None
    table: list[dict[str, Any]]
    table_more: int
    raw: str


def exhibit(row: Evidence, incident: Incident | None = None) -> Exhibit:
    """Lay out one piece of evidence; it never raises, whatever a provider returned."""
    result = row.result if isinstance(row.result, dict) else {}
    limits = row.threshold if isinstance(row.threshold, dict) else {}
    statistic = result.get("statistic")
    found = statistic if isinstance(statistic, dict) else result
    ends = _first(found, "interval", "ci") or _first(result, "interval", "ci")
    if ends is None and "lo" in found and "hi" in found:
        ends = [found["lo"], found["hi"]]
    limit = _first(limits, "limit", "value", "max", "min")
    estimate = _first(found, "difference", "ratio", "estimate", "value")
    table = [line for line in _as_list(result.get("table")) if isinstance(line, dict)]
    drawn = charts.interval(estimate if estimate is not None else row.value, ends, limit)
    raw = json.dumps(row.result, indent=2, ensure_ascii=False, default=str) if row.result else ""
    return Exhibit(
        evidence=row,
        url=reverse("evidence", args=[incident.number, row.number]) if incident and row.number else "",
        value=_plain(row.value),
        limit=_plain(limit),
        limit_source=str(limits.get("source", "")),
        estimate=_plain(estimate) if drawn else "",
        ends=", ".join(_plain(end) for end in ends) if drawn else "",
        interval=drawn,
        chart=charts.lines(
            _series(row, result),
            unit=row.unit,
            name=str(row.params.get("signal") or row.step).replace("_", " ") if isinstance(row.params, dict) else "",
            marks=[charts.Mark("onset", onset, "onset")] if (onset := _onset(incident)) else [],
            limits=charts.limits(result.get("limits")),
            faults=[at for at in _as_list(result.get("faults")) if charts.finite(at) is not None],
            id=f"chart-{row.key}",
            csv=reverse("evidence_csv", args=[incident.number, row.number]) if incident and row.number else "",
        ),
        table=table[:TABLE_ROWS],
        table_more=max(0, len(table) - TABLE_ROWS),
        raw=raw if len(raw) <= RAW_CHARACTERS else raw[:RAW_CHARACTERS] + "\n… (cut; the API gives all of it)",
    )


def exhibits_by_id(ids: list[int], incident: Incident | None = None) -> dict[int, Exhibit]:
    """Cards by evidence id, with one query."""
    return {row.pk: exhibit(row, incident) for row in Evidence.objects.filter(pk__in=ids)}


def _series(row: Evidence, result: dict[str, Any]) -> Any:
    """The stored points, also where the result was so large that it lies beside the row."""
    if row.blob_sha256 and "series" in _as_list(result.get("moved_to_blob")):
        try:
            return evidence.full_result(row).get("series")
        except (NotFound, ValueError, zlib.error):
            return None
    return result.get("series")


def _onset(incident: Incident | None) -> datetime | None:
    return (incident.onset_at or incident.started_at) if incident else None


def _first(row: dict[str, Any], *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value)
