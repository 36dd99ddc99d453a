"""Runbooks: the list, one with its revisions and text, and starting a run from a form."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Count, Max, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.permissions import ROLES, Permission
from common import clock
from common.errors import NotFound
from incidents.models import Incident
from runbooks import children, compare, exercised, library, revisions, runs
from runbooks import reading as engine_reading
from runbooks.models import Revision, Run, Runbook
from runbooks.testing import kept
from web.pages import words
from web.pages.answering import InputsForm
from web.pages.forms import faults_of, team_field, teams_with
from web.pages.runbooks import reading
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
    found = engine_reading.written(revision).get("inputs")
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Row:
    """One runbook of the list: what starts it, whose it is, and how it went last."""

    runbook: Runbook
    starts: str
    owner: str
    last: Run | None
    face: words.Face | None


@allow(Permission.SEE)
def runbooks(request: PersonRequest) -> HttpResponse:
    """The list."""
    rows = visible(Runbook.objects.filter(deleted_at__isnull=True), request.actor, shared=True)
    rows = rows.select_related("team", "current", "copy_of").annotate(
        run_count=Count("runs", filter=Q(runs__is_plan=False))
    )
    mine = visible(Run.objects.real(), request.actor).order_by().values("runbook").annotate(last=Max("pk"))
    found = Run.objects.filter(pk__in=mine.values("last")).select_related("incident")
    last = {run.runbook_id: run for run in found}
    shown = [_row(book, last.get(book.pk)) for book in rows.order_by("incident_type", "slug")]
    return render(request, "runbooks/listing.html", {"rows": shown})


def _row(book: Runbook, last: Run | None) -> Row:
    owner = str(engine_reading.written(book.current).get("owner", ""))
    face = words.run_face(last) if last else None
    return Row(book, reading.starts(book.current), reading.principal(owner) if owner else "nobody yet", last, face)


def _context(request: PersonRequest, found: Runbook, form: StartForm | None = None) -> dict[str, Any]:
    last = list(
        visible(Run.objects.real().filter(runbook=found).select_related("incident", "revision"), request.actor)[:10]
    )
    newest, offered = found.revisions.first(), library.offered(found)
    given = {name: request.GET[name] for name in definitions(found.current) if name in request.GET}
    initial = {"incident": request.GET.get("incident", "")}
    spec = reading.spec_of(found.current)
    return {
        "runbook": found,
        "spec": spec,
        "phases": reading.phases(spec) if spec else [],
        "triggers": reading.triggers(found.current),
        "owner": reading.principal(spec.owner) if spec else "",
        "starters": [role for role, given in ROLES.items() if Permission.RUN in given],
        "parsed": engine_reading.written(found.current),
        "revisions": list(found.revisions.all()[:30]),
        "needs": children.needs_of(found.current, found.team),
        "draft": newest if newest and newest not in (found.current, offered) and not newest.published_at else None,
        "offered": offered,
        "offered_difference": _difference(found.current, offered) if offered else [],
        "may_publish": _may_publish(request, found),
        "form": form
        or StartForm(definitions=definitions(found.current), given=given, initial=initial, request=request),
        "exercised": exercised.last(found),
        "exercised_overdue": exercised.is_overdue(found, now=clock.now()),
        "tests": kept.of(found),
        "has_tests": bool(kept.text_of(found)),
        "last_runs": [(run, words.run_face(run)) for run in last],
        "dry_runs": _dry_runs(request, found),
    }


def _dry_runs(request: PersonRequest, found: Runbook) -> list[tuple[Run, words.Face]]:
    """The last ones that somebody started; those that were a step of another are on the page of that one."""
    rows = found.runs.filter(is_plan=True, parent_step=None).select_related("incident", "revision").order_by("-pk")
    return [(run, words.run_face(run)) for run in visible(rows, request.actor)[:5]]


@allow(Permission.SEE)
def runbook(request: PersonRequest, slug: str) -> HttpResponse:
    """The page."""
    return render(request, "runbooks/runbook.html", _context(request, find(request, slug)))


@allow(Permission.RUN)
@require_POST
def start(request: PersonRequest, slug: str) -> HttpResponse:
    """Start a run, or join the open one; by the other button, a dry run."""
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
            started = runs.start(
                found,
                given=form.values(),
                actor=request.actor,
                team=team,
                incident=incident,
                plan="plan" in request.POST,
            )
            if started.run is not None:
                if started.decision != "started":
                    messages.info(request, f"No second run: {started.decision}.")
                return redirect("run", uuid=started.run.uuid)
            messages.info(request, "Nothing was started: this runbook skips while another run is open.")
            return redirect("runbook", slug=slug)
    return render(request, "runbooks/runbook.html", _context(request, found, form), status=422)


def _revision(found: Runbook, number: int) -> Revision:
    row = found.revisions.filter(number=number).first()
    if row is None:
        raise NotFound(f"{found.slug} has no revision {number}.", fix="Open the runbook to see which there are.")
    return row


@allow(Permission.SEE)
def revision(request: PersonRequest, slug: str, number: int) -> HttpResponse:
    """One text, and what it changed in the one before."""
    found = find(request, slug)
    row = _revision(found, number)
    before = found.revisions.filter(number__lt=number).order_by("-number").first()
    context = {
        "runbook": found,
        "revision": row,
        "before": before,
        "difference": compare.revisions(before, row) if before else None,
        "may_publish": _may_publish(request, found),
    }
    return render(request, "runbooks/revision.html", context)


@allow(Permission.SEE)
def compared(request: PersonRequest, slug: str) -> HttpResponse:
    """Any two revisions, step by step and line by line; without a choice, what is in use and what came after it."""
    found = find(request, slug)
    numbers = list(found.revisions.values_list("number", flat=True))
    if not numbers:
        raise NotFound(f"{slug} has no revision yet.", fix="Write one in the editor.")
    new = _revision(found, _asked(request, "to", numbers[0]))
    current = found.current.number if found.current else numbers[-1]
    earlier = max((number for number in numbers if number < new.number), default=new.number)
    old = _revision(found, _asked(request, "from", current if current < new.number else earlier))
    context = {
        "runbook": found,
        "old": old,
        "new": new,
        "revisions": list(found.revisions.defer("text", "parsed")),
        "difference": compare.revisions(old, new),
        "lines": _difference(old, new),
    }
    return render(request, "runbooks/compare.html", context)


def _asked(request: PersonRequest, name: str, otherwise: int) -> int:
    """A number from the address; what is none is not found."""
    asked = request.GET.get(name, "")
    if not asked:
        return otherwise
    # Longer ones name no revision, and SQLite refuses what does not fit 64 bits.
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 10 else 0


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
    row = _revision(found, number)
    revisions.publish(row, actor=request.actor)
    messages.success(request, f"Revision {number} is what new runs use.")
    return redirect("runbook", slug=slug)
