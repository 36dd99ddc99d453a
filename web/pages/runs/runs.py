"""All runs, newest first."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render

from catalog.permissions import Permission
from runbooks import watched
from runbooks.models import OPEN_RUN_STATES, Run, StepRun
from web.pages import words
from web.pages.paging import paged
from web.pages.waiting import WAITING
from web.policy import PersonRequest, allow, visible

VIEWS = ("all", "open", "over")


@allow(Permission.SEE)
def runs(request: PersonRequest) -> HttpResponse:
    """The list."""
    view = request.GET.get("view", "all")
    view = view if view in VIEWS else "all"
    rows = visible(Run.objects.real().select_related("runbook", "revision", "incident", "service"), request.actor)
    if view == "open":
        rows = rows.filter(state__in=OPEN_RUN_STATES)
    elif view == "over":
        rows = rows.exclude(state__in=OPEN_RUN_STATES)
    if request.GET.get("runbook"):
        rows = rows.filter(runbook__slug=request.GET["runbook"])
    page = paged(request, rows.order_by("-id"))
    waiting = set(StepRun.objects.filter(WAITING, run__in=page.rows).values_list("run_id", flat=True))
    watches = watched.of_runs(page.rows)
    lines = [
        (run, words.run_face(run, waits=run.pk in waiting, watches=run.pk in watches), watches.get(run.pk))
        for run in page.rows
    ]
    return render(request, "runs/listing.html", {"lines": lines, "page": page, "view": view, "views": VIEWS})
