"""One incident: what is wrong, how bad, since when, why probably, what is asked; and everything behind it.

Six tabs, each with an address of its own. A tab is made of parts that keep themselves current: `/parts/<name>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse

from catalog.models import Service
from catalog.permissions import Permission
from common.errors import NotFound
from incidents import impact
from incidents.models import Evidence, Incident
from incidents.timeline import KINDS
from runbooks.models import Run, Runbook
from web.pages.exhibits import exhibit
from web.pages.incidents import finding, forms, handover, knowing, people, signals, similar
from web.policy import PersonRequest, allow, visible

# How many entries the first tab shows under the Now card.
LATEST = 30
KEY = "key"
Context = dict[str, Any]


def act_now_url(incident: Incident) -> str:
    """Where an action outside any run is chosen."""
    try:
        return reverse("act_now", args=[incident.number])
    except NoReverseMatch:
        return ""


def head_context(request: PersonRequest, incident: Incident) -> Context:
    """The head of every tab, and the phone's action bar."""
    return {
        "incident": incident,
        "asks": knowing.demands(finding.asks_of(incident)),
        "ended_at": finding.ended_at(incident),
        "watching": [],
        "act_now_url": act_now_url(incident) if incident.is_open else "",
    }


def now_context(request: PersonRequest, incident: Incident) -> Context:
    """The Now card."""
    runs = finding.run_lines(incident)
    diagnosis = finding.diagnosis_of(runs)
    found = knowing.findings(incident, diagnosis)
    causes = knowing.causes(diagnosis, found, runs)
    alerts = finding.alert_counts(incident)
    return head_context(request, incident) | {
        "run_lines": runs,
        "alert_counts": alerts,
        "sentence": knowing.what_is_wrong(incident, found, alerts),
        "figures": impact.figures(incident, found),
        "causes": causes,
        "course": knowing.course(runs),
        "upstreams": people.upstreams(incident) if causes.ranked and causes.named is None else [],
        "impact_form": forms.ImpactForm(),
    }


def own_signal_context(request: PersonRequest, incident: Incident) -> Context:
    """The chart of the signal that the incident is about."""
    return signals.signals_context(incident, only_own=True)


def all_signals_context(request: PersonRequest, incident: Incident) -> Context:
    """The charts of all signals of its service."""
    return signals.signals_context(incident)


def signals_context(request: PersonRequest, incident: Incident) -> Context:
    """Alerts and changes."""
    return {
        "incident": incident,
        "alert_counts": finding.alert_counts(incident),
        "alerts": finding.alert_lines(incident),
        "changes": finding.change_lines(incident),
    }


def changes_context(request: PersonRequest, incident: Incident) -> Context:
    """What was changed, ranked."""
    return {"incident": incident, "changes": finding.change_lines(incident)}


def runs_context(request: PersonRequest, incident: Incident) -> Context:
    """The runs, and what may be started."""
    return {
        "incident": incident,
        "run_lines": finding.run_lines(incident),
        "asks": knowing.demands(finding.asks_of(incident)),
        "runbooks_to_start": list(
            # A run belongs to the team of its incident, and so does its runbook unless it is a shipped one.
            Runbook.objects.written()
            .filter(Q(team=incident.team_id) | Q(team=None), enabled=True, deleted_at=None)
            .exclude(current=None)
        ),
    }


def people_context(request: PersonRequest, incident: Incident) -> Context:
    """Who is on it, who was told, and the card for whoever takes over."""
    known = now_context(request, incident)
    card = handover.handover(
        incident,
        known["sentence"],
        known["causes"],
        known["figures"],
        known["run_lines"],
        known["course"],
        known["asks"],
    )
    return {
        "incident": incident,
        "watching": known["watching"],
        "oncall": finding.oncall_of(incident),
        "contacts": people.own_contacts(incident),
        "upstreams": people.upstreams(incident),
        "told": people.told(incident),
        "handover": card,
        "handover_text": card.text(incident),
    }


def after_context(request: PersonRequest, incident: Incident) -> Context:
    """What is left to do before it may be closed, and what is to be learnt."""
    return {
        "incident": incident,
        "gates": list(incident.gates.all()),
        "postmortem": finding.postmortem_of(incident),
        "action_items": list(incident.action_items.select_related("owner")),
        "similar": similar.similar(incident),
    }


