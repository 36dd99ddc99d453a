"""Connections to outer systems: settings are shown, secrets are only ever written."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import connections as verbs
from catalog.connectors import CONNECTORS
from catalog.models import Connection, Team
from catalog.permissions import Permission
from web.pages.forms import JsonField, faults_of, team_field, teams_with
from web.policy import PersonRequest, allow, team_object_or_404, team_or_404, visible


class SettingsForm(forms.Form):
    """Settings, and secrets that replace the stored ones."""

    config = JsonField(label="Settings", help_text="As JSON; see the example of each connector.")
    secrets = JsonField(
        label="Secrets", help_text="As JSON. Encrypted, never shown again. Empty: what is stored stays."
    )


class NewForm(SettingsForm):
    """The same with team, name and connector."""

    slug = forms.SlugField(label="Name", max_length=40, help_text="What runbooks and services call it.")
    connector = forms.ChoiceField(choices=[(kind.name, kind.title) for kind in CONNECTORS])
    field_order = ("team", "connector", "slug", "config", "secrets")

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.order_fields(self.field_order)


def _kinds() -> list[dict[str, str]]:
    return [
        {
            "name": kind.name,
            "title": kind.title,
            "about": (kind.__doc__ or "").strip().split("\n")[0],
            "example": json.dumps(kind.example, indent=2),
        }
        for kind in CONNECTORS
    ]


def _initial(request: PersonRequest) -> dict[str, Any]:
    """What the address names, with the connector's own example of settings."""
    asked = request.GET.dict()
    kind = asked.get("connector")
    if kind is None or kind not in CONNECTORS:
        return asked
    return {"config": json.dumps(CONNECTORS.get(kind).example, indent=2), **asked}


def find(request: PersonRequest, team: str, slug: str, permission: Permission = Permission.SEE) -> Connection:
    """The connection of that team."""
    rows = Connection.objects.filter(team__slug=team).select_related("team")
    return team_object_or_404(rows, request.actor, permission=permission, slug=slug)


@allow(Permission.SEE)
def connections(request: PersonRequest) -> HttpResponse:
    """The list."""
    rows = visible(Connection.objects.select_related("team"), request.actor)
    return render(request, "connections/listing.html", {"connections": rows})


@allow(Permission.CONFIGURE)
def new(request: PersonRequest) -> HttpResponse:
    """Add one."""
    teams = teams_with(request.user, Permission.CONFIGURE)
    form = NewForm(request.POST if request.method == "POST" else None, teams=teams, initial=_initial(request))
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.CONFIGURE)
        with faults_of(form):
            saved = verbs.save(
                team,
                slug=said["slug"],
                connector=said["connector"],
                config=said["config"],
                secrets=said["secrets"] or None,
                actor=request.actor,
            )
            messages.success(request, "Kept. Check now whether it answers.")
            return redirect("connection", team=team.slug, slug=saved.slug)
    status = 422 if request.method == "POST" else 200
    return render(request, "connections/new.html", {"form": form, "kinds": _kinds()}, status=status)


@allow(Permission.SEE)
def connection(request: PersonRequest, team: str, slug: str) -> HttpResponse:
    """The page; whoever may configure also saves here."""
    posted = request.method == "POST"
    found = find(request, team, slug, Permission.CONFIGURE if posted else Permission.SEE)
    form = SettingsForm(
        request.POST if posted else None, initial={"config": json.dumps(found.config, indent=2, ensure_ascii=False)}
    )
    if posted and form.is_valid():
        with faults_of(form):
            verbs.save(
                found.team,
                slug=found.slug,
                connector=found.connector,
                config=form.cleaned_data["config"],
                secrets=form.cleaned_data["secrets"] or None,
                actor=request.actor,
            )
            messages.success(request, "Kept.")
            return redirect("connection", team=team, slug=slug)
    context = {
        "connection": found,
        "form": form,
        "has_secrets": verbs.has_secrets(found),
        "signals": list(found.signals.select_related("service")),
        "known": found.connector in CONNECTORS,
    }
    return render(request, "connections/connection.html", context, status=422 if posted else 200)


@allow(Permission.CONFIGURE)
@require_POST
def check(request: PersonRequest, team: str, slug: str) -> HttpResponse:
    """Ask the outer system whether it answers."""
    found = verbs.check(find(request, team, slug, Permission.CONFIGURE))
    (messages.success if found.healthy else messages.error)(request, found.health)
    return redirect("connection", team=team, slug=slug)
