"""The signals around one incident: the alert's own on the Now tab, all of the service's on the Signals tab."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from catalog.models import Picture
from catalog.permissions import Permission
from common import clock
from common.errors import NotFound
from incidents import evidence, pictures
from incidents.models import Evidence, Incident
from web.pages import signals as showing
from web.pages.incidents import finding
from web.policy import PersonRequest, allow

# Which signal a kind of incident is about, where no alert names one; the first that the service has.
_BY_TYPE = {
    "accuracy_drop": ("accuracy", "quality", "eval_score"),
    "latency_spike": ("latency",),
    "cost_explosion": ("cost", "tokens"),
    "data_issue": ("null_rate", "drift", "freshness"),
    "safety_incident": ("safety_flags", "flag_rate", "safety"),
}


def signals_context(incident: Incident, *, only_own: bool = False) -> dict[str, Any]:
    """What `incidents/_signals.html` shows: `signals`, the alert's own first; with `only_own` that one alone.

    Reads rows only. Where a picture is missing or old, a worker is asked for it and `reading` is true.
    """
    now = clock.now()
    service = incident.service
    if service is None:
        return {"incident": incident, "signals": [], "reading": False, "only_own": only_own, "bound": 0}
    kept = {picture.name: picture for picture in pictures.of_incident(incident)}
    bound = {signal.name: signal for signal in service.signals.select_related("connection")}
    reading = bool(bound) and pictures.ask_for_incident(incident, now, {name: kept.get(name) for name in bound})
    names = sorted({*kept, *bound})
    own, reason = own_signal(incident, names, kept)
    onset = incident.onset_at or incident.started_at
    marks = showing.marks_of(service, *pictures.span_of(incident, now), onset=onset)
    over = incident.resolved_at is not None or incident.closed_at is not None
    chosen = [own] if only_own and own else sorted(names, key=lambda name: (name != own, name))
    rows = [
        showing.shown(
            kept.get(name),
            signal=bound.get(name),
            service=service,
            now=now,
            marks=marks,
            id=f"{'own' if only_own else 'signal'}-{name}",
            csv_url=reverse("incident_signal_csv", args=[incident.number, name]),
            reason=reason if name == own else "",
            is_over=over,
        )
        for name in chosen
    ]
    return {"incident": incident, "signals": rows, "reading": reading, "only_own": only_own, "bound": len(names)}


def own_signal(incident: Incident, names: list[str], kept: dict[str, Picture]) -> tuple[str, str]:
    """The signal that the incident is about, and why it is taken for that; empty where the service has none."""
    if not names:
        return "", ""
    alerts = list(incident.alerts.order_by("first_seen_at")[:20])
    for alert in alerts:
        if str(alert.labels.get("signal", "")) in names:
            return str(alert.labels["signal"]), "the alert names it"
    said = " ".join([*(alert.title for alert in alerts), incident.title]).lower().replace("_", " ")
    for name in sorted(names, key=len, reverse=True):
        if name.replace("_", " ") in said:
            return name, "the alert's title names it" if alerts else "the title names it"
    for name in _BY_TYPE.get(incident.incident_type, ()):
        if name in names:
            return name, f"the incident is of the kind {incident.get_incident_type_display()}"
    worst = max(names, key=lambda name: _distance(kept.get(name)))
    if _distance(kept.get(worst)) > 0:
        return worst, "it is the furthest from what is usual"
    return ("error_rate" if "error_rate" in names else names[0]), "no alert names a signal"


def _distance(picture: Picture | None) -> float:
    found = showing.standing(picture)
    return found.by if found.is_worse else 0.0


@allow(Permission.SEE)
def part(request: PersonRequest, number: int) -> HttpResponse:
    """Fragment: the signals; `?own` the alert's own alone."""
    found = finding.find(request, number)
    return render(request, "incidents/_signals.html", signals_context(found, only_own="own" in request.GET))


@allow(Permission.SEE)
def csv(request: PersonRequest, number: int, name: str) -> HttpResponse:
    """The kept points of one signal around the incident."""
    found = finding.find(request, number)
    picture = next((row for row in pictures.of_incident(found) if row.name == name and row.read_at), None)
    if picture is None:
        raise NotFound(f"Nothing was read of {name} around {found.key}.", fix="The Signals tab names what was read.")
    return showing.picture_csv(picture, f"{found.key}-{name}")


@allow(Permission.SEE)
def evidence_csv(request: PersonRequest, number: int, evidence_number: int) -> HttpResponse:
    """The stored series of one piece of evidence."""
    found = finding.find(request, number)
    row = Evidence.objects.filter(incident_id=found.pk, number=evidence_number).first()
    series = evidence.full_result(row).get("series") if row else None
    if row is None or not series:
        raise NotFound(f"E{evidence_number} of {found.key} has no series.", fix="Only measured signals have points.")
    return showing.series_csv(series, f"{found.key}-{row.key}")
