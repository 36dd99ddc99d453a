"""Now: what waits for me, what is open, what is late, and whether anything runs at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from catalog import permissions
from catalog.permissions import Permission
from common import clock
from incidents import action_items, postmortems
from incidents.models import ActionItem, Delivery, Endpoint, Incident, Postmortem
from runbooks import watched
from runbooks.models import ApprovalRequest, Run
from runbooks.watched import Watching
from web.live import version_of
from web.operate import door
from web.pages import setup, words
from web.pages.standing import standings
from web.pages.waiting import Reader, asks, steps_waiting
from web.policy import PersonRequest, allow, visible

# The name of the endpoint that the demo seeds (web/operate/demo.py): its incident is found by it.
DEMO_ENDPOINT = "demo"


@dataclass(frozen=True)
class GuideStep:
    """One of the four steps through the demo: what it is, what it waits for or leads to, and whether it is next."""

    word: str
    hint: str
    done: bool
    url: str = ""
    button: str = ""
    # A step that changes something is a form.
    posts: bool = False
    is_next: bool = False


def _guide(request: PersonRequest) -> list[GuideStep] | None:
    """The four steps of the demo, and which is next; None where there is no demo."""
    teams = permissions.teams_of(request.user)
    if not Endpoint.objects.filter(team__in=teams, name=DEMO_ENDPOINT).exists():
        return None
    live = (
        Incident.objects.filter(team__in=teams, alerts__endpoint__name=DEMO_ENDPOINT, is_drill=False)
        .order_by("-number")
        .first()
    )
    steps = _first_steps() if live is None else _steps_of(live)
    following = next((step for step in steps if not step.done), None)
    return [replace(step, is_next=step is following and bool(step.url)) for step in steps]


def _first_steps() -> list[GuideStep]:
    """Before the alert has arrived."""
    return [
        GuideStep("See the alert", "It is on its way by webhook, a few seconds from your first look.", done=False),
        GuideStep("Read the cause", "A runbook starts by itself and ranks what may be behind it.", done=False),
        GuideStep("Approve", "The runbook proposes one change; nothing happens before you say yes.", done=False),
        GuideStep("Open the draft", "The postmortem writes itself from the timeline.", done=False),
    ]


def _steps_of(live: Incident) -> list[GuideStep]:
    page = reverse("incident", args=[live.number])
    run = Run.objects.real().filter(incident=live).order_by("-id").first()
    asked = ApprovalRequest.objects.filter(step_run__run=run).order_by("-id").first() if run else None
    postmortem = Postmortem.objects.filter(incident=live).first()
    decided = asked is not None and asked.state in ("approved", "rejected")
    seen = live.acknowledged_at is not None or decided
    found = bool(run and run.diagnosis_frozen)
    drafted = bool(postmortem and postmortem.drafted_at)
    see = GuideStep(
        "See the alert",
        f"{live.key} is open. Acknowledge it, so that others know that somebody is on it.",
        seen, page, f"Open {live.key}",
    )  # fmt: skip
    read = GuideStep(
        "Read the cause",
        "Ranked, with what speaks for it and against it." if found else "The checks are running; about 20 seconds.",
        found and seen,
        page if found else "",
        "Read it",
    )
    approve = GuideStep(
        "Approve", "One exact change. It waits for you and never applies itself.", decided,
        reverse("approval", args=[asked.uuid]) if asked else "", "Look and decide",
    )  # fmt: skip
    if drafted:
        draft = GuideStep(
            "Open the draft", "Every claim carries the number of its evidence.", done=True,
            url=reverse("postmortem", args=[live.number]), button="Open it",
        )  # fmt: skip
    else:
        verifying = decided and run is not None and run.is_open
        draft = GuideStep(
            "Open the draft",
            "The fix is being verified: three minutes here; in earnest a quarter of an hour, and a day's watch."
            if verifying
            else "The postmortem writes itself from the timeline.",
            done=False,
            url=reverse("postmortem_draft", args=[live.number]) if decided and not verifying else "",
            button="Draft it",
            posts=True,
        )
    return [see, read, approve, draft]


def _latest(runs: list[Run], waiting: set[int]) -> list[tuple[Run, words.Face, Watching | None]]:
    watches = watched.of_runs(runs)
    return [
        (run, words.run_face(run, waits=run.pk in waiting, watches=run.pk in watches), watches.get(run.pk))
        for run in runs
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
    runs = visible(Run.objects.real().select_related("runbook", "incident", "service"), request.actor)
    waiting = list(steps_waiting(teams)[:50])
    asked, reader = asks(waiting), Reader(request.actor)
    mine = [ask for ask in asked if reader.is_asked(ask)]
    guide = _guide(request)
    return {
        "asks": mine,
        "asks_of_others": [ask for ask in asked if ask not in mine],
        "open_incidents": standings(open_incidents, asked),
        "overdue": list(items.filter(action_items.due_before((now + timedelta(days=3)).date()))[:20]),
        "clocks": list(
            postmortems.running_clocks()
            .filter(incident__team__in=teams)
            .select_related("incident", "owner")
            .order_by("due_at")[:20]
        ),
        "latest_runs": _latest(list(runs.order_by("-id")[:8]), {step.run_id for step in waiting}),
        # A sender is told 202 whatever it sends; that nobody could read it must be seen by somebody.
        "unread": list(
            visible(Delivery.objects.select_related("endpoint"), request.actor, team="endpoint__team")
            .filter(status="rejected", received_at__gte=now - timedelta(days=1))
            .defer("body_encrypted")
            .order_by("-received_at")[:5]
        ),
        "guide": guide,
        "guide_done": bool(guide) and all(step.done for step in guide or []),
        "setup": setup.on_home(request),
        "home_version": version_of(request.actor, "home", "all"),
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


@allow(Permission.SIGNED_IN)
def pulse(request: PersonRequest) -> HttpResponse:
    """Fragment: what every page says beside its own content. All of it is known to every page (web/templating.py)."""
    return render(request, "_pulse.html")


@allow(Permission.RUN)
def again(request: PersonRequest) -> HttpResponse:
    """POST: the demo from the start."""
    if request.method == "POST" and door.DOOR.demo is not None:
        door.DOOR.demo.again(request.actor)
    return redirect("home")
