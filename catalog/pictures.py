"""Pictures of signals: reading what a signal's source says of a window, and keeping it as it was then.

Nothing here runs inside a request; workers take pictures (incidents/pictures.py says when), pages show them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from django.db.models import Q

from catalog import bands, connections
from catalog.connectors.base import ConnectorError
from catalog.connectors.prometheus import Prometheus, PrometheusConfig, PrometheusSecrets
from catalog.models import Connection, Picture, Service, Signal
from common.errors import DomainError
from common.secrets import redact

# No more points than a wide screen can show apart; each step divides a day, so that days lie on each other.
_MOST_POINTS = 300
_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
# The newest value is old when it is further back than this many steps (and scrapes).
_STALE_STEPS = 3
# As the checks' own gap between a window and its baseline.
_GAP = timedelta(minutes=5)
# How long one service may take in all, in seconds, and when another worker may take over from one that died.
_LONGEST = 60.0
_BUSY = timedelta(seconds=90)
# How long pictures are kept that nobody takes again: of a service's last hours, and of incidents.
LAST_HOURS_DAYS = 7
INCIDENT_DAYS = 400

Times = tuple[datetime, datetime]


@dataclass(frozen=True)
class Window:
    """What a picture is of: its key, from when to when, and the stretches that are no example of what is usual."""

    key: str
    start: datetime
    end: datetime
    unusual: Sequence[Times] = ()
    # When the trouble began that the window shows; what came before it is an example of what is usual.
    onset: datetime | None = None


def take(service: Service, window: Window, *, now: datetime) -> list[Picture]:
    """Read every signal of the service over the window and keep what came, also that nothing came; gives the pictures.

    A signal that another worker is reading is left to it. A connection that does not answer is asked once, not once
    for each of its signals. What was read before is kept where an attempt fails. After a minute the rest is left for
    the next time, which begins with it.
    """
    taken, silent = [], dict[int, str]()
    until = time.monotonic() + _LONGEST
    tried = dict(Picture.objects.filter(service=service, key=window.key).values_list("name", "tried_at"))
    signals = service.signals.select_related("connection")
    for signal in sorted(signals, key=lambda row: tried.get(row.name) or datetime.min.replace(tzinfo=UTC)):
        picture = _claimed(signal, window, now) if time.monotonic() < until else None
        if picture is None:
            continue
        if signal.connection_id in silent:
            _failed(picture, silent[signal.connection_id])
        else:
            try:
                _read(picture, signal, window, now, until)
            except ConnectorError as error:
                _failed(picture, redact(error.sentence))
                if error.reason in ("unreachable", "timeout", "blocked", "auth", "unavailable"):
                    silent[signal.connection_id] = picture.fault
            except DomainError as error:
                # Settings that do not fit their connector, or secrets that cannot be decrypted.
                _failed(picture, redact(str(error)))
        picture.tried_at, picture.busy_until = now, None
        picture.save()
        taken.append(picture)
    return taken


def _claimed(signal: Signal, window: Window, now: datetime) -> Picture | None:
    """The signal's picture, marked as being taken; None while another worker takes it."""
    picture, _ = Picture.objects.get_or_create(
        service_id=signal.service_id,
        key=window.key,
        name=signal.name,
        defaults={"source": signal.connection.slug, "query": signal.query},
    )
    free = Picture.objects.filter(Q(busy_until=None) | Q(busy_until__lt=now), pk=picture.pk)
    return picture if free.update(busy_until=now + _BUSY) else None


def _failed(picture: Picture, sentence: str) -> None:
    picture.state, picture.fault = "failed", sentence[:400]


@dataclass(frozen=True)
class _Source:
    """An opened metrics connection, asked for one query."""

    connector: Prometheus
    config: PrometheusConfig
    secrets: PrometheusSecrets
    query: str
    # On this process's own clock.
    until: float

    def points(self, start: datetime, end: datetime, step: float) -> tuple[list[tuple[float, float]], list[str]]:
        """The points of the query's first series, and the names of all its series; raises ConnectorError."""
        left = min(10.0, self.until - time.monotonic())
        if left <= 0:
            raise ConnectorError("timeout", "The source took too long; the rest was left for the next time.")
        found = self.connector.range(
            self.config, self.secrets, self.query, start=start, end=end, step=step, timeout=left
        ).series
        return (found[0].points if found else []), [series.name for series in found]

    def line(self, start: datetime, end: datetime, step: float) -> list[tuple[float, float]]:
        """The finite points of an earlier time."""
        return [(at, value) for at, value in self.points(start, end, step)[0] if math.isfinite(value)]


def _opened(connection: Connection, query: str, until: float) -> _Source:
    connector, config, secrets = connections.opened(connection)
    if not isinstance(connector, Prometheus):
        raise ConnectorError("no_source", f"{connection.slug} is a connection of kind {connection.connector}.")
    assert isinstance(config, PrometheusConfig)
    assert isinstance(secrets, PrometheusSecrets)
    return _Source(connector, config, secrets, query, until)


