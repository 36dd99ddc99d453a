"""Where a team is told things."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from catalog import people as verbs
from catalog.models import Address
from catalog.permissions import Permission
from common.errors import NotFound
from web.pages.people import people
from web.pages.people.address_form import AddressForm
from web.policy import PersonRequest, allow, team_or_404


@allow(Permission.CONFIGURE)
@require_POST
def add(request: PersonRequest, team: str) -> HttpResponse:
    """Say where the team is told things."""
    where = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    form = AddressForm(request.POST, auto_id=f"{where.slug}-%s")
    if form.keep(team=where):
        messages.success(request, "The team is told there from now on. Send a test, to be sure.")
        return redirect("people")
    return people.page(request, refused=form, team=where)


@allow(Permission.CONFIGURE)
@require_POST
def remove(request: PersonRequest, team: str, pk: int) -> HttpResponse:
    """No longer tell the team there."""
    where = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    found = Address.objects.filter(pk=pk, team=where).select_related("team").first()
    if found is None:
        raise NotFound("The team has no such address.", fix="Reload the list of people.")
    verbs.remove_address(found, actor=request.actor)
    messages.success(request, "Removed.")
    return redirect("people")
