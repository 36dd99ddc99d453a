"""Asking a metrics connection for a check: signals by name, windows, and connector errors in the words of checks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from django.db.models import Q

from catalog import connections
from catalog.connectors.base import ConnectorError
from catalog.connectors.prometheus import Instant, Prometheus, PrometheusConfig, PrometheusSecrets, Range
from catalog.models import Connection, Signal
from incidents.models import Incident
from runbooks.checks.base import CheckError, Context, connection_of

T = TypeVar("T")
# Asking again with the same words changes nothing about these.
_PERMANENT = {"bad_query", "execution", "auth", "blocked", "not_found", "refused"}


@dataclass(frozen=True)
class Window:
    """A stretch of time, shown as `what`."""

    what: str
    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    def ago(self, seconds: float, what: str) -> Window:
        """The same window so much earlier."""
        shift = timedelta(seconds=seconds)
        return Window(what, self.start - shift, self.end - shift)


class Deadline:
    """How long a check may still take, counted on this process's own clock from when the check began."""

    def __init__(self, context: Context) -> None:
        self._until = time.monotonic() + (context.deadline - context.now).total_seconds()

    def left(self, most: float = 10.0) -> float:
        """Seconds for the next request, at most 10; CheckError `timeout` when none are left."""
        left = min(most, self._until - time.monotonic())
        if left <= 0:
            raise CheckError("timeout", "The step's time was over before everything was measured.")
        return left


@dataclass(frozen=True)
class Gauge:
    """An opened metrics connection, bound to one check's deadline."""

    connection: Connection
    connector: Prometheus
    config: PrometheusConfig
    secrets: PrometheusSecrets
    until: Deadline

    def instant(self, query: str, *, at: datetime) -> Instant:
        """The query's value at one time, or CheckError."""
        ask = self.connector.instant
        return told(lambda: ask(self.config, self.secrets, query, at=at, timeout=self.until.left()))

    def range(self, query: str, *, start: datetime, end: datetime, step: float) -> Range:
        """The query's values over a window, or CheckError."""
        ask = self.connector.range
        return told(
            lambda: ask(
                self.config,
                self.secrets,
                query,
                start=start,
                end=end,
                step=step,
                timeout=self.until.left(),
            )
        )

    def line(self, query: str, *, start: datetime, end: datetime, step: float) -> list[tuple[float, float]]:
        """The points of the one series that the query must give; NaN and infinities are left out."""
        found = self.range(query, start=start, end=end, step=step).series
        if len(found) > 1:
            names = "; ".join(series.name for series in found[:3])
            raise CheckError(
                "many_series",
                f"The query gives {len(found)} series ({names} …); wrap it into sum(…) or avg(…).",
                permanent=True,
            )
        return [(at, value) for at, value in found[0].points if math.isfinite(value)] if found else []


def told(ask: Callable[[], T]) -> T:
    """What the connector answers; its error as a CheckError with the same reason."""
    try:
        return ask()
    except ConnectorError as error:
        permanent = error.reason in _PERMANENT
        raise CheckError(error.reason, error.sentence, permanent=permanent, retry_after=error.retry_after) from None


def gauge(context: Context, connection: Connection) -> Gauge:
    """Open a metrics connection; CheckError when it is of another kind."""
    connector, config, secrets = connections.opened(connection)
    if not isinstance(connector, Prometheus):
        raise CheckError(
            "no_source", f"The connection {connection.slug} is of kind {connection.connector}.", permanent=True
        )
    assert isinstance(config, PrometheusConfig)
    assert isinstance(secrets, PrometheusSecrets)
    return Gauge(connection, connector, config, secrets, Deadline(context))


def gauge_by_name(context: Context, slug: str) -> Gauge:
    """The same by the connection's name."""
    return gauge(context, connection_of(context, slug))


def signal_of(context: Context, name: str) -> Signal:
    """The service's signal of that name; a permanent CheckError names those it has."""
    if context.service is None:
        raise CheckError("no_service", "The run has no service, so it has no signals.", permanent=True)
    found = context.service.signals.select_related("connection").filter(name=name).first()
    if found is None:
        known = ", ".join(context.service.signals.values_list("name", flat=True)) or "none"
        raise CheckError(
            "no_signal", f"{context.service.slug} has no signal {name!r} (it has: {known}).", permanent=True
        )
    return found


def step_for(seconds: float, scrape_seconds: float = 0.0) -> float:
    """The distance of points for a window: about 30 points, between 30 s and 5 min.

    Where events are counted between points, never under four scrapes (see PrometheusConfig).
    """
    return float(max(4 * scrape_seconds, min(300, max(30, round(seconds / 30 / 15) * 15))))


def is_troubled(context: Context, window: Window) -> bool:
    """Whether another incident of the service overlaps the window: such a window is no baseline."""
    if context.service is None:
        return False
    others = Incident.objects.filter(service=context.service, started_at__lt=window.end, is_drill=False)
    if context.incident_number is not None:
        others = others.exclude(number=context.incident_number)
    over = Q(mitigated_at__lte=window.start) | Q(resolved_at__lte=window.start)
    return others.exclude(over).exists()


def stamp(moment: datetime) -> str:
    """A time as tables show it, in UTC."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")
