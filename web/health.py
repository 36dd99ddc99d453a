"""Whether it works: for load balancers, for Prometheus, and for whoever is paged when the pager is broken."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, connection
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from catalog import people
from catalog.permissions import Permission, scoped
from common import clock
from common.errors import DomainError, Forbidden
from incidents import postmortems
from incidents.models import Delivery, Endpoint, Incident, Message
from runbooks import health
from runbooks.models import OPEN_RUN_STATES, Run, StepRun
from web import hooks
from web.policy import allow


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
    state = health.look(clock.now())
    told = {"status": "degraded" if state.faults else "ok", "faults": state.faults}
    return JsonResponse({**asdict(state), **told} if _trusted(request) else told, status=503 if state.faults else 200)


@allow(Permission.ANYONE)
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, read from the database at each scrape; for this machine, or a token with the scope read.

    Only the strangers at the alert doors are counted in memory.
    """
    if not _trusted(request):
        raise Forbidden(
            "Metrics are for this machine, or for a token with the scope read.",
            fix="Scrape from loopback, or send `Authorization: Bearer bs_…`.",
        )
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Rows())
    hooks.strangers_here()
    registry.register(hooks.STRANGERS)
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


# Each is a field of health.State, and the words of its gauge.
AGES = {
    "oldest_ready_seconds": "Age of the oldest step ready to run.",
    "timer_late_seconds": "How late the latest timer or deadline of a step is.",
    "deliveries_waiting": "Deliveries stored and not yet processed.",
    "oldest_delivery_seconds": "Age of the oldest unprocessed delivery.",
    "messages_undelivered": "Messages not yet delivered.",
    "oldest_message_seconds": "Age of the oldest undelivered message.",
    "runs_wedged": "Active runs that nothing will move.",
}


class Rows(Collector):
    """The gauges of deploy/prometheus/alerts.yaml, each from one query; labels are fixed words, never ids."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of them."""
        now = clock.now()
        state = health.look(now)
        tick = state.tick_age_seconds
        yield _gauge("workers", "Workers that ticked within 20 seconds.", state.workers)
        yield _gauge(
            "tick_age_seconds",
            "Age of the newest tick of any worker; +Inf when there never was one.",
            float("inf") if tick is None else tick,
        )
        for name, words in AGES.items():
            yield _gauge(name, words, getattr(state, name))
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
        late = postmortems.running_clocks().filter(due_at__lt=now).count()
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
