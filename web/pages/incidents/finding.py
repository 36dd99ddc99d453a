"""What the pages of one incident have in common: finding it, and reading what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from catalog.models import Change
from catalog.permissions import Permission
from common import clock
from incidents.models import Evidence, Incident, Postmortem, TimelineEntry
from runbooks.models import OPEN_RUN_STATES, Run, StepRun
from web.pages import words
from web.pages.waiting import WAITING, Ask, asks
from web.policy import PersonRequest, team_object_or_404

# Longer silences than this are drawn as a break in the timeline.
GAP = timedelta(minutes=10)
CHANGES_HOURS = 72
ENTRIES = 400


@dataclass(frozen=True)
class Row:
    """One line of the timeline: an entry, a new day before it, or the silence after it (newest is first)."""

    entry: TimelineEntry
    day: str
    gap: timedelta | None


@dataclass(frozen=True)
class RunLine:
    """One run as the incident page lists it."""

    run: Run
    face: words.Face
    counts: list[tuple[str, int]]


@dataclass(frozen=True)
class ChangeLine:
    """A change with its distance to the onset: positive when it came before."""

    change: Change
    before_onset: timedelta


def find(request: PersonRequest, number: int, permission: Permission = Permission.SEE) -> Incident:
    """The incident of that number, of a team of this person."""
    rows = Incident.objects.select_related("team", "service", "commander", "service__default_owner")
    return team_object_or_404(rows, request.actor, permission=permission, number=number)


def rows_of_timeline(incident: Incident, kinds: set[str] | None = None, *, all_of_it: bool = False) -> list[Row]:
    """Newest first; entries that a later one supersedes stay, marked by the template."""
    entries = TimelineEntry.objects.filter(incident=incident).order_by("-at", "-seq")
    if kinds:
        entries = entries.filter(kind__in=kinds)
    shown = list(entries if all_of_it else entries[:ENTRIES])
    found: list[Row] = []
    for place, entry in enumerate(shown):
        older = shown[place + 1] if place + 1 < len(shown) else None
        newer_day = shown[place - 1].at.date() if place else None
        day = f"{entry.at:%A, %d %B %Y}" if newer_day != entry.at.date() else ""
        silence = entry.at - older.at if older else None
        found.append(Row(entry, day, silence if silence is not None and silence > GAP else None))
    return found


def evidence_ids(incident: Incident) -> list[int]:
    """Numbers of the incident's evidence, for links."""
    return list(range(1, incident.last_evidence + 1))


def run_lines(incident: Incident) -> list[RunLine]:
    """The incident's runs, newest first, with counts of verdicts."""
    runs = list(Run.objects.filter(incident=incident).select_related("runbook", "revision").order_by("-id"))
    steps: dict[int, list[StepRun]] = {run.pk: [] for run in runs}
    for step in StepRun.objects.filter(run__in=runs):
        steps[step.run_id].append(step)
    return [RunLine(run, words.run_face(run, waits=_waits(steps[run.pk])), counts(steps[run.pk])) for run in runs]


def _waits(steps: list[StepRun]) -> bool:
    return any(step.state == "unknown" or step.blocked_on in ("approval", "human", "ask") for step in steps)


def counts(steps: list[StepRun]) -> list[tuple[str, int]]:
    """How many checks gave which verdict, in the order of gravity; verdicts that did not occur are left out."""
    checks = [step.verdict for step in steps if step.state == "settled" and step.kind == "check"]
    return [
        (word, checks.count(word)) for word in ("fail", "error", "inconclusive", "pass", "skipped") if word in checks
    ]


def asks_of(incident: Incident) -> list[Ask]:
    """What the incident's open runs ask people."""
    steps = StepRun.objects.filter(WAITING, run__incident=incident, run__state__in=OPEN_RUN_STATES)
    return asks(list(steps.select_related("run", "run__incident", "run__runbook").order_by("due_at", "id")))


def change_lines(incident: Incident) -> list[ChangeLine]:
    """What was changed in the 72 hours before the onset and since, of this service or of none, nearest first."""
    onset = incident.onset_at or incident.started_at
    until = incident.resolved_at or clock.now()
    rows = Change.objects.filter(
        team=incident.team, occurred_at__gte=onset - timedelta(hours=CHANGES_HOURS), occurred_at__lte=until
    )
    if incident.service_id:
        needs = incident.service.depends_on.values("pk") if incident.service else []
        rows = rows.filter(Q(service=incident.service_id) | Q(service__isnull=True) | Q(service__in=needs))
    lines = [ChangeLine(row, onset - row.occurred_at) for row in rows.select_related("service")[:100]]
    return sorted(lines, key=lambda line: (line.before_onset < timedelta(0), abs(line.before_onset)))


def diagnosis_of(runs: list[RunLine]) -> dict[str, Any]:
    """The newest run's diagnosis that has ranked hypotheses, or {}."""
    for line in runs:
        if line.run.diagnosis.get("ranked"):
            return dict(line.run.diagnosis)
    return {}


def postmortem_of(incident: Incident) -> Postmortem | None:
    """The incident's postmortem, once its clock has started."""
    return Postmortem.objects.filter(incident=incident).select_related("owner").first()


def ended_at(incident: Incident) -> datetime | None:
    """When the clock of the incident stopped."""
    return incident.resolved_at or incident.closed_at


def evidence_for(incident: Incident, cause: dict[str, Any]) -> list[Evidence]:
    """The findings that speak for a ranked cause, the strongest first."""
    points = {str(line.get("evidence")): line.get("points", 0) for line in cause.get("lines", [])}
    keys = sorted((key for key in points if points[key] > 0), key=lambda key: -points[key])
    numbers = [int(key[1:]) for key in keys if key[:1] == "E" and key[1:].isdecimal()]
    found = {row.number: row for row in Evidence.objects.filter(incident_id=incident.pk, number__in=numbers)}
    return [found[number] for number in numbers if number in found]
