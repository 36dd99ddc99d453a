"""What is known of an incident, in words: what is wrong, why probably, what is asked of whom, what runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from incidents import texts
from incidents.models import Evidence, Incident
from incidents.postmortem_facts import SIGNALS
from runbooks.diagnosis import CONFIDENCE
from runbooks.models import StepRun
from runbooks.reading import owner_of
from runbooks.watched import Watching
from web.pages import words
from web.pages.incidents.finding import AlertCounts, RunLine
from web.pages.waiting import Ask

BEST = 3
FINDINGS = 100


@dataclass(frozen=True)
class Cited:
    """One finding that speaks for or against a cause."""

    key: str
    number: int | None
    summary: str
    points: float


@dataclass(frozen=True)
class NotChecked:
    """A check that decides nothing yet, and why not."""

    step: str
    question: str
    why: str


@dataclass(frozen=True)
class Cause:
    """One possible cause with everything that bears on it."""

    title: str
    score: float
    coverage: float
    speaks_for: list[Cited]
    against: list[Cited]
    not_checked: list[NotChecked]


@dataclass(frozen=True)
class Causes:
    """All possible causes, the likeliest first; `named` only where one reached the limit."""

    named: Cause | None
    ranked: list[Cause]
    # Whether all checks that could still move the ranking have come to their end.
    settled: bool

    @property
    def best(self) -> list[Cause]:
        """The three to look at when none is named."""
        return self.ranked[:BEST]

    @property
    def open_checks(self) -> list[NotChecked]:
        """What would tell the best three apart and did not, each once."""
        return list({check.step: check for cause in self.best for check in cause.not_checked}.values())

    @property
    def limit(self) -> float:
        """The score that a cause must reach to be named."""
        return CONFIDENCE


def findings(incident: Incident, diagnosis: dict[str, Any]) -> list[Evidence]:
    """The checks that found a problem and whatever the diagnosis cites, oldest first."""
    cited = {str(line.get("evidence", "")) for row in _ranked(diagnosis) for line in row.get("lines", [])}
    numbers = [int(key[1:]) for key in cited if key[:1] == "E" and key[1:].isdecimal()]
    rows = Evidence.objects.filter(incident_id=incident.pk, kind="check")
    return list(rows.filter(Q(verdict="fail") | Q(number__in=numbers)).order_by("number")[:FINDINGS])


def causes(diagnosis: dict[str, Any], found: list[Evidence], runs: list[RunLine]) -> Causes:
    """The ranking of the newest diagnosis with its evidence and with the reasons of what is not checked."""
    by_key = {row.key: row for row in found}
    run = next((line for line in runs if line.run.diagnosis.get("ranked")), None)
    steps = {step.step: step for step in reversed(run.steps)} if run else {}
    watches = run.watches if run else {}
    ranked = [_cause(row, by_key, steps, watches) for row in _ranked(diagnosis)]
    top = next((place for place, row in enumerate(_ranked(diagnosis)) if row.get("id") == diagnosis.get("top")), None)
    checks = [step for step in steps.values() if step.kind == "check" and step.phase in ("check", "measure", "triage")]
    settled = run is not None and (not run.run.is_open or all(step.is_terminal for step in checks))
    return Causes(None if top is None else ranked[top], ranked, settled)


def _ranked(diagnosis: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in diagnosis.get("ranked", []) if isinstance(row, dict)]


def _cause(
    row: dict[str, Any], by_key: dict[str, Evidence], steps: dict[str, StepRun], watches: dict[int, Watching]
) -> Cause:
    speaks_for: list[Cited] = []
    against: list[Cited] = []
    for line in sorted(row.get("lines", []), key=lambda line: -abs(line.get("points", 0))):
        points, key = line.get("points", 0), str(line.get("evidence", ""))
        proof = by_key.get(key)
        said = proof.summary if proof else str(line.get("step", "")).replace("_", " ")
        if points:
            cited = Cited(key, proof.number if proof else None, said, points)
            (speaks_for if points > 0 else against).append(cited)
    missing = [_not_checked(str(name), steps.get(str(name)), watches) for name in row.get("not_checked", [])]
    return Cause(
        str(row.get("title", "")),
        row.get("confidence", 0.0),
        row.get("coverage", 0.0),
        speaks_for,
        against,
        missing,
    )


def _not_checked(name: str, step: StepRun | None, watches: dict[int, Watching]) -> NotChecked:
    short = name.replace("_", " ")
    if step is None:
        return NotChecked(short, short, "not part of this run")
    why = words.step_face(step, is_watch=step.pk in watches).word.lower()
    if step.state == "settled" and step.reason:
        why = words.reason(step.reason)
    return NotChecked(short, step.name, why)


def what_is_wrong(incident: Incident, found: Iterable[Evidence], alerts: AlertCounts) -> str:
    """One sentence, with numbers once there are any: `Accuracy of rag-chat fell from .91 to .78, worst for de.`"""
    failed = [row for row in found if row.verdict == "fail"]
    worst = _worst(failed)
    wanted = SIGNALS.get(incident.incident_type)
    compared = [row for row in failed if row.provider == "metric.compare" and row.params.get("signal")]
    for row in sorted(compared, key=lambda row: row.params["signal"] != wanted):
        before, now = row.result.get("before"), row.result.get("now")
        if isinstance(before, int | float) and isinstance(now, int | float):
            unit = "" if row.unit in ("", "ratio", "share") else f" {row.unit}"
            name = str(row.params["signal"]).replace("_", " ")
            whose = f" of {incident.service.slug}" if incident.service else ""
            moved = "fell" if now < before else "rose"
            was, became = texts.short(before), texts.short(now)
            return f"{name.capitalize()}{whose} {moved} from {was} to {became}{unit}{worst}."
    if failed:
        return failed[-1].summary
    if alerts.total:
        fire = f"{alerts.firing} of {alerts.total} alert{'' if alerts.total == 1 else 's'} firing"
        return f"{_first_line(incident)}; {fire}, nothing measured yet."
    return f"{_first_line(incident)}; nothing measured yet."


def _first_line(incident: Incident) -> str:
    said = " ".join((incident.summary or incident.title).split()).rstrip(".")
    return said if len(said) <= 160 else f"{said[:159].rstrip()}…"


def _worst(failed: list[Evidence]) -> str:
    """The part of the traffic that is worst off, where versions were compared by part."""
    compared = next((row for row in reversed(failed) if row.provider == "eval.compare"), None)
    regressed = compared.result.get("regressed") if compared else None
    return (
        f", worst for {str(regressed[0]).rpartition('=')[2][:60]}" if isinstance(regressed, list) and regressed else ""
    )


@dataclass(frozen=True)
class Demand:
    """One ask with who is asked."""

    ask: Ask
    who: str

    @property
    def due_at(self) -> datetime | None:
        """Until when."""
        return self.ask.due_at


def demands(asked: list[Ask]) -> list[Demand]:
    """What is asked, of whom."""
    return [Demand(ask, _who(ask)) for ask in asked]


def _who(ask: Ask) -> str:
    if ask.approval is not None:
        names = [str(name) for name in ask.approval.principals]
        quorum = f", {ask.approval.needed} of them" if ask.approval.needed > 1 else ""
        return f"{_principals(names)}{quorum}"
    params = ask.step.params if isinstance(ask.step.params, dict) else {}
    names = [str(name) for name in params.get("asked", [])]
    owner = "" if names else owner_of(ask.step.run.revision)
    return _principals(names or ([owner] if owner else []))


def _principals(names: list[str]) -> str:
    """`role:oncall` as people say it."""
    said = []
    for name in names:
        kind, _, slug = name.partition(":")
        if slug == "oncall":
            said.append("whoever is on call")
        else:
            said.append(f"team {slug}" if kind == "team" else slug or kind)
    return " or ".join(said) or "anybody who may answer"


@dataclass(frozen=True)
class Course:
    """What runs at this moment, and what comes next."""

    running: StepRun | None
    following: StepRun | None
    waits: bool
    watching: Watching | None = None


def course(runs: list[RunLine]) -> Course:
    """The running step of the newest open run that has one, and the step after it."""
    for line in runs:
        if not line.run.is_open:
            continue
        running = next((step for step in line.steps if step.state == "leased"), None)
        if running is not None and running.pk in line.watches:
            # A sample of a watch takes a moment; that it goes on is what counts.
            running = None
        watching = line.watching if running is None else None
        stuck = running or line.waiting or (watching.step if watching else None)
        if stuck is None:
            continue
        later = [step for step in line.steps if step.state == "pending" and step.position > stuck.position]
        return Course(
            running, later[0] if later else None, waits=running is None and watching is None, watching=watching
        )
    return Course(None, None, waits=False)
