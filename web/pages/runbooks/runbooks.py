"""Runbooks: the list, one with its revisions and text, and starting a run from a form."""

from __future__ import annotations

import difflib
from typing import Any

from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.permissions import Permission
from common.errors import NotFound
from incidents.models import Incident
from runbooks import library, reading, revisions, runs
from runbooks.models import Revision, Run, Runbook
from web.pages import words
from web.pages.answering import InputsForm
from web.pages.forms import faults_of, team_field, teams_with
from web.policy import PersonRequest, allow, team_object_or_404, team_or_404, visible


class StartForm(InputsForm):
    """Inputs of a runbook, the team it runs in, and the incident it belongs to."""

    def __init__(self, *args: Any, request: PersonRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams_with(request.user, Permission.RUN))
        self.fields["incident"] = _incident_field(request)


def _incident_field(request: PersonRequest) -> Any:
    # A plain number field would make people copy numbers at 3 a.m.; the open incidents are few.
    rows = visible(Incident.objects.all(), request.actor).exclude(state="closed").order_by("-number")[:50]
    field = team_field([])
    field.choices = [("", "none"), *((str(row.number), f"{row.key} {row.title[:80]}") for row in rows)]
    field.label, field.required = "Incident", False
    return field


def find(request: PersonRequest, slug: str, permission: Permission = Permission.SEE) -> Runbook:
    """The runbook, of the shipped library or of a team of this person."""
    rows = Runbook.objects.written().filter(deleted_at__isnull=True).select_related("team", "current", "copy_of")
    return team_object_or_404(rows, request.actor, permission=permission, shared=True, slug=slug)


def definitions(revision: Revision | None) -> dict[str, Any]:
    """The input definitions of a revision."""
    found = revision.parsed.get("inputs") if revision else None
    return found if isinstance(found, dict) else {}


@allow(Permission.SEE)
def runbooks(request: PersonRequest) -> HttpResponse:
    """The list."""
    rows = visible(Runbook.objects.filter(deleted_at__isnull=True), request.actor, shared=True)
    rows = rows.select_related("team", "current").annotate(run_count=Count("runs")).order_by("incident_type", "slug")
    return render(request, "runbooks/listing.html", {"runbooks": rows})


def _context(request: PersonRequest, found: Runbook, form: StartForm | None = None) -> dict[str, Any]:
    last = list(visible(Run.objects.filter(runbook=found).select_related("incident", "revision"), request.actor)[:10])
    newest, offered = found.revisions.first(), library.offered(found)
    given = {name: request.GET[name] for name in definitions(found.current) if name in request.GET}
    initial = {"incident": request.GET.get("incident", "")}
    return {
        "runbook": found,
        "parsed": found.current.parsed if found.current else {},
        "revisions": list(found.revisions.all()[:30]),
        "needs": reading.needs_of(found.current),
        "draft": newest if newest and newest not in (found.current, offered) and not newest.published_at else None,
        "offered": offered,
        "offered_difference": _difference(found.current, offered) if offered else [],
        "may_publish": _may_publish(request, found),
        "form": form
        or StartForm(definitions=definitions(found.current), given=given, initial=initial, request=request),
        "last_runs": [(run, words.run_face(run)) for run in last],
    }


@allow(Permission.SEE)
def runbook(request: PersonRequest, slug: str) -> HttpResponse:
    """The page."""
    return render(request, "runbooks/runbook.html", _context(request, find(request, slug)))


@allow(Permission.RUN)
@require_POST
def start(request: PersonRequest, slug: str) -> HttpResponse:
    """Start a run, or join the open one."""
    found = find(request, slug, Permission.RUN)
    form = StartForm(request.POST, definitions=definitions(found.current), request=request)
    if form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.RUN)
        incident = None
        if said["incident"]:
            incident = team_object_or_404(Incident.objects.all(), request.actor, number=int(said["incident"]))
            team = incident.team
        with faults_of(form):
            started = runs.start(found, given=form.values(), actor=request.actor, team=team, incident=incident)
            if started.run is not None:
                if started.decision != "started":
                    messages.info(request, f"No second run: {started.decision}.")
                return redirect("run", uuid=started.run.uuid)
            messages.info(request, "Nothing was started: this runbook skips while another run is open.")
            return redirect("runbook", slug=slug)
    return render(request, "runbooks/runbook.html", _context(request, found, form), status=422)


@allow(Permission.SEE)
def revision(request: PersonRequest, slug: str, number: int) -> HttpResponse:
    """One text, with the lines in which it differs from the one before."""
    found = find(request, slug)
    row = found.revisions.filter(number=number).first()
    if row is None:
        raise NotFound(f"{slug} has no revision {number}.", fix="Open the runbook to see which there are.")
    before = found.revisions.filter(number__lt=number).order_by("-number").first()
    context = {
        "runbook": found,
        "revision": row,
        "before": before,
        "difference": _difference(before, row),
        "may_publish": _may_publish(request, found),
    }
    return render(request, "runbooks/revision.html", context)


def _difference(old: Revision | None, new: Revision) -> list[str]:
    before = old.text.splitlines() if old else []
    name = f"revision {old.number}" if old else "nothing"
    lines = difflib.unified_diff(before, new.text.splitlines(), name, f"revision {new.number}", lineterm="", n=2)
    return list(lines)[:2000]


def _may_publish(request: PersonRequest, found: Runbook) -> bool:
    """As `revisions.publish` asks: in the runbook's team, or as an org admin for what is shipped."""
    permission = Permission.ORG_ADMIN if found.team is None else Permission.PUBLISH_RUNBOOK
    return permissions.can(request.actor, permission, found.team)


@allow(Permission.PUBLISH_RUNBOOK)
@require_POST
def publish(request: PersonRequest, slug: str, number: int) -> HttpResponse:
    """Make a draft the text that new runs use."""
    found = find(request, slug)
    row = found.revisions.filter(number=number).first()
    if row is None:
        raise NotFound(f"{slug} has no revision {number}.", fix="Open the runbook to see which there are.")
    revisions.publish(row, actor=request.actor)
    messages.success(request, f"Revision {number} is what new runs use.")
    return redirect("runbook", slug=slug)
