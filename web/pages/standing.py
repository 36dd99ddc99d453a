"""How each open incident stands, in one sentence: what is thought of the cause, what is asked, who is on it.

For lists: a constant number of queries, however many incidents.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from incidents.models import Incident
from runbooks.models import OPEN_RUN_STATES, Run, StepRun
from web.pages.waiting import Ask


@dataclass(frozen=True)
class Standing:
    """One incident with its sentence; `ask` is what it waits for, `unled` since when nobody has acknowledged it."""

    incident: Incident
    sentence: str
    ask: Ask | None = None
    unled: datetime | None = None


def standings(incidents: list[Incident], waiting: list[Ask]) -> list[Standing]:
    """The sentences of these incidents; `waiting` are the asks of their runs."""
    asked: dict[int | None, Ask] = {}
    for ask in waiting:
        asked.setdefault(ask.step.run.incident_id, ask)
    ids = [incident.pk for incident in incidents]
    runs: dict[int | None, list[Run]] = {}
    for run in Run.objects.real().filter(incident__in=ids).select_related("runbook").order_by("-id"):
        runs.setdefault(run.incident_id, []).append(run)
    steps = StepRun.objects.filter(run__incident__in=ids, state="leased", run__state__in=OPEN_RUN_STATES)
    # The step that has run the longest is the one to name.
    running = dict(steps.order_by("-started_at").values_list("run__incident_id", "name"))
    return [
        Standing(
            incident,
            sentence(incident, runs.get(incident.pk, []), running.get(incident.pk, "")),
            asked.get(incident.pk),
            None if incident.acknowledged_at else incident.detected_at,
        )
        for incident in incidents
    ]


def sentence(incident: Incident, runs: list[Run], running: str) -> str:
    """The cause as far as it is known, and what goes on."""
    diagnosis = next((dict(run.diagnosis) for run in runs if run.diagnosis.get("ranked")), {})
    cause = _cause(diagnosis)
    if incident.state == "mitigated":
        return f"Mitigated{_watched(runs)}. {cause}".strip()
    if cause and diagnosis.get("top") != "unknown":
        return f"{cause} {_goes_on(running)}".strip()
    if running:
        return f"Looking for the cause: {running}"
    if any(run.is_open for run in runs):
        return cause or "A runbook is at work; nothing is known about the cause yet."
    if cause:
        return cause
    return incident.summary[:200] or "Nothing is known about the cause yet, and no runbook is looking for it."


def _cause(diagnosis: dict[str, Any]) -> str:
    ranked = diagnosis.get("ranked") or []
    if not ranked:
        return ""
    if diagnosis.get("top") != "unknown":
        return f"Likely cause: {diagnosis.get('title')}."
    return f"No cause reached a score of 60 %; the best so far is {str(ranked[0].get('title')).lower()}."


def _goes_on(running: str) -> str:
    return f"Now: {running}" if running else ""


def _watched(runs: list[Run]) -> str:
    return ", and a runbook watches whether it stays so" if any(run.is_open for run in runs) else ""
