"""All incidents, newest first, filtered by state, severity, service and words."""

from __future__ import annotations

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render

from catalog.models import Service
from catalog.permissions import Permission
from incidents.models import Incident
from web.pages.paging import paged
from web.pages.standing import standings
from web.pages.waiting import asks, steps_waiting
from web.policy import PersonRequest, allow, team_ids, visible

WAITING_SHOWN = 200
VIEWS = {
    "open": Q(state__in=["open", "acknowledged", "mitigated"]),
    "over": Q(state__in=["resolved", "closed"]),
    "unrouted": Q(unrouted=True),
    "drills": Q(is_drill=True),
    "all": Q(),
}


@allow(Permission.SEE)
def incidents(request: PersonRequest) -> HttpResponse:
    """The list."""
    view = request.GET.get("view", "all")
    view = view if view in VIEWS else "all"
    severity, service, text = (request.GET.get(name, "") for name in ("severity", "service", "q"))
    rows = visible(Incident.objects.select_related("service", "team", "commander"), request.actor).filter(VIEWS[view])
    if severity in ("1", "2", "3", "4"):
        rows = rows.filter(severity=int(severity))
    if service:
        rows = rows.filter(service__slug=service)
    if text.strip():
        wanted = Q(title__icontains=text.strip()) | Q(summary__icontains=text.strip())
        number = text.strip().upper().removeprefix("INC-")
        if number.isdecimal() and len(number) < 10:
            wanted |= Q(number=int(number))
        rows = rows.filter(wanted)
    rows = rows.annotate(alert_count=Count("alerts")).order_by("-number")
    page = paged(request, rows)
    open_rows: list[Incident] = [row for row in page.rows if row.is_open]
    waiting = steps_waiting(team_ids(request.actor)).filter(run__incident__in=open_rows)
    stands = standings(open_rows, asks(list(waiting[:WAITING_SHOWN]))) if open_rows else []
    context = {
        "page": page,
        # How each open one stands, by its number.
        "stands": {one.incident.number: one for one in stands},
        "view": view,
        "views": list(VIEWS),
        "severity_chosen": severity,
        "service_chosen": service,
        "text": text,
        "services": visible(Service.objects.all(), request.actor),
    }
    return render(request, "incidents/listing.html", context)
