"""What the pages of one incident have in common: finding it, and reading what belongs to it.

Each reader costs a fixed number of queries, however much has happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet

from catalog.models import Change, Membership, Service, User
from catalog.permissions import Permission
from common import clock
from common.statements import Written
from incidents import pins
from incidents.models import Alert, Delivery, Incident, Postmortem, TimelineEntry
from runbooks import watched
from runbooks.models import Run, StepRun
from runbooks.watched import Watching
from web.pages import words
from web.pages.waiting import Ask, asks, waits_for_person
from web.policy import PersonRequest, owned_or_404

# Longer silences than this are drawn as a break in the timeline.
GAP = timedelta(minutes=10)
CHANGES_HOURS = 72
ENTRIES = 400
# How many of them the first tab shows under the Now card.
LATEST = 30
ALERTS = 50
LABELS = 40


@dataclass(frozen=True)
class Row:
    """One line of the timeline: an entry, a new day before it, or the silence after it (newest is first)."""

    entry: TimelineEntry
    is_key: bool
    day: str
    gap: timedelta | None


@dataclass(frozen=True)
class RunLine:
    """One run as the incident page lists it; `steps` in their order, without what they gave."""

    run: Run
    face: words.Face
    counts: list[tuple[str, int]]
    steps: list[StepRun]
    # The watches among them that are under way, by step.
    watches: dict[int, Watching]

    @property
    def waiting(self) -> StepRun | None:
        """The step that the run waits for: a person, a lock, a timer; a watch only when nothing else holds it up."""
        stuck = [step for step in self.steps if step.state in ("blocked", "unknown", "sleeping")]
        others = [step for step in stuck if step.pk not in self.watches]
        return next((step for step in others if waits_for_person(step)), others[0] if others else None)

    @property
    def watching(self) -> Watching | None:
        """What the run watches while it waits for nothing else."""
        return None if self.waiting else next(iter(self.watches.values()), None)


@dataclass(frozen=True)
class ChangeLine:
    """A change with its distance to the onset: positive when it came before."""

    change: Change
    before_onset: timedelta
    author: str


@dataclass(frozen=True)
class AlertCounts:
    """All alerts of an incident in figures."""

    total: int
    firing: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class AlertLine:
    """One alert with the first of its labels, however many it has."""

    alert: Alert
    labels: list[tuple[str, Any]]
    more_labels: int
    links: list[tuple[str, str]]
    delivery: Delivery | None

    @property
    def fires(self) -> bool:
        """Whether it goes on."""
        return self.alert.status in Alert.GOING_ON


# What a database takes as such a number.
LARGEST = 2**31 - 1
# The first page of a night asks these each time that something happens.
_incident = Written(
    lambda number: Incident.objects.select_related("team", "service", "commander", "service__default_owner").filter(
        number=number
    )
)
_runs = Written(
    lambda incident: (
        Run.objects.real()
        .filter(incident=incident)
        .select_related("runbook", "revision")
        .defer("revision__text", "revision__parsed")
        .order_by("-id")
    )
)
_steps = Written(
    lambda incident: (
        StepRun.objects.filter(run__incident=incident, run__is_plan=False)
        .defer("value", "result")
        .order_by("position", "item")
    )
)
_latest = Written(lambda incident: TimelineEntry.objects.filter(incident=incident).order_by("-at", "-seq")[:LATEST])
_postmortem = Written(lambda incident: Postmortem.objects.filter(incident=incident).select_related("owner"))
_alerts = Written(
    lambda incident: (
        Alert.objects.filter(incident=incident)
        .order_by()
        .values("incident")
        .annotate(
            total=Count("pk"),
            firing=Count("pk", filter=Q(status__in=Alert.GOING_ON)),
            first=Min("first_seen_at"),
            last=Max("last_seen_at"),
        )
        .values_list("total", "firing", "first", "last")
    )
)
_changes = Written(lambda team, since, until: _changes_between(team, since, until))
_changes_of = Written(lambda team, since, until, service: _changes_between(team, since, until, service))


def _changes_between(team: Any, since: Any, until: Any, service: Any = None) -> QuerySet[Change]:
    rows = Change.objects.filter(team=team, occurred_at__gte=since, occurred_at__lte=until).select_related("service")
    if service is not None:
        needs = Service.objects.filter(needed_by=service).values("pk")
        rows = rows.filter(Q(service=service) | Q(service__isnull=True) | Q(service__in=needs))
    return rows[:100]


def find(request: PersonRequest, number: int, permission: Permission = Permission.SEE) -> Incident:
    """The incident of that number, of a team of this person."""
    found = _incident.first(number) if number <= LARGEST else None
    return owned_or_404(found, found.team if found else None, request.actor, permission)


def rows_of_timeline(
    incident: Incident, kinds: set[str] | None = None, *, only_key: bool = False, most: int | None = ENTRIES
) -> list[Row]:
    """Newest first; entries that a later one supersedes stay, marked by the template."""
    said = pins.overruled(incident)
    entries = TimelineEntry.objects.filter(incident=incident).order_by("-at", "-seq")
    if kinds:
        entries = entries.filter(kind__in=kinds)
    if only_key:
        starred = {seq for seq, is_key in said.items() if is_key}
        entries = entries.filter(Q(pinned=True) | Q(seq__in=starred)).exclude(seq__in=set(said) - starred)
    shown = list(entries if most is None else entries[:most])
    return _rows(shown, said, tells_silence=not (kinds or only_key))


def latest_of_timeline(incident: Incident) -> list[Row]:
    """The newest of all of them."""
    return _rows(_latest(incident.pk), pins.overruled(incident), tells_silence=True)


def _rows(shown: list[TimelineEntry], said: dict[int, bool], *, tells_silence: bool) -> list[Row]:
    found: list[Row] = []
    for place, entry in enumerate(shown):
        older = shown[place + 1] if place + 1 < len(shown) else None
        newer_day = shown[place - 1].at.date() if place else None
        day = f"{entry.at:%A, %d %B %Y}" if newer_day != entry.at.date() else ""
        silence = entry.at - older.at if older and tells_silence else None
        gap = silence if silence is not None and silence > GAP else None
        found.append(Row(entry, pins.is_key(entry, said), day, gap))
    return found


def run_lines(incident: Incident) -> list[RunLine]:
    """The incident's runs, newest first, with counts of verdicts."""
    runs = _runs(incident.pk)
    by_key = {run.pk: run for run in runs}
    steps: dict[int, list[StepRun]] = {run.pk: [] for run in runs}
    for step in _steps(incident.pk) if runs else []:
        step.run = by_key[step.run_id]
        steps[step.run_id].append(step)
    under_way = watched.going_on([step for mine in steps.values() for step in mine])
    return [_line(run, steps[run.pk], under_way) for run in runs]


