"""People: who is in which team with which roles and groups, new people, and login links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog import people as verbs
from catalog import permissions
from catalog.models import Membership, Team, User
from catalog.permissions import ROLES, Permission
from common.errors import NotFound
from web.pages.forms import faults_of, team_field, teams_with
from web.pages.people.address_form import AddressForm
from web.policy import PersonRequest, allow, reauthenticate_first, team_ids, team_or_404

ROLE_WORDS = {
    "viewer": "Viewer: sees everything of the team",
    "responder": "Responder: acknowledges, notes, starts runs, edits postmortems",
    "approver": "Approver: approves actions, publishes runbooks and postmortems",
    "author": "Author: writes and publishes runbooks",
    "admin": "Admin: endpoints, connections, people",
}


PERMISSION_WORDS = {
    Permission.SEE: "see everything of the team",
    Permission.RESPOND: "acknowledge and move incidents",
    Permission.RUN: "start runs",
    Permission.ANSWER: "answer steps",
    Permission.APPROVE: "approve actions",
    Permission.BREAK_GLASS: "approve alone in an emergency",
    Permission.DRAFT_RUNBOOK: "write runbooks",
    Permission.PUBLISH_RUNBOOK: "publish runbooks",
    Permission.EDIT_POSTMORTEM: "edit postmortems",
    Permission.PUBLISH_POSTMORTEM: "publish postmortems",
    Permission.CONFIGURE: "set up endpoints, connections, services",
    Permission.MEMBERS: "give roles",
    Permission.RAW_PAYLOADS: "read raw payloads",
}


class RolesForm(forms.Form):
    """Which roles and groups; no role takes the person out of the team."""

    roles = forms.MultipleChoiceField(
        choices=[(role, ROLE_WORDS[role]) for role in ROLES], widget=forms.CheckboxSelectMultiple, required=False
    )
    groups = forms.CharField(
        max_length=400,
        required=False,
        help_text="Whom runbooks ask as role:<name>, with commas between; who is on call is in oncall.",
    )

    def clean_groups(self) -> list[str]:
        """The names, each once."""
        return sorted({name for name in self.cleaned_data["groups"].lower().replace(",", " ").split() if name})


class PersonForm(RolesForm):
    """A new person."""

    full_name = forms.CharField(max_length=120, required=False, label="Name")
    username = forms.SlugField(max_length=40, label="User name")
    email = forms.EmailField(label="E-mail")
    field_order = ("full_name", "username", "email", "team", "roles", "groups")

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.order_fields(self.field_order)


@dataclass(frozen=True)
class RoleWords:
    """A role, what it may beyond seeing, and what people expect of it in vain."""

    name: str
    may: list[str]
    not_may: str = ""


def role_words() -> list[RoleWords]:
    """From the table that decides (catalog.permissions), in the words of the guide's page on roles."""
    return [
        RoleWords(
            role.capitalize(),
            [words for permission, words in PERMISSION_WORDS.items() if permission in given],
            "approve; who does both holds both roles" if role == "admin" else "",
        )
        for role, given in ROLES.items()
    ]


@allow(Permission.SEE)
def people(request: PersonRequest) -> HttpResponse:
    """Teams with their people; an org admin sees who is in every team, and no more of it."""
    return page(request)


def page(request: PersonRequest, *, refused: AddressForm | None = None, team: Team | None = None) -> HttpResponse:
    """The same with the form of one team's address that was refused."""
    rows = Membership.objects.select_related("user", "team").exclude(roles=[])
    mine = team_ids(request.actor)
    if not request.user.is_org_admin:
        rows = rows.filter(team__in=mine)
    teams: dict[int, dict[str, Any]] = {}
    for row in rows.order_by("team__slug", "user__username"):
        if row.team_id not in teams:
            prefix = f"{row.team.slug}-%s"
            teams[row.team_id] = {
                "team": row.team,
                "members": [],
                "addresses": list(row.team.addresses.all()) if row.team_id in mine else None,
                "groups": _groups_of(row.team),
                "form": refused if refused and team == row.team else AddressForm(auto_id=prefix),
            }
        teams[row.team_id]["members"].append(row)
    context = {"entries": list(teams.values()), "role_words": role_words()}
    return render(request, "people/listing.html", context, status=422 if refused else 200)


def _groups_of(team: Team) -> dict[int, list[str]]:
    """The names of the groups that each person of the team is in."""
    found: dict[int, list[str]] = {}
    for group in team.groups.prefetch_related("members"):
        for member in group.members.all():
            found.setdefault(member.pk, []).append(group.slug)
    return found


@allow(Permission.MEMBERS)
def new(request: PersonRequest) -> HttpResponse:
    """Take a person into a team; one without an account comes in by a link."""
    posted = request.method == "POST"
    teams = teams_with(request.user, Permission.MEMBERS)
    form = PersonForm(request.POST if posted else None, teams=teams, initial={"groups": "oncall"})
    if posted and form.is_valid():
        said = dict(form.cleaned_data)
        team = team_or_404(request.actor, said.pop("team"), permission=Permission.MEMBERS)
        with faults_of(form):
            invited = verbs.invite(**said, team=team, actor=request.actor)
            if invited.link:
                return _show_link(request, invited.user, invited.link)
            messages.success(request, f"{invited.user.label} had an account already and is now in {team.name}.")
            return redirect("people")
    return render(request, "people/new.html", {"form": form}, status=422 if posted else 200)


def _show_link(request: PersonRequest, user: User, token: str) -> HttpResponse:
    """The link is shown once, on the answer itself, and is stored nowhere."""
    link = f"{settings.BASE_URL}/login/link/{token}"
    return render(request, "people/link.html", {"person": user, "link": link})


@allow(Permission.MEMBERS)
def roles(request: PersonRequest, team: str, username: str) -> HttpResponse:
    """Change somebody's roles and groups."""
    where = team_or_404(request.actor, team, permission=Permission.MEMBERS)
    found = User.objects.filter(username=username, memberships__team=where).first()
    if found is None:
        raise NotFound(f"{username} is not in team {where.slug}.", fix="Look at the list of people.")
    posted = request.method == "POST"
    form = RolesForm(
        request.POST if posted else None,
        initial={
            "roles": permissions.roles_of(found, where),
            "groups": ", ".join(_groups_of(where).get(found.pk, [])),
        },
    )
    if posted and form.is_valid():
        with faults_of(form), transaction.atomic():
            verbs.set_roles(found, team=where, roles=form.cleaned_data["roles"], actor=request.actor)
            # Who is out of the team is out of its groups, whatever the form still says.
            groups = form.cleaned_data["groups"] if form.cleaned_data["roles"] else []
            verbs.set_groups(found, team=where, groups=groups, actor=request.actor)
    if posted and form.is_valid():
        messages.success(request, f"{found.label} has the roles you chose.")
        return redirect("people")
    context = {"form": form, "person": found, "team": where}
    return render(request, "people/roles.html", context, status=422 if posted else 200)


@allow(Permission.MEMBERS)
@require_POST
def link(request: PersonRequest, username: str) -> HttpResponseBase:
    """A one-time way in for somebody else, after a fresh sign-in: it is as good as their password."""
    again = reauthenticate_first(request, back_to=reverse("people"))
    if again is not None:
        return again
    found = User.objects.filter(username=username).first()
    if found is None:
        raise NotFound("There is no such person in your teams.", fix="Look at the list of people.")
    return _show_link(request, found, verbs.link_for(found, actor=request.actor))
