"""What a draft may be made of: the incident's row, its timeline and its evidence, with people shown by role."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Q

from catalog.models import Change, User
from catalog.permissions import ROLES
from incidents import pins
from incidents.impact import Figure, figures, findings_of
from incidents.models import ActionItem, Evidence, Incident, TimelineEntry

# Roles that are not people; every other actor is shown by role wherever the draft speaks of causes.
MACHINES = {"engine", "alert", "program"}
CHANGES_BEFORE = timedelta(hours=72)
# Which checks say best what users felt, best first: live signals, then versions compared on an evaluation set.
EFFECT_CHECKS = ("metric.compare", "metric.query", "eval.compare", "status.poll", "http.json")
# The signal that an incident of this type is about.
SIGNALS = {"accuracy_drop": "accuracy", "latency_spike": "latency", "cost_explosion": "cost", "data_issue": "null_rate"}
# What a page says for a verdict; YAML words stay in YAML.
WORDS = {
    "fail": "Problem found",
    "pass": "Ruled out",
    "inconclusive": "Can't tell",
    "error": "Couldn't measure",
    "skipped": "Skipped",
}


@dataclass
class Facts:
    """Everything that a draft is compiled from; nothing else reaches it."""

    incident: Incident
    entries: list[TimelineEntry]
    evidence: dict[int, Evidence]
    items: list[ActionItem] = field(default_factory=list)
    alert_count: int = 0
    change_count: int = 0
    # Figures of the impact by their name.
    impact: dict[str, Figure] = field(default_factory=dict)
    # Names and what the draft says instead, longest first.
    names: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        """The service's name, or words for not knowing it."""
        return self.incident.service.slug if self.incident.service else "a service not yet bound"

    @property
    def began_at(self) -> datetime:
        """When users began to feel it, as well as known."""
        return self.incident.onset_at or self.incident.started_at

    def without_names(self, text: str) -> str:
        """The text with people's names replaced by their roles."""
        for name, role in self.names.items():
            text = re.sub(rf"(?<![\w@./-]){re.escape(name)}(?![\w@/-])", role, text)
        return text

    def brief(self, row: Evidence) -> str:
        """What a piece of evidence says, without the difference and interval behind it, which are told in full once."""
        return self.without_names(re.sub(r": [−+]?\d.*$", ".", row.summary, flags=re.DOTALL))

    def known(self, numbers: object) -> list[int]:
        """Those of the evidence numbers (12 or "E12") that exist here."""
        listed = numbers if isinstance(numbers, list) else [numbers]
        found = [int(str(number).lstrip("Ee")) for number in listed if str(number).lstrip("Ee").isdigit()]
        return [number for number in dict.fromkeys(found) if number in self.evidence]

    def first(self, kind: str) -> TimelineEntry | None:
        """The first entry of a kind."""
        return next((entry for entry in self.entries if entry.kind == kind), None)

    def last(self, kind: str) -> TimelineEntry | None:
        """The last entry of a kind."""
        return next((entry for entry in reversed(self.entries) if entry.kind == kind), None)

    def opening(self) -> TimelineEntry | None:
        """The entry with which the incident began: its opening, else an alert, else the one recorded first."""
        opened = (entry for entry in self.entries if entry.kind == "state" and entry.data.get("to") == "open")
        return next(opened, None) or self.first("alert") or min(self.entries, key=lambda row: row.seq, default=None)

    def detection(self) -> TimelineEntry | None:
        """The entry that shows that it was seen: the first alert, else the opening."""
        return self.first("alert") or self.opening()

    def state_entry(self, state: str, at: datetime | None) -> TimelineEntry | None:
        """The entry that tells of the move into a state: the nearest to the moment, named moves first."""
        if at is None:
            return None
        states = [entry for entry in self.entries if entry.kind == "state"]
        # Taking over an acknowledged incident says "from acknowledged to acknowledged"; that is no move.
        moves = [row for row in states if row.data.get("to") == state and row.data.get("from") != state]
        near = [entry for entry in states if abs(entry.at - at) <= timedelta(seconds=5)]
        return min(moves or near, key=lambda entry: abs(entry.at - at), default=None)

    def provider_of(self, entry: TimelineEntry) -> str:
        """Which provider an effect's entry is about, by its evidence or its own words; empty when unknown."""
        named = [self.evidence[number].provider for number in self.known(entry.evidence)]
        return next((name for name in named if name), str(entry.data.get("provider") or ""))

    def start(self) -> TimelineEntry | None:
        """The entry that says when the impact began: a person's correction, else the detection."""
        corrected = [entry for entry in self.entries if entry.data.get("started_at")]
        return corrected[-1] if corrected else self.detection()

    def figure_entry(self, name: str) -> TimelineEntry | None:
        """The entry with which a figure of the impact was set last."""
        told = (entry for entry in reversed(self.entries) if entry.kind == "impact")
        return next((entry for entry in told if entry.data.get("figure") == name), None)

    def checks(self, *, verifying: bool) -> list[Evidence]:
        """What was measured to find out (False), or to see whether it is over (True)."""
        later = {
            number
            for entry in self.entries
            if entry.data.get("phase") == "verify"
            for number in self.known(entry.evidence)
        }
        effects = [entry for entry in self.entries if entry.kind == "effect"]
        phases = any(entry.data.get("phase") for entry in self.entries)
        found = []
        for number, row in self.evidence.items():
            if row.kind in ("check", "recheck"):
                after = bool(effects) and row.created_at > effects[-1].at
                if (number in later if phases else after) is verifying:
                    found.append(row)
        return found

    def effect(self) -> Evidence | None:
        """The measurement that shows what users felt: a failed check, the nearest to users first."""
        wanted = SIGNALS.get(self.incident.incident_type)
        failed = [row for row in self.checks(verifying=False) if row.verdict == "fail"]
        ranked = [row for row in failed if row.provider in EFFECT_CHECKS]
        return min(
            ranked,
            key=lambda row: (
                row.params.get("signal") != wanted,
                EFFECT_CHECKS.index(row.provider),
                row.number or 0,
            ),
            default=None,
        )


