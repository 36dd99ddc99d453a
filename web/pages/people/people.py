"""People: who is in which team with which roles, new people, login links, and where a team is told things."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import people as verbs
from catalog import permissions
from catalog.models import Membership, Team, User
from catalog.permissions import ROLES, Permission
from common.errors import NotFound
from incidents.channels import channel_for
from web.pages.forms import faults_of, team_field, teams_with
from web.policy import PersonRequest, allow, team_or_404, visible

ROLE_WORDS = {
    "viewer": "Viewer: sees everything of the team",
    "responder": "Responder: acknowledges, notes, starts runs, edits postmortems",
    "approver": "Approver: approves actions, publishes runbooks and postmortems",
    "author": "Author: writes and publishes runbooks",
    "admin": "Admin: endpoints, connections, people",
}


class RolesForm(forms.Form):
    """Which roles; none takes the person out of the team."""

    roles = forms.MultipleChoiceField(
        choices=[(role, ROLE_WORDS[role]) for role in ROLES], widget=forms.CheckboxSelectMultiple, required=False
    )
    oncall = forms.BooleanField(label="In the group oncall", required=False)


class PersonForm(RolesForm):
    """A new person."""

    full_name = forms.CharField(max_length=120, required=False, label="Name")
    username = forms.SlugField(max_length=40, label="User name")
    email = forms.EmailField(label="E-mail")
    field_order = ("full_name", "username", "email", "team", "roles", "oncall")

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.order_fields(self.field_order)


class AddressForm(forms.Form):
    """Where to be told things."""

    url = forms.CharField(
        label="Address",
        max_length=2000,
        help_text="mailto:oncall@example.com, slack://…, or a webhook's https:// address.",
    )
    label = forms.CharField(label="Called", max_length=80, required=False)


@allow(Permission.SEE)
def people(request: PersonRequest) -> HttpResponse:
    """Teams with their people."""
    rows = visible(Membership.objects.select_related("user", "team"), request.actor).exclude(roles=[])
    teams: dict[int, dict[str, Any]] = {}
    for row in rows.order_by("team__slug", "user__username"):
        entry = teams.setdefault(
            row.team_id,
            {
                "team": row.team,
                "members": [],
                "addresses": list(row.team.addresses.all()),
                "oncall": set(User.objects.filter(oncall_groups__team=row.team).values_list("pk", flat=True)),
            },
        )
        entry["members"].append(row)
    return render(request, "people/listing.html", {"entries": list(teams.values()), "address_form": AddressForm()})


@allow(Permission.MEMBERS)
def new(request: PersonRequest) -> HttpResponse:
    """Make an account and give it roles; the person comes in by a login link."""
    posted = request.method == "POST"
    teams = teams_with(request.user, Permission.MEMBERS)
    form = PersonForm(request.POST if posted else None, teams=teams)
    if posted and form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.MEMBERS)
        with faults_of(form):
            made = verbs.create_user(username=said["username"], email=said["email"], full_name=said["full_name"])
            verbs.set_roles(made, team=team, roles=said["roles"], actor=request.actor)
            if said["oncall"]:
                verbs.add_to_group(made, team=team, group="oncall")
            return _show_link(request, made)
    return render(request, "people/new.html", {"form": form}, status=422 if posted else 200)


def _show_link(request: PersonRequest, user: User) -> HttpResponse:
    """The link is shown once, on the answer itself, and is stored nowhere."""
    link = f"{settings.BASE_URL}/login/link/{verbs.new_login_link(user)}"
    return render(request, "people/link.html", {"person": user, "link": link})


def _member(request: PersonRequest, team: Team, username: str) -> User:
    found = User.objects.filter(username=username, memberships__team=team).first()
    if found is None:
        raise NotFound(f"{username} is not in team {team.slug}.", fix="Look at the list of people.")
    return found


@allow(Permission.MEMBERS)
def roles(request: PersonRequest, team: str, username: str) -> HttpResponse:
    """Change somebody's roles."""
    where = team_or_404(request.actor, team, permission=Permission.MEMBERS)
    found = _member(request, where, username)
    posted = request.method == "POST"
    oncall = where.groups.filter(slug="oncall", members=found).exists()
    form = RolesForm(
        request.POST if posted else None,
        initial={"roles": permissions.roles_of(found, where), "oncall": oncall},
    )
    if posted and form.is_valid():
        with faults_of(form):
            verbs.set_roles(found, team=where, roles=form.cleaned_data["roles"], actor=request.actor)
            move = verbs.add_to_group if form.cleaned_data["oncall"] else verbs.remove_from_group
            move(found, team=where, group="oncall")
            messages.success(request, f"{found.label} has the roles you chose.")
            return redirect("people")
    context = {"form": form, "person": found, "team": where}
    return render(request, "people/roles.html", context, status=422 if posted else 200)


@allow(Permission.MEMBERS)
@require_POST
def link(request: PersonRequest, username: str) -> HttpResponse:
    """A one-time way in for somebody of a team that one administers."""
    teams = teams_with(request.user, Permission.MEMBERS)
    found = User.objects.filter(username=username, memberships__team__in=teams).distinct().first()
    if found is None:
        raise NotFound("There is no such person in your teams.", fix="Look at the list of people.")
    return _show_link(request, found)


@allow(Permission.CONFIGURE)
@require_POST
def team_address(request: PersonRequest, team: str) -> HttpResponse:
    """Say where the team is told things."""
    where = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    form = AddressForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            url = form.cleaned_data["url"].strip()
            channel = channel_for(url)
            verbs.add_address(
                url=url, label=form.cleaned_data["label"], channel=channel.name, hint=channel.check(url), team=where
            )
    if form.is_valid():
        messages.success(request, "The team is told there from now on.")
    for faults in form.errors.values():
        for fault in faults:
            messages.error(request, str(fault))
    return redirect("people")
