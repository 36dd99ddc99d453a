"""Now: what waits for me, what is open, what is late, and whether anything runs at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog import permissions
from catalog.permissions import Permission
from common import clock
from incidents.models import ActionItem, Endpoint, Incident, Postmortem
from runbooks.models import ApprovalRequest, Run
from web.operate import door
from web.pages import words
from web.pages.waiting import asks, steps_waiting
from web.policy import PersonRequest, allow, visible

# The names of what the demo seeds (web/management/commands/up.py): its incident is found by them.
DEMO_ENDPOINT = "demo"


def _guide(request: PersonRequest) -> list[dict[str, Any]] | None:
    """The four steps of the demo with what is done of each; None where there is no demo."""
    teams = permissions.teams_of(request.user)
    if not Endpoint.objects.filter(team__in=teams, name__startswith=DEMO_ENDPOINT).exists():
        return None
    live = (
        Incident.objects.filter(team__in=teams, alerts__endpoint__name__startswith=DEMO_ENDPOINT, is_drill=False)
        .order_by("-number")
        .first()
    )
    run = Run.objects.filter(incident=live).order_by("-id").first() if live else None
    request_row = ApprovalRequest.objects.filter(step_run__run__incident=live).first() if live else None
    postmortem = Postmortem.objects.filter(incident=live).first() if live else None
    return [
        {"word": "See the alert", "done": live is not None and live.acknowledged_at is not None, "incident": live},
        {"word": "Read the cause", "done": bool(run and run.diagnosis_frozen), "incident": live, "run": run},
        {
            "word": "Approve",
            "done": bool(request_row and request_row.state == "approved"),
            "incident": live,
            "approval": request_row,
        },
        {
            "word": "Open the draft",
            "done": bool(postmortem and postmortem.drafted_at),
            "incident": live,
            "postmortem": postmortem,
        },
    ]


def context_of(request: PersonRequest) -> dict[str, Any]:
    """Everything the page shows."""
    now = clock.now()
    teams = permissions.teams_of(request.user)
    items = visible(ActionItem.objects.select_related("owner", "incident"), request.actor)
    open_incidents = list(
        visible(Incident.objects.select_related("service", "commander", "team"), request.actor)
        .filter(state__in=["open", "acknowledged", "mitigated"])
        .order_by("severity", "-number")[:50]
    )
    runs = visible(Run.objects.select_related("runbook", "incident", "service"), request.actor)
    return {
        "asks": asks(list(steps_waiting(teams)[:50])),
        "open_incidents": open_incidents,
        "overdue": list(
            items.filter(
                due_on__lte=(now + timedelta(days=2)).date(), state__in=["proposed", "committed", "in_progress"]
            )[:20]
        ),
        "clocks": list(
            Postmortem.objects.filter(incident__team__in=teams, state__in=["due", "draft", "in_review"])
            .select_related("incident", "owner")
            .order_by("due_at")[:20]
        ),
        "latest_runs": [(run, words.run_face(run)) for run in runs.order_by("-id")[:8]],
        "guide": _guide(request),
        "demo_runs": door.DOOR.demo is not None,
        "has_endpoints": Endpoint.objects.filter(team__in=teams).exists(),
        "nothing_ever": not Incident.objects.filter(team__in=teams).exists(),
        "today": now.date(),
    }


@allow(Permission.SEE)
def home(request: PersonRequest) -> HttpResponse:
    """The page."""
    door.looked()
    return render(request, "home.html", context_of(request))


@allow(Permission.SEE)
def now(request: PersonRequest) -> HttpResponse:
    """Fragment: everything on it, for the live update."""
    return render(request, "_now.html", context_of(request))


@allow(Permission.RUN)
def again(request: PersonRequest) -> HttpResponse:
    """POST: the demo from the start."""
    if request.method == "POST" and door.DOOR.demo is not None:
        door.DOOR.demo.again(request.actor)
    return redirect("home")