def _read(picture: Picture, signal: Signal, window: Window, now: datetime, until: float) -> None:
    """Ask the source and write its answer into the row (unsaved); raises ConnectorError or DomainError."""
    source = _opened(signal.connection, signal.query, until)
    step = step_for((window.end - window.start).total_seconds(), source.config.scrape_seconds)
    start, end = _aligned(window.start, step), _aligned(window.end, step)
    points, names = source.points(start, end, step)
    state, fault = _judged(points, names, end, max(step, source.config.scrape_seconds))
    if state != "many_series":
        same = picture.query == signal.query and picture.step_seconds == step
        before = dict(times_and_values(picture)) if same else {}
        values = on_grid(points, start, end, step, before)
        if _needs_band(picture, signal, start, end, step):
            picture.band = bands.usual(
                source.line, start, end, step, unusual=window.unusual, calm=_calm(points, window.onset)
            )
        picture.start_at, picture.end_at, picture.step_seconds, picture.values = start, end, step, values
        picture.read_at = now
    picture.source, picture.query = signal.connection.slug, signal.query
    picture.unit, picture.worse = signal.unit, signal.worse
    picture.state, picture.fault = state, redact(fault)[:400]


def _calm(points: list[tuple[float, float]], onset: datetime | None) -> list[float]:
    """The finite values from before the trouble, without its last minutes: alerts fire after it began."""
    until = (onset - _GAP).timestamp() if onset else 0.0
    return [value for at, value in points if at <= until and math.isfinite(value)]


def _needs_band(picture: Picture, signal: Signal, start: datetime, end: datetime, step: int) -> bool:
    """Whether the past must be asked again: it reaches an hour ahead, so that this is so once an hour."""
    band = picture.band
    known = band and picture.query == signal.query and band["for_step"] == step
    return not known or band["start"] > start.timestamp() or bands.reaches(band) < end.timestamp()


def step_for(seconds: float, scrape_seconds: float = 15) -> int:
    """The distance of points of a picture of so many seconds: never under a scrape, never over 300 points."""
    return next((step for step in _STEPS if step >= scrape_seconds and seconds / step <= _MOST_POINTS), _STEPS[-1])


def _aligned(moment: datetime, step: int) -> datetime:
    return datetime.fromtimestamp(math.floor(moment.timestamp() / step) * step, UTC)


def on_grid(
    points: Iterable[tuple[float, float]], start: datetime, end: datetime, step: int, before: dict[float, float | None]
) -> list[float | None]:
    """The value at each time of the window; None where there is none, now or in what was read before.

    A source forgets its oldest data while an incident goes on; what it said of them then still stands.
    """
    found = {round(at): value for at, value in points if math.isfinite(value)}
    first, last = round(start.timestamp()), round(end.timestamp())
    values = (found.get(at, before.get(at)) for at in range(first, last + 1, step))
    return [None if value is None else float(f"{value:.6g}") for value in values]


def _judged(points: list[tuple[float, float]], names: list[str], end: datetime, step: float) -> tuple[str, str]:
    """Which of the five ways of having no number it is, and a sentence about it; `ok` and nothing otherwise."""
    if not names:
        return "empty", "The query selects nothing: no series of that name had a value in this window."
    if len(names) > 1:
        shown = "; ".join(names[:3])
        return "many_series", f"The query gives {len(names)} series ({shown} …); wrap it into sum(…) or avg(…)."
    newest, value = points[-1]
    if end.timestamp() - newest > _STALE_STEPS * step:
        at = datetime.fromtimestamp(newest, UTC)
        return "stale", f"The values ended at {at:%Y-%m-%d %H:%M:%S} UTC; whatever measured has stopped."
    if not math.isfinite(value):
        return "not_a_number", f"The newest value is {value:g}, no number: often there is no traffic to divide by."
    return "ok", ""


def times_and_values(picture: Picture) -> list[tuple[float, float | None]]:
    """Its points: unix seconds and value, None where there is none."""
    if picture.start_at is None:
        return []
    first = round(picture.start_at.timestamp())
    return [(first + place * picture.step_seconds, value) for place, value in enumerate(picture.values)]


def newest(picture: Picture, count: int = 1) -> list[tuple[float, float]]:
    """The last points that have a value, oldest first."""
    known = ((at, value) for at, value in reversed(times_and_values(picture)) if value is not None)
    return list(islice(known, count))[::-1]


def is_due(picture: Picture | None, *, now: datetime, seconds: float) -> bool:
    """Whether it should be taken again: never tried, or longer ago than that, and nobody is at it."""
    if picture is None or picture.tried_at is None:
        return True
    busy = picture.busy_until is not None and picture.busy_until >= now
    return not busy and (now - picture.tried_at).total_seconds() > seconds


def tidy(now: datetime) -> int:
    """Delete pictures past their time; gives their number."""
    old_hours = Q(key="", tried_at__lt=now - timedelta(days=LAST_HOURS_DAYS))
    old_incidents = Q(tried_at__lt=now - timedelta(days=INCIDENT_DAYS))
    return Picture.objects.filter(old_hours | old_incidents).delete()[0]
