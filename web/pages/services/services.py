"""Services: the list, and one with its signals, versions, changes and connections."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import changes as change_verbs
from catalog.models import Change, Connection, Service
from catalog.permissions import Permission
from common import clock
from incidents.models import Incident
from web.pages.forms import UtcTime, faults_of
from web.policy import PersonRequest, allow, team_object_or_404, visible


class ChangeForm(forms.Form):
    """Something that was changed, told by hand."""

    kind = forms.ChoiceField(choices=Change.KINDS)
    summary = forms.CharField(max_length=300, label="What was changed")
    version = forms.CharField(max_length=120, required=False)
    author = forms.CharField(max_length=120, required=False, label="By (role or team)")
    link = forms.URLField(max_length=500, required=False, assume_scheme="https")
    occurred_at = UtcTime(label="When (UTC)", required=False, help_text="Empty: now.")


def find(request: PersonRequest, slug: str, permission: Permission = Permission.SEE) -> Service:
    """The service, of a team of this person."""
    rows = Service.objects.select_related("team", "default_owner")
    return team_object_or_404(rows, request.actor, permission=permission, slug=slug)


@allow(Permission.SEE)
def services(request: PersonRequest) -> HttpResponse:
    """The list."""
    going = Q(incidents__state__in=["open", "acknowledged", "mitigated"])
    rows = visible(Service.objects.select_related("team", "default_owner"), request.actor)
    rows = rows.annotate(open_incidents=Count("incidents", filter=going, distinct=True))
    return render(request, "services/listing.html", {"services": rows.order_by("tier", "slug")})


def _context(request: PersonRequest, found: Service, form: ChangeForm | None = None) -> dict[str, Any]:
    signals = list(found.signals.select_related("connection"))
    used = {signal.connection_id for signal in signals}
    return {
        "service": found,
        "signals": signals,
        "versions": list(found.versions.all()[:20]),
        "changes": list(Change.objects.filter(Q(service=found) | Q(service=None, team=found.team))[:50]),
        "connections": list(Connection.objects.filter(pk__in=used)),
        "depends_on": list(visible(found.depends_on.all(), request.actor)),
        "needed_by": list(visible(found.needed_by.all(), request.actor)),
        "incidents": list(Incident.objects.filter(service=found).order_by("-number")[:10]),
        "change_form": form or ChangeForm(),
    }


@allow(Permission.SEE)
def service(request: PersonRequest, slug: str) -> HttpResponse:
    """The page."""
    return render(request, "services/service.html", _context(request, find(request, slug)))


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
