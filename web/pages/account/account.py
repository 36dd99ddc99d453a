"""One's own account: where to be told things, tokens for programs, shortcuts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog import people as verbs
from catalog.models import Address, ApiToken
from catalog.permissions import SCOPES, Permission, seeing
from common.errors import NotFound
from web import sessions
from web.pages.forms import faults_of
from web.pages.people.address_form import AddressForm
from web.policy import PersonRequest, allow, reauthenticate_first

SCOPE_WORDS = {
    "read": "see what you see",
    "incidents:write": "acknowledge and move incidents",
    "runs:write": "start runs and answer steps",
    "postmortems:write": "edit and publish postmortems",
    "admin": "set up endpoints, connections, services; write runbooks",
}


class TokenForm(forms.Form):
    """A token for a program."""

    name = forms.CharField(max_length=80, label="For", help_text="What will use it.")
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope}: {SCOPE_WORDS[scope]}") for scope in SCOPES],
        widget=forms.CheckboxSelectMultiple,
        initial=["read"],
    )
    days = forms.IntegerField(min_value=1, max_value=365, initial=90, label="Days it is good for")


def _page(request: PersonRequest, *, status: int = 200, **changed: Any) -> HttpResponse:
    context = {
        "memberships": list(seeing(request.user).select_related("team")),
        "addresses": list(request.user.addresses.all()),
        "tokens": list(request.user.api_tokens.all()),
        "token_form": TokenForm(),
        "address_form": AddressForm(),
        "secret": "",
        "sittings": sessions.sittings(request.user, request.session.session_key),
        **changed,
    }
    return render(request, "account/account.html", context, status=status)


@allow(Permission.SIGNED_IN)
def account(request: PersonRequest) -> HttpResponse:
    """The page."""
    return _page(request)


@allow(Permission.SIGNED_IN)
@require_POST
def add_address(request: PersonRequest) -> HttpResponse:
    """Say where to be told things."""
    form = AddressForm(request.POST)
    if form.keep(user=request.user):
        messages.success(request, "You are told there from now on.")
        return redirect("account")
    return _page(request, status=422, address_form=form)


@allow(Permission.SIGNED_IN)
@require_POST
def remove_address(request: PersonRequest, pk: int) -> HttpResponse:
    """No longer be told there."""
    found = Address.objects.filter(pk=pk, user=request.user).first()
    if found is None:
        raise NotFound("You have no such address.", fix="Reload your account page.")
    verbs.remove_address(found, actor=request.actor)
    messages.success(request, "Removed.")
    return redirect("account")


@allow(Permission.SIGNED_IN)
@require_POST
def add_token(request: PersonRequest) -> HttpResponseBase:
    """Make a token; its secret is on this one answer and nowhere else."""
    again = reauthenticate_first(request, back_to=reverse("account"))
    if again is not None:
        return again
    form = TokenForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            said = form.cleaned_data
            _, secret = verbs.create_token(request.user, name=said["name"], scopes=said["scopes"], days=said["days"])
            return _page(request, secret=secret)
    return _page(request, status=422, token_form=form)


@allow(Permission.SIGNED_IN)
@require_POST
def revoke_token(request: PersonRequest, pk: int) -> HttpResponse:
    """End a token."""
    found = ApiToken.objects.filter(pk=pk, user=request.user).first()
    if found is None:
        raise NotFound("You have no such token.", fix="Reload your account page.")
    verbs.revoke_token(found, actor=request.actor)
    messages.success(request, f"The token {found.name} is dead.")
    return redirect("account")


@allow(Permission.SIGNED_IN)
@require_POST
def density(request: PersonRequest) -> HttpResponse:
    """Roomy rows or compact ones."""
    request.user.compact_rows = not request.user.compact_rows
    request.user.save(update_fields=["compact_rows"])
    messages.success(request, "Rows are " + ("compact." if request.user.compact_rows else "roomy."))
    return redirect("account")


@allow(Permission.SIGNED_IN)
@require_POST
def shortcuts(request: PersonRequest) -> HttpResponse:
    """Keyboard shortcuts on or off."""
    request.user.shortcuts_off = not request.user.shortcuts_off
    request.user.save(update_fields=["shortcuts_off"])
    messages.success(request, "Keyboard shortcuts are " + ("off." if request.user.shortcuts_off else "on."))
    return redirect("account")


@allow(Permission.SIGNED_IN)
@require_POST
def end_sessions(request: PersonRequest) -> HttpResponse:
    """Sign out in every other browser."""
    count = sessions.end_others(request.user, request.session.session_key)
    messages.success(request, f"Signed out in {count} other browser{'' if count == 1 else 's'}.")
    return redirect("account")