def gather(incident: Incident) -> Facts:
    """Read the rows of one incident."""
    entries = list(TimelineEntry.objects.filter(incident=incident).order_by("at", "seq"))
    replaced = {entry.supersedes for entry in entries if entry.supersedes}
    entries = [entry for entry in entries if entry.seq not in replaced]
    starred = pins.overruled(incident)
    for entry in entries:
        entry.pinned = pins.is_key(entry, starred)
    rows = Evidence.objects.filter(incident_id=incident.pk, number__isnull=False).order_by("number")
    # Of the samples of a watch, those that the timeline tells of; all of them stand in the watch's own evidence.
    cited = {number for entry in entries for number in entry.evidence}
    rows = rows.exclude(~Q(number__in=cited), kind="sample")
    changes = []
    if incident.service is not None:
        began = incident.onset_at or incident.started_at
        changes = list(
            Change.objects.filter(
                service=incident.service, occurred_at__range=(began - CHANGES_BEFORE, began), effect_key=""
            )
        )
    return Facts(
        incident=incident,
        entries=entries,
        evidence={row.number: row for row in rows if row.number is not None},
        items=list(ActionItem.objects.filter(incident=incident).select_related("owner").order_by("priority", "due_on")),
        alert_count=incident.alerts.count(),
        change_count=len(changes),
        impact={figure.name: figure for figure in figures(incident, findings_of(incident))},
        names=_names(incident, entries, changes),
    )


def _names(incident: Incident, entries: list[TimelineEntry], changes: list[Change]) -> dict[str, str]:
    """Who is named how. A bare user name stays unless its owner acted here: it may be an ordinary word."""
    found: dict[str, str] = {}
    acted = {entry.actor for entry in entries}
    for user in User.objects.filter(memberships__team=incident.team):
        if user.full_name and user.full_name.lower() not in ROLES:
            found[user.full_name] = "a team member"
        found[user.email] = found[f"@{user.username}"] = "a team member"
        if user.label in acted and user.username not in ROLES:
            found[user.username] = "a team member"
    for change in changes:
        if change.author:
            found[change.author] = "the author of the change"
    for entry in entries:
        if entry.role not in MACHINES and entry.actor:
            name = f"the {entry.role or 'responder'}"
            found |= {entry.actor: name, f"@{entry.actor}": name}
        elif entry.role == "program" and "(token" in entry.actor:
            found[entry.actor] = "a program"
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))
