"""Alert endpoints: where senders post, what to copy into them, and what came in."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Count, Max, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.models import Service, Team
from catalog.permissions import Permission
from common import clock
from common.background import enqueue
from incidents import endpoints as verbs
from incidents import intake
from incidents.models import Endpoint
from incidents.sources import SOURCES
from runbooks import tasks
from web.pages.endpoints import deliveries
from web.pages.forms import JsonField, faults_of, service_field, team_field, teams_with
from web.pages.paging import paged
from web.policy import PersonRequest, allow, team_object_or_404, team_or_404, visible

SETTINGS_HELP = (
    "As JSON, seldom needed: {“max_open_incidents”: 500} caps a storm; generic takes a “mapping”, GitHub a “kind”. "
    "The guide's page on alerts has examples."
)


class EndpointForm(forms.Form):
    """A new endpoint."""

    source = forms.ChoiceField(choices=[(source.name, source.title) for source in SOURCES], label="Sender")
    name = forms.CharField(max_length=80, help_text="For people, e.g. “Alertmanager production”.")
    config = JsonField(label="Settings", help_text=SETTINGS_HELP)
    field_order = ("source", "name", "team", "service", "config")

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.fields["service"] = service_field([team.pk for team in teams], empty="named by each alert")
        self.order_fields(self.field_order)


class SettingsForm(forms.Form):
    """What may be changed later."""

    config = JsonField(label="Settings", help_text=SETTINGS_HELP)
    field_order = ("service", "config")

    def __init__(self, *args: Any, found: Endpoint, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["service"] = service_field([found.team_id], empty="named by each alert")
        self.order_fields(self.field_order)


class SignatureForm(forms.Form):
    """A secret from the sender, or none to have one made."""

    secret = forms.CharField(
        max_length=200,
        required=False,
        help_text="The one that the sender gave you. Empty: one is made, for you to copy into the sender.",
    )


def find(request: PersonRequest, pk: int, permission: Permission = Permission.SEE) -> Endpoint:
    """The endpoint, of a team of this person."""
    rows = Endpoint.objects.select_related("team", "service")
    return team_object_or_404(rows, request.actor, permission=permission, pk=pk)


@allow(Permission.SEE)
def endpoints(request: PersonRequest) -> HttpResponse:
    """The list."""
    since = clock.now() - timedelta(hours=24)
    rows = visible(Endpoint.objects.select_related("team", "service"), request.actor).annotate(
        last_at=Max("deliveries__received_at"),
        day_count=Count("deliveries", filter=Q(deliveries__received_at__gte=since)),
        rejected=Count("deliveries", filter=Q(deliveries__received_at__gte=since, deliveries__status="rejected")),
    )
    return render(request, "endpoints/listing.html", {"endpoints": rows})


@allow(Permission.CONFIGURE)
def new(request: PersonRequest) -> HttpResponse:
    """Make one."""
    teams = teams_with(request.user, Permission.CONFIGURE)
    form = EndpointForm(request.POST if request.method == "POST" else None, teams=teams, initial=request.GET.dict())
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.CONFIGURE)
        service = (
            team_object_or_404(Service.objects.all(), request.actor, slug=said["service"]) if said["service"] else None
        )
        with faults_of(form):
            made, _ = verbs.create(
                source=said["source"],
                name=said["name"],
                team=team,
                service=service,
                config=said["config"],
                actor=request.actor,
            )
            messages.success(request, "Made. Copy the snippet into the sender, or send a test alert.")
            return redirect("endpoint", pk=made.pk)
    return render(request, "endpoints/new.html", {"form": form}, status=422 if request.method == "POST" else 200)


def shown(
    request: PersonRequest,
    found: Endpoint,
    *,
    settings_form: SettingsForm | None = None,
    signature_form: SignatureForm | None = None,
) -> HttpResponse:
    """The endpoint's page, with the form that was refused if one was."""
    page = paged(request, found.deliveries.defer("headers").select_related("endpoint").order_by("-id"), size=20)
    initial = {
        "service": found.service.slug if found.service else "",
        "config": json.dumps(found.config, indent=2, ensure_ascii=False) if found.config else "",
    }
    context = {
        "endpoint": found,
        "source": SOURCES.get(found.source),
        "page": page,
        "deliveries": deliveries.became(found, page.rows),
        "settings_form": settings_form or SettingsForm(found=found, initial=initial),
        "signature_form": signature_form or SignatureForm(),
    }
    # Both hold a secret, so they are not even fetched for whoever may not see them.
    if permissions.can(request.actor, Permission.CONFIGURE, found.team):
        context |= {"snippet": verbs.snippet(found), "signing_secret": verbs.signing_secret(found)}
    status = 422 if settings_form or signature_form else 200
    return render(request, "endpoints/endpoint.html", context, status=status)


