"""What the pages of services read: signals, versions, what would start, and the state of each service in one line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Q, QuerySet
from django.urls import reverse

from catalog.models import ModelVersion, Picture, Service
from evaluations.models import EvaluationSet
from incidents import pictures
from incidents.models import Incident
from runbooks.models import Run, Runbook
from runbooks.reading import written
from web.pages import signals as showing

GOING = ["open", "acknowledged", "mitigated"]


@dataclass(frozen=True)
class Line:
    """A service in the list: what hurts most, how many incidents are open, what serves."""

    service: Service
    open_incidents: int
    gravest: int | None
    serving: str
    worst: Picture | None
    standing: showing.Standing
    # How many signals are bound, and of how many something was read.
    bound: int
    read: int


def lines(services: QuerySet[Service]) -> list[Line]:
    """The services with their state, by tier; five queries whatever their number."""
    going = Q(incidents__state__in=GOING, incidents__is_drill=False)
    rows = list(
        services.annotate(
            open_incidents=Count("incidents", filter=going, distinct=True),
            bound=Count("signals", distinct=True),
        ).order_by("tier", "slug")
    )
    kept: dict[int, list[Picture]] = {}
    for picture in Picture.objects.filter(service__in=[row.pk for row in rows], key=""):
        kept.setdefault(picture.service_id, []).append(picture)
    serving = dict(ModelVersion.objects.filter(service__in=rows, state="serving").values_list("service", "version"))
    gravest: dict[int, int] = {}
    open_ones = Incident.objects.filter(service__in=rows, state__in=GOING, is_drill=False)
    for service_id, severity in open_ones.values_list("service", "severity"):
        gravest[service_id] = min(severity, gravest.get(service_id, severity))
    return [_line(row, kept.get(row.pk, []), serving.get(row.pk, ""), gravest.get(row.pk)) for row in rows]


def _line(service: Any, kept: list[Picture], serving: str, gravest: int | None) -> Line:
    known = [(showing.standing(picture), picture) for picture in kept if picture.read_at]
    worse = [pair for pair in known if pair[0].is_worse]
    standing, worst = max(worse, key=lambda pair: pair[0].by, default=(None, None))
    if standing is None:
        usual = sum(found.word in ("usual", "near", "better") for found, _ in known)
        word = "usual" if known and usual == len(known) else "unknown"
        standing = showing.Standing(word, "")
    return Line(service, service.open_incidents, gravest, serving, worst, standing, service.bound, len(known))


def signals_context(service: Service, now: datetime) -> dict[str, Any]:
    """All signals of the service over its last hours; asks a worker where a picture is missing or old."""
    bound = list(service.signals.select_related("connection"))
    kept = {picture.name: picture for picture in service.pictures.filter(key="")}
    reading = bool(bound) and pictures.ask_for_service(service, now)
    window = pictures.last_hours_of(service, now)
    marks = showing.marks_of(service, window.start, window.end, onset=window.onset)
    return {
        "service": service,
        "reading": reading,
        "signals": [
            showing.shown(
                kept.get(signal.name),
                signal=signal,
                service=service,
                now=now,
                marks=marks,
                csv_url=reverse("service_signal_csv", args=[service.slug, signal.name]),
            )
            for signal in bound
        ],
    }


@dataclass(frozen=True)
class Starter:
    """A runbook that alerts of this service may start: on what, with which signals, and when it last did."""

    runbook: Runbook
    triggers: list[str]
    needs: list[str]
    missing: list[str]
    last_run_at: datetime | None


def starters(service: Service) -> list[Starter]:
    """The runbooks whose triggers count for the service's team; those that ran here first."""
    rows = Runbook.objects.started_by_alerts_of(service.team).select_related("current")
    bound = set(service.signals.values_list("name", flat=True))
    ran = dict(
        Run.objects.real().filter(service=service).order_by().values_list("runbook").annotate(last=Max("created_at"))
    )
    found = []
    for row in rows.defer("current__text"):
        parsed = written(row.current)
        triggers = [str(item.get("alert", "")) for item in parsed.get("triggers") or [] if isinstance(item, dict)]
        if not triggers:
            continue
        needs = sorted(_named(parsed.get("phases")))
        missing = [name for name in needs if name not in bound]
        found.append(Starter(row, triggers, needs, missing, ran.get(row.pk)))
    return sorted(
        found, key=lambda item: (-(item.last_run_at.timestamp() if item.last_run_at else 0), item.runbook.slug)
    )


def _named(part: Any) -> set[str]:
    """The signals that steps name outright (`with: {signal: latency}`), wherever they stand."""
    if isinstance(part, dict):
        found = set().union(*(_named(value) for value in part.values()))
        name = part.get("signal")
        return found | ({name} if isinstance(name, str) and name and "{" not in name else set())
    if isinstance(part, list):
        return set().union(*(_named(value) for value in part))
    return set()


def evaluation_sets(service: Service) -> list[tuple[EvaluationSet, int, datetime | None]]:
    """The set that the service is scored with and others that scored it, with their cases and the last time."""
    named = str(service.evaluation.get("set", "")) if isinstance(service.evaluation, dict) else ""
    rows = EvaluationSet.objects.filter(
        Q(team=service.team_id, slug=named) | Q(evaluations__service=service)
    ).distinct()
    counted = rows.annotate(
        cases_count=Count("cases", distinct=True),
        last=Max("evaluations__created_at", filter=Q(evaluations__service=service)),
    )
    return [(row, row.cases_count, row.last) for row in counted]


def neighbours(services: QuerySet[Service]) -> list[tuple[Service, int]]:
    """Services beside this one, with the number of their open incidents."""
    going = Q(incidents__state__in=GOING, incidents__is_drill=False)
    rows = services.annotate(open_incidents=Count("incidents", filter=going, distinct=True)).order_by("slug")
    return [(row, row.open_incidents) for row in rows]
