"""One incident: what is wrong, how bad, since when, why probably, what is asked; and everything behind it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render

from catalog.models import Service
from catalog.permissions import Permission
from common.errors import NotFound
from incidents.models import Evidence, Incident
from incidents.timeline import KINDS
from runbooks.models import Run, Runbook, StepRun
from web.pages.exhibits import exhibit
from web.pages.forms import UtcTime, service_field
from web.pages.incidents import finding
from web.policy import PersonRequest, allow, visible


class NoteForm(forms.Form):
    """A note; it may be about an earlier time."""

    text = forms.CharField(
        label="Note",
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "What you see, did or think. Markdown works."}),
    )
    at = UtcTime(label="About an earlier time (UTC)", required=False)


class ReasonForm(forms.Form):
    """One sentence."""

    reason = forms.CharField(label="Reason", max_length=500)


class RemarkForm(forms.Form):
    """One sentence that may be left out."""

    note = forms.CharField(label="Note", max_length=2000, required=False)


class SeverityForm(forms.Form):
    """Another severity, and why."""

    severity = forms.TypedChoiceField(
        choices=[(level, f"SEV{level} {word}") for level, word in Incident.SEVERITIES], coerce=int, label="Severity"
    )
    reason = forms.CharField(label="Why", max_length=500, required=False)


class ServiceForm(forms.Form):
    """The service it is about."""

    def __init__(self, *args: Any, team_id: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["service"] = service_field([team_id], required=True, empty="choose")


class TimesForm(forms.Form):
    """When it really began, and how one knows."""

    started_at = UtcTime(label="Began at (UTC)")
    reason = forms.CharField(label="How do you know", max_length=500)


def now_context(incident: Incident) -> dict[str, Any]:
    """Head and Now card."""
    lines = finding.run_lines(incident)
    diagnosis = finding.diagnosis_of(lines)
    ranked = [row for row in diagnosis.get("ranked", []) if isinstance(row, dict)]
    alerts = list(incident.alerts.select_related("endpoint").order_by("first_seen_at"))
    running = StepRun.objects.filter(run__incident=incident, state="leased").order_by("started_at").first()
    pending = None
    if running is not None:
        pending = (
            StepRun.objects.filter(run=running.run_id, state="pending", position__gt=running.position)
            .order_by("position")
            .first()
        )
    top = next((row for row in ranked if row.get("id") == diagnosis.get("top")), None)
    return {
        "incident": incident,
        "run_lines": lines,
        "speaks_for": finding.evidence_for(incident, top) if top else [],
        "asks": finding.asks_of(incident),
        "ranked": ranked,
        "top": top,
        "alerts": alerts,
        "firing": sum(alert.status in ("firing", "no_data") for alert in alerts),
        "running": running,
        "next_step": pending,
        "ended_at": finding.ended_at(incident),
    }


def facts_context(incident: Incident) -> dict[str, Any]:
    """The parts under and beside the timeline."""
    similar = Incident.objects.filter(team=incident.team).exclude(pk=incident.pk)
    if incident.service_id:
        similar = similar.filter(service=incident.service_id)
    else:
        similar = similar.filter(incident_type=incident.incident_type).exclude(incident_type="other")
    return {
        "changes": finding.change_lines(incident),
        "messages_sent": list(incident.messages.order_by("-id")[:50]),
        "gates": list(incident.gates.all()),
        "postmortem": finding.postmortem_of(incident),
        "similar": list(similar.order_by("-number")[:5]),
        "runbooks_to_start": list(
            # A run belongs to the team of its incident, and so does its runbook unless it is a shipped one.
            Runbook.objects.filter(Q(team=incident.team_id) | Q(team=None), enabled=True, deleted_at=None).exclude(
                current=None
            )
        ),
        "action_items": list(incident.action_items.select_related("owner")),
    }


def timeline_context(request: PersonRequest, incident: Incident) -> dict[str, Any]:
    """The timeline, filtered by kind where the address says so."""
    chosen = request.GET.get("kind", "")
    kinds = {chosen} if chosen in KINDS else None
    present = set(incident.timeline.order_by().values_list("kind", flat=True).distinct())
    rows = finding.rows_of_timeline(incident, kinds, all_of_it="all" in request.GET)
    superseded = {row.entry.supersedes for row in rows if row.entry.supersedes is not None}
    return {
        "incident": incident,
        "rows": rows,
        "kind": chosen if kinds else "",
        "kinds": [kind for kind in KINDS if kind in present or kind == chosen],
        "superseded": superseded,
        "hidden": max(0, incident.last_seq - len(rows)) if not kinds else 0,
    }


def forms_context(incident: Incident) -> dict[str, Any]:
    """The small forms, empty."""
    begun = {"started_at": incident.started_at}
    return {
        "note_form": NoteForm(),
        "remark_form": RemarkForm(),
        "reason_form": ReasonForm(),
        "severity_form": SeverityForm(initial={"severity": incident.severity}),
        "service_form": ServiceForm(team_id=incident.team_id)
        if Service.objects.filter(team=incident.team_id).exists()
        else None,
        "times_form": TimesForm(initial=begun),
    }


def shown(request: PersonRequest, incident: Incident, **changed: Any) -> HttpResponse:
    """The page; `changed` replaces a form that has faults, and the answer is then 422."""
    context = now_context(incident) | facts_context(incident) | timeline_context(request, incident)
    context |= forms_context(incident) | changed
    return render(request, "incidents/incident.html", context, status=422 if changed else 200)


@allow(Permission.SEE)
def incident(request: PersonRequest, number: int) -> HttpResponse:
    """The page."""
    return shown(request, finding.find(request, number))


@allow(Permission.SEE)
def now(request: PersonRequest, number: int) -> HttpResponse:
    """Fragment: head and Now card."""
    return render(request, "incidents/_now.html", now_context(finding.find(request, number)))


@allow(Permission.SEE)
def timeline(request: PersonRequest, number: int) -> HttpResponse:
    """Fragment: the timeline."""
    return render(request, "incidents/_timeline.html", timeline_context(request, finding.find(request, number)))


@allow(Permission.SEE)
def facts(request: PersonRequest, number: int) -> HttpResponse:
    """Fragment: runs, alerts, changes, people told, gates, postmortem."""
    found = finding.find(request, number)
    return render(request, "incidents/_facts.html", now_context(found) | facts_context(found))


@allow(Permission.SEE)
def evidence(request: PersonRequest, number: int, evidence: int) -> HttpResponse:
    """One piece of evidence at its own address."""
    found = finding.find(request, number)
    row = Evidence.objects.filter(incident_id=found.pk, number=evidence).first()
    if row is None:
        raise NotFound(f"There is no evidence E{evidence} on {found.key}.", fix=f"It has E1 to E{found.last_evidence}.")
    run = visible(Run.objects.all(), request.actor).filter(pk=row.run_id).first() if row.run_id else None
    context = {"incident": found, "shown": exhibit(row, found), "run": run, "is_last": evidence >= found.last_evidence}
    return render(request, "incidents/evidence.html", context)
