"""Teams: a new one by an org admin, its settings by its own admins."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog import people as verbs
from catalog.models import Team, User
from catalog.permissions import Permission
from common.errors import Invalid
from web.pages.forms import faults_of, member_field
from web.policy import PersonRequest, allow, team_or_404


class NewTeamForm(forms.Form):
    """A new team and its first person."""

    name = forms.CharField(max_length=120)
    slug = forms.SlugField(max_length=40, label="In addresses", help_text="Small letters and hyphens; it stays.")
    first = forms.CharField(
        max_length=40,
        label="First person",
        help_text="A user name. They hold every role in the new team and bring in the others.",
    )


class TeamForm(forms.Form):
    """What a team's admins decide."""

    name = forms.CharField(max_length=120)
    four_eyes = forms.BooleanField(
        label="Four eyes for high risk",
        help_text="Whoever asked for the action, or wrote its runbook, does not approve it.",
        required=False,
    )

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["default_owner"] = member_field(team, required=False, label="Owns what nobody owns")


@allow(Permission.ORG_ADMIN)
def new(request: PersonRequest) -> HttpResponse:
    """Make a team."""
    posted = request.method == "POST"
    form = NewTeamForm(request.POST if posted else None, initial={"first": request.user.username})
    if posted and form.is_valid():
        said = form.cleaned_data
        with faults_of(form):
            first = User.objects.filter(username__iexact=said["first"], is_active=True).first()
            if first is None:
                sentence = f"There is no account {said['first']}."
                raise Invalid(sentence, fix="Name one of the accounts.", fields={"first": sentence})
            made = verbs.create_team(slug=said["slug"], name=said["name"], first=first, actor=request.actor)
            messages.success(request, f"{made.name} is there; {first.label} holds every role in it.")
            return redirect("people")
    return render(request, "people/team_new.html", {"form": form}, status=422 if posted else 200)


@allow(Permission.CONFIGURE)
def team(request: PersonRequest, team: str) -> HttpResponse:
    """A team's settings."""
    where = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    posted = request.method == "POST"
    owner = where.default_owner
    form = TeamForm(
        request.POST if posted else None,
        team=where,
        initial={"name": where.name, "four_eyes": where.four_eyes, "default_owner": owner.username if owner else ""},
    )
    if posted and form.is_valid():
        said = form.cleaned_data
        with faults_of(form):
            chosen = User.objects.filter(username=said["default_owner"]).first() if said["default_owner"] else None
            verbs.change_team(
                where, name=said["name"], four_eyes=said["four_eyes"], default_owner=chosen, actor=request.actor
            )
            messages.success(request, "Kept.")
            return redirect("people")
    return render(request, "people/team.html", {"form": form, "team": where}, status=422 if posted else 200)