@allow(Permission.SEE)
def endpoint(request: PersonRequest, pk: int) -> HttpResponse:
    """The page: snippet (for whoever may configure: it holds the token), settings, signature, delivery log."""
    return shown(request, find(request, pk))


@allow(Permission.CONFIGURE)
@require_POST
def configure(request: PersonRequest, pk: int) -> HttpResponse:
    """Another service, another mapping."""
    found = find(request, pk, Permission.CONFIGURE)
    form = SettingsForm(request.POST, found=found)
    if form.is_valid():
        slug = form.cleaned_data["service"]
        service = Service.objects.get(team=found.team, slug=slug) if slug else None
        with faults_of(form):
            verbs.configure(found, config=form.cleaned_data["config"], service=service, actor=request.actor)
            messages.success(request, "Kept. It holds for what comes from now on; older deliveries can be replayed.")
            return redirect("endpoint", pk=pk)
    return shown(request, found, settings_form=form)


@allow(Permission.CONFIGURE)
@require_POST
def signature(request: PersonRequest, pk: int) -> HttpResponse:
    """Ask for signed deliveries, or stop asking."""
    found = find(request, pk, Permission.CONFIGURE)
    if request.POST.get("drop"):
        verbs.drop_signature(found, actor=request.actor)
        messages.success(request, "Signatures are not asked for any more.")
        return redirect("endpoint", pk=pk)
    form = SignatureForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            verbs.require_signature(found, secret=form.cleaned_data["secret"], actor=request.actor)
            messages.success(request, "From now on only what is signed with this secret is taken.")
            return redirect("endpoint", pk=pk)
    return shown(request, found, signature_form=form)


@allow(Permission.CONFIGURE)
@require_POST
def test(request: PersonRequest, pk: int) -> HttpResponse:
    """Put this sender's own sample through the same door as the real thing."""
    found = find(request, pk, Permission.CONFIGURE)
    sample = json.dumps(SOURCES.get(found.source).sample, default=str).encode()
    delivery, duplicate = intake.accept(
        found, body=sample, headers={"content-type": "application/json"}, content_type="application/json"
    )
    if duplicate:
        messages.warning(request, "The same test came in within the last ten minutes; it counts once.")
    else:
        enqueue(tasks.receive, "engine", delivery.pk)
        messages.success(request, "A test alert was sent. It opens an incident like a real one.")
    return redirect("delivery", uuid=delivery.uuid)


@allow(Permission.CONFIGURE)
@require_POST
def rotate(request: PersonRequest, pk: int) -> HttpResponse:
    """A new token; the old one is dead at once."""
    found = find(request, pk, Permission.CONFIGURE)
    verbs.rotate(found, actor=request.actor)
    messages.success(request, "The address has a new token. The old one is refused from now on.")
    return redirect("endpoint", pk=pk)


@allow(Permission.CONFIGURE)
@require_POST
def disable(request: PersonRequest, pk: int) -> HttpResponse:
    """Switch off, or on again."""
    found = find(request, pk, Permission.CONFIGURE)
    (verbs.disable if found.enabled else verbs.enable)(found, actor=request.actor)
    messages.success(request, "It takes nothing now." if found.enabled is False else "Changed.")
    return redirect("endpoint", pk=pk)
