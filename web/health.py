"""Whether it works: for load balancers, for Prometheus, and for whoever is paged when the pager is broken."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import Count, Min, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from catalog import people
from catalog.permissions import Permission, scoped
from common import clock
from common.errors import DomainError, Forbidden
from incidents.models import Delivery, Endpoint, Incident, Message, Postmortem
from runbooks.models import OPEN_RUN_STATES, Run, StepRun, Worker
from web.policy import allow

# A worker ticks each second; three missed looks of 5 s and it is not counted any more.
WORKER_ALIVE = timedelta(seconds=20)
# promises.md P16: what is not working must show within a minute.
NO_TICK = "no worker ticks"
SILENT = timedelta(seconds=60)


@allow(Permission.ANYONE)
def healthz(request: HttpRequest) -> HttpResponse:
    """200 as soon as this process serves; asks nothing else, so that a slow database restarts nobody."""
    return HttpResponse("ok\n", content_type="text/plain")


@allow(Permission.ANYONE)
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when the database answers. A dead worker does not count: alerts must still be taken in."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
            cursor.fetchone()
    except DatabaseError:
        response = HttpResponse("the database does not answer\n", status=503, content_type="text/plain")
        response["Retry-After"] = "5"
        return response
    return HttpResponse("ok\n", content_type="text/plain")


@allow(Permission.ANYONE)
def engine(request: HttpRequest) -> HttpResponse:
    """200 while some worker ticks and nothing waits too long, else 503 with what is wrong; for a dead-man's switch."""
    state = engine_state(clock.now())
    faults = state["faults"]
    told = {"status": "degraded" if faults else "ok", "faults": faults}
    return JsonResponse({**state, **told} if _trusted(request) else told, status=503 if faults else 200)


@allow(Permission.ANYONE)
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, read from the database at each scrape; for this machine, or a token with the scope read."""
    if not _trusted(request):
        raise Forbidden(
            "Metrics are for this machine, or for a token with the scope read.",
            fix="Scrape from loopback, or send `Authorization: Bearer bs_…`.",
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _trusted(request: HttpRequest) -> bool:
    shown = request.headers.get("Authorization", "")
    if shown:
        scheme, _, token = shown.partition(" ")
        try:
            actor = people.token_actor(token.strip())
        except DomainError:
            return False
        return scheme.lower() == "bearer" and actor.token is not None and Permission.SEE in scoped(actor.token.scopes)
    # Behind a proxy on this machine everybody comes from loopback; the proxy's own header gives it away.
    if any(name in request.headers for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded")):
        return False
    try:
        return ipaddress.ip_address(str(request.META.get("REMOTE_ADDR", ""))).is_loopback
    except ValueError:
        return False


def engine_state(now: datetime) -> dict[str, Any]:
    """What the engine's rows say: workers, the age of the last tick, what waits and since when (seconds)."""
    last = Worker.objects.order_by("-ticked_at").first()
    ready = StepRun.objects.filter(state="ready", run__state__in=OPEN_RUN_STATES)
    deliveries = Delivery.objects.filter(status="received")
    messages = Message.objects.filter(state="pending")
    state: dict[str, Any] = {
        "workers": Worker.objects.filter(ticked_at__gte=now - WORKER_ALIVE).count(),
        "tick_age_seconds": _age(last.ticked_at if last else None, now),
        "tick_error": last.tick_error if last else "",
        "oldest_ready_seconds": _oldest(ready, "ready_at", now),
        "deliveries_waiting": deliveries.count(),
        "oldest_delivery_seconds": _oldest(deliveries, "received_at", now),
        "messages_undelivered": messages.count(),
        "oldest_message_seconds": _oldest(messages, "created_at", now),
    }
    silent = SILENT.total_seconds()
    faults = []
    if state["tick_age_seconds"] is None or state["tick_age_seconds"] > silent:
        faults.append(NO_TICK)
    for name, what in (("oldest_ready_seconds", "steps"), ("oldest_delivery_seconds", "deliveries")):
        if state[name] > silent:
            faults.append(f"{what} wait over a minute")
    state["faults"] = faults
    return state


def _age(moment: datetime | None, now: datetime) -> float | None:
    return max(0.0, (now - moment).total_seconds()) if moment else None


def _oldest(rows: QuerySet[Any], field: str, now: datetime) -> float:
    return _age(rows.aggregate(first=Min(field))["first"], now) or 0.0


class Rows(Collector):
    """The gauges of deploy/prometheus/alerts.yaml, each from one query; labels are fixed words, never ids."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of them."""
        now = clock.now()
        state = engine_state(now)
        tick = state["tick_age_seconds"]
        yield _gauge("workers", "Workers that ticked within 20 seconds.", state["workers"])
        yield _gauge(
            "tick_age_seconds",
            "Age of the newest tick of any worker; +Inf when there never was one.",
            float("inf") if tick is None else tick,
        )
        yield _gauge("oldest_ready_seconds", "Age of the oldest step ready to run.", state["oldest_ready_seconds"])
        yield _gauge("deliveries_waiting", "Deliveries stored and not yet processed.", state["deliveries_waiting"])
        yield _gauge(
            "oldest_delivery_seconds", "Age of the oldest unprocessed delivery.", state["oldest_delivery_seconds"]
        )
        yield _gauge("messages_undelivered", "Messages not yet delivered.", state["messages_undelivered"])
        yield _gauge(
            "oldest_message_seconds", "Age of the oldest undelivered message.", state["oldest_message_seconds"]
        )
        yield _gauge("messages_failed", "Messages given up.", Message.objects.filter(state="failed").count())
        refused = Endpoint.objects.aggregate(sum=Sum("refused_count"))["sum"] or 0
        yield _gauge("deliveries_refused", "Requests that alert endpoints refused, ever.", refused)
        rejected = Delivery.objects.filter(status="rejected", processed_at__gte=now - timedelta(days=1)).count()
        yield _gauge("deliveries_rejected", "Deliveries of the last day that could not be read.", rejected)
        yield _by(
            "incidents_open",
            "Incidents neither resolved nor closed.",
            Incident.objects.exclude(state__in=["resolved", "closed"]),
            "severity",
            words=[str(number) for number, _ in Incident.SEVERITIES],
        )
        open_runs = Run.objects.filter(state__in=OPEN_RUN_STATES)
        yield _by("runs_open", "Runs that have not ended.", open_runs, "state", words=list(OPEN_RUN_STATES))
        open_steps = StepRun.objects.filter(run__state__in=OPEN_RUN_STATES).exclude(state__in=["settled", "cancelled"])
        yield _by(
            "steps_open",
            "Steps of open runs by state.",
            open_steps,
            "state",
            words=["pending", "ready", "leased", "sleeping", "blocked", "unknown"],
        )
        late = Postmortem.objects.filter(due_at__lt=now, state__in=["due", "draft", "in_review", "approved"]).count()
        yield _gauge("postmortems_overdue", "Postmortems past their 48 hours.", late)


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"backstop_{name}", words, value=value)


def _by(name: str, told: str, rows: QuerySet[Any], field: str, *, words: list[str]) -> GaugeMetricFamily:
    """One sample per word, zeros included, so that an alert rule never compares with nothing."""
    family = GaugeMetricFamily(f"backstop_{name}", told, labels=[field])
    counts = {str(row[field]): row["n"] for row in rows.order_by().values(field).annotate(n=Count("pk"))}
    for word in words:
        family.add_metric([word], counts.get(word, 0))
    return family
