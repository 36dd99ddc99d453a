"""The secrets of a team that runbooks use by name: who kept which and when; the values are only ever written."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import team_secrets as verbs
from catalog.models import Secret, Team
from catalog.permissions import Permission
from common.errors import NotFound
from common.secrets import SHORTEST
from runbooks.fields import secrets_in
from runbooks.models import Runbook
from web.pages.forms import faults_of, team_field, teams_with
from web.policy import PersonRequest, allow, team_or_404, visible


class SecretForm(forms.Form):
    """A name and a value; the value is never written back into the page."""

    name = forms.CharField(max_length=40, help_text="As runbooks write it: {secret: name}.")
    value = forms.CharField(
        max_length=verbs.LONGEST,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}, render_value=False),
        help_text=f"At least {SHORTEST} characters. Encrypted, never shown again; replaces what the name holds.",
    )

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.order_fields(("team", "name", "value"))


def _form(request: PersonRequest, posted: Any = None) -> SecretForm:
    return SecretForm(posted, teams=teams_with(request.user, Permission.CONFIGURE), initial=request.GET.dict())


def _page(request: PersonRequest, form: SecretForm, status: int = 200) -> HttpResponse:
    used: dict[tuple[int | None, str], list[Runbook]] = defaultdict(list)
    books = visible(Runbook.objects.filter(deleted_at=None, current__isnull=False), request.actor, shared=True)
    for book in books.select_related("current"):
        for name in {str(name) for _, name in secrets_in(book.current.parsed if book.current else {}, ())}:
            used[book.team_id, name].append(book)
    kept = visible(Secret.objects.select_related("team").order_by("team__slug", "name"), request.actor)
    rows = [(row, [*used[row.team_id, row.name], *used[None, row.name]]) for row in kept]
    return render(request, "connections/secrets.html", {"rows": rows, "form": form}, status=status)


@allow(Permission.SEE)
def secrets(request: PersonRequest) -> HttpResponse:
    """The list, and for whoever may configure the form."""
    return _page(request, _form(request))


@allow(Permission.CONFIGURE)
@require_POST
def keep(request: PersonRequest) -> HttpResponse:
    """Keep one, in place of what was kept under that name."""
    form = _form(request, request.POST)
    if form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.CONFIGURE)
        with faults_of(form):
            kept = verbs.put(team, name=said["name"], value=said["value"], actor=request.actor)
            messages.success(request, f"Kept {kept.name}.")
            return redirect("secrets")
    return _page(request, form, status=422)


@allow(Permission.CONFIGURE)
@require_POST
def delete(request: PersonRequest, team: str, name: str) -> HttpResponse:
    """Forget one."""
    found = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    try:
        verbs.delete(found, name=name, actor=request.actor)
    except NotFound:
        messages.info(request, f"There is no {name} any more.")
    else:
        messages.success(request, f"Deleted {name}. Steps that use it end in error until it is kept again.")
    return redirect("secrets")