def _line(run: Run, steps: list[StepRun], under_way: dict[int, Watching]) -> RunLine:
    watches = {step.pk: under_way[step.pk] for step in steps if step.pk in under_way}
    face = words.run_face(run, waits=_waits(steps), watches=bool(watches))
    return RunLine(run, face, counts(steps), steps, watches)


def _waits(steps: list[StepRun]) -> bool:
    return any(waits_for_person(step) for step in steps)


def counts(steps: list[StepRun]) -> list[tuple[str, int]]:
    """How many checks gave which verdict, in the order of gravity; verdicts that did not occur are left out."""
    checks = [step.verdict for step in steps if step.state == "settled" and step.kind == "check"]
    return [
        (word, checks.count(word)) for word in ("fail", "error", "inconclusive", "pass", "skipped") if word in checks
    ]


def asks_of(lines: list[RunLine]) -> list[Ask]:
    """What the incident's open runs ask people, the most urgent first."""
    waiting = [step for line in lines if line.run.is_open for step in line.steps if waits_for_person(step)]
    waiting.sort(key=lambda step: (step.due_at is None, step.due_at, step.pk))
    return asks(waiting) if waiting else []


def alert_counts(incident: Incident) -> AlertCounts:
    """How many, how many still fire, the first and the last notice."""
    seen = _alerts.first(incident.pk)
    return AlertCounts(*seen) if seen else AlertCounts(0, 0, None, None)


