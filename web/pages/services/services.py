"""Services: the list, and one with its signals, versions, changes and connections."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import changes as change_verbs
from catalog.models import AUTONOMY, Change, Connection, Service
from catalog.permissions import Permission
from common import clock
from common.errors import NotFound
from incidents.models import Incident
from runbooks import autonomy
from web.pages.forms import UtcTime, faults_of
from web.pages.services import overview
from web.pages.signals import picture_csv
from web.policy import PersonRequest, allow, team_object_or_404, visible


class ChangeForm(forms.Form):
    """Something that was changed, told by hand."""

    kind = forms.ChoiceField(choices=Change.KINDS)
    summary = forms.CharField(max_length=300, label="What was changed")
    version = forms.CharField(max_length=120, required=False)
    author = forms.CharField(max_length=120, required=False, label="By (role or team)")
    link = forms.URLField(max_length=500, required=False, assume_scheme="https")
    occurred_at = UtcTime(label="When (UTC)", required=False, help_text="Empty: now.")


class LevelForm(forms.Form):
    """How far runs may go by themselves here, and why."""

    level = forms.ChoiceField(choices=AUTONOMY, label="Level")
    reason = forms.CharField(max_length=500, label="Why")


def find(request: PersonRequest, slug: str, permission: Permission = Permission.SEE) -> Service:
    """The service, of a team of this person."""
    rows = Service.objects.select_related("team", "default_owner")
    return team_object_or_404(rows, request.actor, permission=permission, slug=slug)


@allow(Permission.SEE)
def services(request: PersonRequest) -> HttpResponse:
    """The list."""
    rows = visible(Service.objects.select_related("team", "default_owner"), request.actor)
    return render(request, "services/listing.html", {"lines": overview.lines(rows)})


def _context(
    request: PersonRequest, found: Service, form: ChangeForm | None = None, level_form: LevelForm | None = None
) -> dict[str, Any]:
    versions = list(found.versions.all()[:20])
    return overview.signals_context(found, clock.now()) | {
        "versions": versions,
        "serving": next((row for row in versions if row.state == "serving"), None),
        "has_canary": any(row.state == "canary" for row in versions),
        "changes": list(Change.objects.filter(Q(service=found) | Q(service=None, team=found.team))[:50]),
        "connections": list(Connection.objects.filter(signals__service=found).distinct()),
        "depends_on": overview.neighbours(visible(found.depends_on.all(), request.actor)),
        "needed_by": overview.neighbours(visible(found.needed_by.all(), request.actor)),
        "incidents": list(Incident.objects.filter(service=found).order_by("-number")[:10]),
        "open_incidents": list(
            Incident.objects.filter(service=found, state__in=overview.GOING).order_by("severity", "-number")
        ),
        "starters": overview.starters(found),
        "evaluation_sets": overview.evaluation_sets(found),
        "change_form": form or ChangeForm(),
        "level": autonomy.WORDS[found.autonomy],
        "levels": autonomy.history(found),
        "level_form": level_form or LevelForm(initial={"level": found.autonomy}),
    }


@allow(Permission.SEE)
def service(request: PersonRequest, slug: str) -> HttpResponse:
    """The page."""
    return render(request, "services/service.html", _context(request, find(request, slug)))


@allow(Permission.SEE)
def signals(request: PersonRequest, slug: str) -> HttpResponse:
    """Fragment: the signals of the last hours."""
    context = overview.signals_context(find(request, slug), clock.now())
    return render(request, "services/_signals.html", context)


@allow(Permission.SEE)
def csv(request: PersonRequest, slug: str, name: str) -> HttpResponse:
    """The kept points of one signal's last hours."""
    found = find(request, slug)
    picture = found.pictures.filter(key="", name=name).exclude(read_at=None).first()
    if picture is None:
        raise NotFound(f"Nothing was read of {name} of {slug}.", fix="The service's page names what was read.")
    return picture_csv(picture, f"{slug}-{name}")


@allow(Permission.RESPOND)
@require_POST
def add_change(request: PersonRequest, slug: str) -> HttpResponse:
    """Tell of a change that no webhook told."""
    found = find(request, slug, Permission.RESPOND)
    form = ChangeForm(request.POST)
    if form.is_valid():
        said = form.cleaned_data
        with faults_of(form):
            change_verbs.record(
                team=found.team,
                service=found,
                kind=said["kind"],
                summary=said["summary"],
                version=said["version"],
                author=said["author"] or request.actor.label,
                link=said["link"],
                source="hand",
                occurred_at=said["occurred_at"] or clock.now(),
            )
            messages.success(request, "The change is recorded.")
            return redirect("service", slug=slug)
    return render(request, "services/service.html", _context(request, found, form), status=422)


@allow(Permission.CONFIGURE)
@require_POST
def set_level(request: PersonRequest, slug: str) -> HttpResponse:
    """How far runs may go by themselves here."""
    found = find(request, slug, Permission.CONFIGURE)
    form = LevelForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            autonomy.set_level(
                found, form.cleaned_data["level"], reason=form.cleaned_data["reason"], actor=request.actor
            )
            messages.success(request, f"{found.title} is set to {autonomy.WORDS[found.autonomy]}.")
            return redirect("service", slug=slug)
    return render(request, "services/service.html", _context(request, found, level_form=form), status=422)
