"""Sending a test message to where a person or a team is told things."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from catalog.models import Address
from catalog.permissions import Permission
from common.errors import NotFound
from incidents import notices
from web.policy import PersonRequest, allow


@allow(Permission.SIGNED_IN)
@require_POST
def try_address(request: PersonRequest, pk: int) -> HttpResponse:
    """Send it now, and say what became of it."""
    found = Address.objects.filter(pk=pk).select_related("team", "user").first()
    if found is None:
        raise NotFound("There is no such address.", fix="Reload the page.")
    sent = notices.test(found, actor=request.actor)
    if sent.state == "sent":
        messages.success(request, f"{found.label}: delivered. Look there whether it arrived.")
    else:
        messages.error(request, f"{found.label}: not delivered. {sent.error}")
    return redirect("people" if found.team_id else "account")
