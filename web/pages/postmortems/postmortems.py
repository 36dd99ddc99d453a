"""Postmortems: the overdue and due ones first, then those in work, then the rest; what is open is counted."""

from __future__ import annotations

from django.db.models import Case, Count, F, Q, Value, When
from django.http import HttpResponse
from django.shortcuts import render

from catalog.permissions import Permission
from incidents import postmortems as verbs
from incidents.action_items import OPEN_STATES
from incidents.models import Postmortem
from web.pages.paging import paged
from web.policy import PersonRequest, allow, visible

WORKED = ("in_review", "approved")
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
        Postmortem.objects.select_related("incident", "incident__service", "owner", "reviewer").defer(
            "body", "drafted_body"
        ),
        request.actor,
        team="incident__team",
    )
    text = request.GET.get("q", "").strip()
    if text:
        rows = rows.filter(incident__title__icontains=text) | rows.filter(body__icontains=text)
    # What runs against its clock comes first, the most urgent on top; the settled ones follow, the newest first.
    runs = Case(
        When(state__in=verbs.CLOCK_STATES, then=Value(0)), When(state__in=WORKED, then=Value(1)), default=Value(2)
    )
    rows = rows.filter(state__in=VIEWS[view]).annotate(
        group=runs,
        items_open=Count(
            "incident__action_items", filter=Q(incident__action_items__state__in=OPEN_STATES), distinct=True
        ),
    )
    page = paged(request, rows.order_by("group", Case(When(group=0, then=F("due_at"))), "-due_at", "-pk"))
    context = {"page": page, "view": view, "views": list(VIEWS), "text": text}
    return render(request, "postmortems/listing.html", context)
