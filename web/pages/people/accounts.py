"""Accounts: what an org admin does about people, whatever team they are in."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import people as verbs
from catalog.models import Membership, User
from catalog.permissions import Permission
from common.errors import NotFound
from web.policy import PersonRequest, allow


@allow(Permission.ORG_ADMIN)
def accounts(request: PersonRequest) -> HttpResponse:
    """Every account: its teams, when it signed in last, whether it is switched off."""
    held = Membership.objects.exclude(roles=[]).select_related("team").order_by("team__slug")
    rows = User.objects.prefetch_related(Prefetch("memberships", queryset=held, to_attr="held"))
    return render(request, "people/accounts.html", {"accounts": list(rows)})


def _account(username: str) -> User:
    found = User.objects.filter(username=username).first()
    if found is None:
        raise NotFound(f"There is no account {username}.", fix="Look at the list of accounts.")
    return found


@allow(Permission.ORG_ADMIN)
@require_POST
def active(request: PersonRequest, username: str) -> HttpResponse:
    """Switch an account off, or on again."""
    found = verbs.set_active(_account(username), active=request.POST.get("active") == "on", actor=request.actor)
    messages.success(request, f"{found.label} is switched {'on' if found.is_active else 'off'}.")
    return redirect("accounts")


@allow(Permission.ORG_ADMIN)
@require_POST
def org_admin(request: PersonRequest, username: str) -> HttpResponse:
    """Make somebody an org admin, or no longer one."""
    wanted = request.POST.get("org_admin") == "on"
    found = verbs.set_org_admin(_account(username), org_admin=wanted, actor=request.actor)
    messages.success(request, f"{found.label} is {'an' if found.is_org_admin else 'no longer an'} org admin.")
    return redirect("accounts")