def alert_lines(incident: Incident) -> list[AlertLine]:
    """The first fifty alerts, with the delivery that told of each last."""
    alerts = list(incident.alerts.select_related("endpoint").order_by("first_seen_at", "pk")[:ALERTS])
    wanted = [alert.last_delivery_id for alert in alerts if alert.last_delivery_id]
    told = Delivery.objects.only("pk", "uuid").in_bulk(wanted) if wanted else {}
    lines = []
    for alert in alerts:
        labels = alert.labels if isinstance(alert.labels, dict) else {}
        first = [(name, labels[name]) for name in sorted(labels)[:LABELS]]
        links = [
            (str(link["url"]), str(link.get("text") or link.get("title") or "source"))
            for link in alert.links[:3]
            if isinstance(link, dict) and str(link.get("url", "")).startswith(("http://", "https://"))
        ]
        lines.append(AlertLine(alert, first, len(labels) - len(first), links, told.get(alert.last_delivery_id or 0)))
    return lines


def change_lines(incident: Incident) -> list[ChangeLine]:
    """What was changed in the 72 hours before the onset and since, of this service, of what it needs or of none.

    Ranked: what came before the onset first, of it the nearest; then what came after. Our own effects are no suspects.
    """
    onset = incident.onset_at or incident.started_at
    until = incident.resolved_at or clock.now()
    span = incident.team_id, onset - timedelta(hours=CHANGES_HOURS), until
    found = _changes(*span) if incident.service_id is None else _changes_of(*span, incident.service_id)
    roles = _roles(incident) if found else {}
    lines = [
        ChangeLine(row, onset - row.occurred_at, roles.get(row.author.strip().lower(), _stranger(row))) for row in found
    ]
    return sorted(
        lines,
        key=lambda line: (bool(line.change.effect_key), line.before_onset < timedelta(0), abs(line.before_onset)),
    )


def _stranger(change: Change) -> str:
    if change.effect_key:
        return "Backstop"
    return "author outside the team" if change.author.strip() else "author unknown"


def _roles(incident: Incident) -> dict[str, str]:
    """How the team's people are called where causes are spoken of: by their roles, found by name or address."""
    found = {}
    for member in Membership.objects.filter(team=incident.team_id).select_related("user"):
        role = next((role for role in ("author", "responder", "approver", "admin") if role in member.roles), "member")
        for name in (member.user.username, member.user.email, member.user.full_name):
            found[name.lower()] = f"by a team {role}" if role != "member" else "by a team member"
    found.pop("", None)
    return found


def diagnosis_of(runs: list[RunLine]) -> dict[str, Any]:
    """The newest run's diagnosis that has ranked hypotheses, or {}."""
    for line in runs:
        if line.run.diagnosis.get("ranked"):
            return dict(line.run.diagnosis)
    return {}


def postmortem_of(incident: Incident) -> Postmortem | None:
    """The incident's postmortem, once its clock has started."""
    found = _postmortem.first(incident.pk)
    if found is not None:
        found.incident = incident
    return found


def ended_at(incident: Incident) -> datetime | None:
    """When the clock of the incident stopped."""
    return incident.resolved_at or incident.closed_at


def oncall_of(incident: Incident) -> list[User]:
    """Who is on call in the incident's team."""
    group = User.objects.filter(oncall_groups__team=incident.team_id, oncall_groups__slug="oncall", is_active=True)
    return list(group.distinct())
