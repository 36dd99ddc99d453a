"""How it runs: worker processes, what waits in each queue, and the last tasks with the time of every hop, live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from catalog.permissions import Permission
from common import clock
from incidents.models import Delivery, Message
from runbooks import health
from runbooks.models import OPEN_RUN_STATES, Attempt, StepRun, Worker
from web.operate.work import QUEUES
from web.policy import PersonRequest, allow, visible

# Processes that ended are shown for so long; then they are history.
REMEMBERED = timedelta(hours=1)
MOST = 30
WHAT = {
    "engine": "takes in deliveries, moves runs on, carries messages",
    "checks": "asks the outer systems",
    "actions": "changes the world, after approval",
}
OUTCOMES = {
    "running": ("running", "Running"),
    "done": ("pass", "Done"),
    "error": ("error", "Failed"),
    "pending": ("clock", "Not yet"),
    "lost": ("error", "Worker lost"),
    "late": ("skipped", "Too late"),
}


@dataclass(frozen=True)
class Process:
    """One worker process: alive, and what it holds right now."""

    worker: Worker
    alive: bool
    holds: list[StepRun]


@dataclass(frozen=True)
class Line:
    """One queue: how much waits, since when, and how much is being done."""

    name: str
    what: str
    waiting: int
    oldest: datetime | None
    busy: int


@dataclass(frozen=True)
class Hop:
    """One stage of a task: when it was reached, and seconds since the stage before it."""

    word: str
    at: datetime
    after: float | None = None


@dataclass(frozen=True)
class Task:
    """Something that a worker did: where it leads, how it ended, and its hops in order."""

    at: datetime
    what: str
    about: str
    url: str
    glyph: str
    outcome: str
    worker: str
    hops: list[Hop]


def _hops(*stages: tuple[str, datetime | None]) -> list[Hop]:
    found: list[Hop] = []
    for word, at in stages:
        if at is not None:
            found.append(Hop(word, at, max(0.0, (at - found[-1].at).total_seconds()) if found else None))
    return found


def _processes(request: PersonRequest, now: datetime) -> list[Process]:
    held: dict[str, list[StepRun]] = {}
    mine = visible(StepRun.objects.filter(state="leased"), request.actor, team="run__team")
    for step in mine.select_related("run"):
        held.setdefault(step.worker, []).append(step)
    rows = Worker.objects.filter(ticked_at__gte=now - REMEMBERED).order_by("-ticked_at")
    return [Process(row, now - row.ticked_at < health.WORKER_ALIVE, held.get(row.name, [])) for row in rows[:20]]


def _lines() -> list[Line]:
    """Of all teams: a queue that somebody else fills makes everybody wait."""
    steps = StepRun.objects.filter(run__state__in=OPEN_RUN_STATES).order_by()
    ready = {
        row["queue"]: (row["n"], row["first"])
        for row in steps.filter(state="ready").values("queue").annotate(n=Count("pk"), first=Min("ready_at"))
    }
    busy = dict(steps.filter(state="leased").values_list("queue").annotate(Count("pk")))
    lines = [Line(name, WHAT[name], *ready.get(name, (0, None)), busy.get(name, 0)) for name in QUEUES]
    deliveries = Delivery.objects.filter(status="received").aggregate(n=Count("pk"), first=Min("received_at"))
    messages = Message.objects.filter(state="pending").aggregate(n=Count("pk"), first=Min("created_at"))
    timers = steps.filter(state="sleeping").aggregate(n=Count("pk"), first=Min("due_at"))
    return [
        *lines,
        Line("deliveries", "stored and not read yet", deliveries["n"], deliveries["first"], 0),
        Line("messages", "written and not delivered yet", messages["n"], messages["first"], 0),
        Line("timers", "waits and further tries; the next rings", timers["n"], timers["first"], 0),
    ]


def _steps(request: PersonRequest) -> list[Task]:
    rows = visible(Attempt.objects.select_related("step_run__run__incident"), request.actor, team="step_run__run__team")
    found = []
    for row in rows.order_by("-pk")[:MOST]:
        step, run = row.step_run, row.step_run.run
        ready = step.ready_at if step.ready_at and step.ready_at <= row.started_at else None
        glyph, word = OUTCOMES.get(row.outcome, ("queued", row.outcome))
        about = f"{run.incident.key} · {step.provider}" if run.incident else step.provider
        found.append(
            Task(
                row.started_at, step.name, about, f"{reverse('run', args=[run.uuid])}#step-{step.step}", glyph, word,
                row.worker, _hops(("ready", ready), ("taken", row.started_at), ("done", row.ended_at)),
            )
        )  # fmt: skip
    return found


def _deliveries(request: PersonRequest) -> list[Task]:
    rows = visible(Delivery.objects.select_related("endpoint"), request.actor, team="endpoint__team")
    looks = {"processed": ("pass", "Read"), "rejected": ("fail", "Rejected")}
    return [
        Task(
            row.received_at, f"Delivery to {row.endpoint.name}", row.kind or row.endpoint.source,
            reverse("delivery", args=[row.uuid]), *looks.get(row.status, ("queued", "Waits")), "",
            _hops(("stored", row.received_at), ("read", row.processed_at)),
        )
        for row in rows.defer("body_encrypted", "alerts", "headers").order_by("-pk")[:MOST]
    ]  # fmt: skip


def _messages(request: PersonRequest) -> list[Task]:
    rows = visible(Message.objects.select_related("incident"), request.actor)
    looks = {"sent": ("pass", "Delivered"), "failed": ("error", "Given up")}
    return [
        Task(
            row.created_at, f"Message to {row.recipient}", row.incident.key if row.incident else row.kind,
            reverse("incident", args=[row.incident.number]) if row.incident else "",
            *looks.get(row.state, ("queued", "Waits")), "",
            _hops(("came up", row.created_at), ("delivered", row.sent_at)),
        )
        for row in rows.order_by("-pk")[:MOST]
    ]  # fmt: skip


def _context(request: PersonRequest) -> dict[str, Any]:
    now = clock.now()
    tasks = [*_steps(request), *_deliveries(request), *_messages(request)]
    state = health.look(now)
    return {
        "state": state,
        "faults": state.faults,
        "processes": _processes(request, now),
        "lines": _lines(),
        "tasks": sorted(tasks, key=lambda task: task.at, reverse=True)[:MOST],
        "read_at": now,
    }


@allow(Permission.SEE)
def running(request: PersonRequest) -> HttpResponse:
    """The page."""
    return render(request, "guide/running.html", _context(request))


@allow(Permission.SEE)
def now(request: PersonRequest) -> HttpResponse:
    """Fragment: everything on it, read anew."""
    return render(request, "guide/_running.html", _context(request))