def beside_context(request: PersonRequest, incident: Incident) -> Context:
    """The column beside the Now card: the other tabs in short."""
    return {
        "incident": incident,
        "run_lines": finding.run_lines(incident),
        "alert_counts": finding.alert_counts(incident),
        "told": people.told(incident, most=5),
        "gates": list(incident.gates.all()),
        "postmortem": finding.postmortem_of(incident),
        "similar": similar.similar(incident),
    }


def timeline_context(request: PersonRequest, incident: Incident, *, latest: bool = False) -> Context:
    """The timeline, filtered by kind or by star where the address says so; `latest` is the short one of the first tab.

    A correction that is not among the rows shown marks nothing: what it replaces is older than all of them then.
    """
    asked = request.GET.get("kind", "")
    chosen = asked if asked in KINDS or asked == KEY else ""
    kinds = {chosen} if chosen in KINDS else None
    most = LATEST if latest else None if "all" in request.GET else finding.ENTRIES
    rows = finding.rows_of_timeline(incident, kinds, only_key=chosen == KEY, most=most)
    present = set(incident.timeline.order_by().values_list("kind", flat=True).distinct())
    return {
        "incident": incident,
        "rows": rows,
        "latest": latest,
        "kind": chosen,
        "kinds": [kind for kind in KINDS if kind in present or kind == chosen],
        "superseded": {row.entry.supersedes for row in rows if row.entry.supersedes is not None},
        "hidden": max(0, incident.last_seq - len(rows)) if not chosen else 0,
        "time_form": forms.NoteTimeForm(),
        "corrects": 0,
    }


def latest_context(request: PersonRequest, incident: Incident) -> Context:
    """The newest entries, under the Now card."""
    return timeline_context(request, incident, latest=True)


def forms_context(incident: Incident) -> Context:
    """The small forms, empty."""
    services = Service.objects.filter(team=incident.team_id)
    return {
        "note_form": forms.NoteForm(),
        "remark_form": forms.RemarkForm(),
        "reason_form": forms.ReasonForm(),
        "severity_form": forms.SeverityForm(initial={"severity": incident.severity}),
        "service_form": forms.ServiceForm(team_id=incident.team_id) if services.exists() else None,
        "times_form": forms.TimesForm(initial={"started_at": incident.started_at}),
    }


Reader = Callable[[PersonRequest, Incident], Context]
# What each tab shows; `head` is on all of them.
TABS: dict[str, list[Reader]] = {
    "now": [now_context, own_signal_context, changes_context, beside_context, latest_context],
    "timeline": [head_context, timeline_context],
    "signals": [head_context, all_signals_context, signals_context],
    "runs": [head_context, runs_context],
    "people": [head_context, people_context],
    "postmortem": [head_context, after_context],
}
# Parts that are fetched alone when something changed; each is templates/incidents/parts/<name>.html.
PARTS: dict[str, Reader] = {
    "head": head_context,
    "now": now_context,
    "changes": changes_context,
    "beside": beside_context,
    "latest": latest_context,
    "timeline": timeline_context,
    "signals": signals_context,
    "runs": runs_context,
    "people": people_context,
    "after": after_context,
}


def shown(request: PersonRequest, incident: Incident, tab: str = "now", **changed: Any) -> HttpResponse:
    """A tab of the page; `changed` replaces a form that has faults, and the answer is then 422."""
    context: Context = {"tab": tab}
    for reader in TABS[tab]:
        context |= reader(request, incident)
    context |= forms_context(incident) | changed
    return render(request, f"incidents/{tab}.html", context, status=422 if changed else 200)


@allow(Permission.SEE)
def incident(request: PersonRequest, number: int) -> HttpResponse:
    """The first tab: now."""
    return shown(request, finding.find(request, number))


@allow(Permission.SEE)
def tab(request: PersonRequest, number: int, tab: str) -> HttpResponse:
    """One of the other tabs."""
    return shown(request, finding.find(request, number), tab)


@allow(Permission.SEE)
def part(request: PersonRequest, number: int, part: str) -> HttpResponse:
    """One part of a tab as it is now."""
    found = finding.find(request, number)
    if part not in PARTS:
        raise NotFound("There is no such part of an incident's page.", fix=f"Known: {', '.join(PARTS)}.")
    return render(request, f"incidents/parts/{part}.html", PARTS[part](request, found))


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
