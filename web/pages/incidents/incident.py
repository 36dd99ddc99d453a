"""One incident: what is wrong, how bad, since when, why probably, what is asked; and everything behind it.

Six tabs, each with an address of its own. A tab is made of parts that keep themselves current: `/parts/<name>`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from catalog import presence
from catalog.permissions import Permission
from common.errors import NotFound
from common.statements import Written
from incidents import impact
from incidents.models import Evidence, Gate, Incident
from incidents.timeline import KINDS
from runbooks.models import Run, Runbook
from web.pages.exhibits import exhibit
from web.pages.incidents import finding, forms, handover, knowing, people, signals, similar
from web.policy import PersonRequest, allow, visible

KEY = "key"
Context = dict[str, Any]


class Page:
    """One request for one incident: what several parts of a tab need is read once."""

    def __init__(self, request: PersonRequest, incident: Incident) -> None:
        self.request, self.incident = request, incident

    @cached_property
    def run_lines(self) -> list[finding.RunLine]:
        """The runs, the newest first."""
        return finding.run_lines(self.incident)

    @cached_property
    def alert_counts(self) -> finding.AlertCounts:
        """The alerts in figures."""
        return finding.alert_counts(self.incident)

    @cached_property
    def demands(self) -> list[knowing.Demand]:
        """What is asked, of whom."""
        return knowing.demands(finding.asks_of(self.run_lines))


def head_context(page: Page) -> Context:
    """The head of every tab, and the phone's action bar."""
    return {
        "incident": page.incident,
        "asks": page.demands,
        "ended_at": finding.ended_at(page.incident),
        "watching": presence.here("incident", str(page.incident.number), but=page.request.user),
        "act_now_url": reverse("act_now", args=[page.incident.number]) if page.incident.is_open else "",
    }


def now_context(page: Page) -> Context:
    """The Now card."""
    runs = page.run_lines
    diagnosis = finding.diagnosis_of(runs)
    found = knowing.findings(page.incident, diagnosis)
    causes = knowing.causes(diagnosis, found, runs)
    alerts = page.alert_counts
    return head_context(page) | {
        "run_lines": runs,
        "alert_counts": alerts,
        "sentence": knowing.what_is_wrong(page.incident, found, alerts),
        "figures": impact.figures(page.incident, found),
        "causes": causes,
        "course": knowing.course(runs),
        "upstreams": people.upstreams(page.incident) if causes.ranked and causes.named is None else [],
        "impact_form": forms.ImpactForm(),
    }


def own_signal_context(page: Page) -> Context:
    """The chart of the signal that the incident is about."""
    return signals.signals_context(page.incident, only_own=True)


def all_signals_context(page: Page) -> Context:
    """The charts of all signals of its service."""
    return signals.signals_context(page.incident)


def signals_context(page: Page) -> Context:
    """Alerts and changes."""
    return {
        "incident": page.incident,
        "alert_counts": page.alert_counts,
        "alerts": finding.alert_lines(page.incident),
        "changes": finding.change_lines(page.incident),
    }


def changes_context(page: Page) -> Context:
    """What was changed, ranked."""
    return {"incident": page.incident, "changes": finding.change_lines(page.incident)}


def runs_context(page: Page) -> Context:
    """The runs, and what may be started."""
    return {
        "incident": page.incident,
        "run_lines": page.run_lines,
        "asks": page.demands,
        "runbooks_to_start": list(
            # A run belongs to the team of its incident, and so does its runbook unless it is a shipped one.
            Runbook.objects.written()
            .filter(Q(team=page.incident.team_id) | Q(team=None), enabled=True, deleted_at=None)
            .exclude(current=None)
        ),
    }


def people_context(page: Page) -> Context:
    """Who is on it, who was told, and the card for whoever takes over."""
    known = now_context(page)
    card = handover.handover(
        page.incident,
        known["sentence"],
        known["causes"],
        known["figures"],
        known["run_lines"],
        known["course"],
        known["asks"],
    )
    return {
        "incident": page.incident,
        "watching": known["watching"],
        "oncall": finding.oncall_of(page.incident),
        "contacts": people.own_contacts(page.incident),
        "upstreams": people.upstreams(page.incident),
        "told": people.told(page.incident),
        "handover": card,
        "handover_text": card.text(page.incident),
    }


_gates = Written(lambda incident: Gate.objects.filter(incident=incident))


def after_context(page: Page) -> Context:
    """What is left to do before it may be closed, and what is to be learnt."""
    return {
        "incident": page.incident,
        "gates": _gates(page.incident.pk),
        "postmortem": finding.postmortem_of(page.incident),
        "action_items": list(page.incident.action_items.select_related("owner")),
        "similar": similar.similar(page.incident),
    }


def beside_context(page: Page) -> Context:
    """The column beside the Now card: the other tabs in short."""
    return {
        "incident": page.incident,
        "run_lines": page.run_lines,
        "alert_counts": page.alert_counts,
        "told": people.told(page.incident, in_short=True),
        "gates": _gates(page.incident.pk),
        "postmortem": finding.postmortem_of(page.incident),
        "similar": similar.similar(page.incident),
    }


def timeline_context(page: Page, *, latest: bool = False) -> Context:
    """The timeline, filtered by kind or by star where the address says so; `latest` is the short one of the first tab.

    A correction that is not among the rows shown marks nothing: what it replaces is older than all of them then.
    """
    asked = page.request.GET.get("kind", "")
    chosen = asked if asked in KINDS or asked == KEY else ""
    kinds = {chosen} if chosen in KINDS else None
    most = None if "all" in page.request.GET else finding.ENTRIES
    rows = (
        finding.latest_of_timeline(page.incident)
        if latest
        else finding.rows_of_timeline(page.incident, kinds, only_key=chosen == KEY, most=most)
    )
    # The short one has no filters.
    all_kinds = page.incident.timeline.order_by().values_list("kind", flat=True).distinct()
    present = set() if latest else set(all_kinds)
    return {
        "incident": page.incident,
        "rows": rows,
        "latest": latest,
        "kind": chosen,
        "kinds": [kind for kind in KINDS if kind in present or kind == chosen],
        "superseded": {row.entry.supersedes for row in rows if row.entry.supersedes is not None},
        "hidden": max(0, page.incident.last_seq - len(rows)) if not chosen else 0,
        "time_form": forms.NoteTimeForm(),
        "corrects": 0,
    }


def latest_context(page: Page) -> Context:
    """The newest entries, under the Now card."""
    return timeline_context(page, latest=True)


def forms_context(incident: Incident) -> Context:
    """The small forms, empty."""
    service_form = forms.ServiceForm(team_id=incident.team_id)
    return {
        "note_form": forms.NoteForm(),
        "remark_form": forms.RemarkForm(),
        "reason_form": forms.ReasonForm(),
        "severity_form": forms.SeverityForm(initial={"severity": incident.severity}),
        "service_form": service_form if service_form.has_choice else None,
        "times_form": forms.TimesForm(initial={"started_at": incident.started_at}),
    }


Reader = Callable[[Page], Context]
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
    page = Page(request, incident)
    for reader in TABS[tab]:
        context |= reader(page)
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
    return render(request, f"incidents/parts/{part}.html", PARTS[part](Page(request, found)))


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
