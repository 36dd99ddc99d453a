"""Postmortems: those that are due first, then those in work, then the rest."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from catalog.permissions import Permission
from incidents.models import Postmortem
from web.pages.paging import paged
from web.policy import PersonRequest, allow, visible

VIEWS = {
    "open": ["due", "draft", "in_review", "approved"],
    "published": ["published", "closed"],
    "all": [state for state, _ in Postmortem.STATES],
}


@allow(Permission.SEE)
def postmortems(request: PersonRequest) -> HttpResponse:
    """The list."""
    view = request.GET.get("view", "all")
    view = view if view in VIEWS else "all"
    rows = visible(
        Postmortem.objects.select_related("incident", "incident__service", "owner").defer("body"),
        request.actor,
        team="incident__team",
    )
    text = request.GET.get("q", "").strip()
    if text:
        rows = rows.filter(incident__title__icontains=text) | rows.filter(body__icontains=text)
    page = paged(request, rows.filter(state__in=VIEWS[view]).order_by("-due_at"))
    return render(request, "postmortems/listing.html", {"page": page, "view": view, "views": list(VIEWS), "text": text})
