"""Stored pictures of signals made ready for pages: chart, marks, how it stands against what is usual, where from.

Reads rows only. What is not there yet is asked of a worker (incidents/pictures.py), and the page says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from django.db.models import Q
from django.http import HttpResponse

from catalog import bands, pictures
from catalog.models import Change, Picture, Service, Signal
from runbooks.models import Effect
from runbooks.steps import HARMLESS
from web.pages import chart_axes, charts
from web.pages.charts import Band, Mark

# Marks that one chart can carry; the list of changes has them all.
_MARKS = 40
# A picture that is being refreshed is not called old before this.
OLD = timedelta(minutes=3)
# How many of the newest values are held against the band, and how far out (in its widths) is far.
_NEWEST, _FAR = 3, 0.5
_NEVER_READ = "Nothing was read yet."


@dataclass(frozen=True)
class Standing:
    """The newest value against what is usual at its time of the day; `by` is the distance in widths of the band."""

    # usual, near (outside, but by little), worse, better, unknown
    word: str
    sentence: str
    by: float = 0.0

    @property
    def is_worse(self) -> bool:
        """Outside the band, on the side that hurts."""
        return self.word == "worse"


@dataclass(frozen=True)
class Shown:
    """One signal as a page shows it."""

    name: str
    unit: str
    worse: str
    query: str
    source: str
    picture: Picture | None
    chart: charts.Chart | None
    value: str
    standing: Standing
    # Why there is no number or no newer one; empty when there is.
    fault: str
    state: str
    # When it was read, and whether that is too long ago to be called now.
    read_at: datetime | None
    is_old: bool
    csv: str
    grafana: str
    # Why this signal and no other is shown first.
    reason: str = ""

    @property
    def title(self) -> str:
        """`error_rate` as people say it."""
        return self.name.replace("_", " ")


def shown(
    picture: Picture | None,
    *,
    signal: Signal | None,
    service: Service,
    now: datetime,
    marks: Iterable[Mark] = (),
    csv_url: str = "",
    id: str = "",  # noqa: A002  it becomes the chart's id
    reason: str = "",
    is_over: bool = False,
) -> Shown:
    """Lay out one signal; it never raises. `is_over`: a picture of then, which is not expected to be of now."""
    name = picture.name if picture else signal.name if signal else ""
    chart = None if picture is None else _chart(picture, list(marks), id or f"signal-{name}", csv_url)
    last = pictures.newest(picture) if picture else []
    read_at = picture.read_at if picture else None
    return Shown(
        name=name,
        unit=signal.unit if signal else picture.unit if picture else "",
        worse=signal.worse if signal else picture.worse if picture else "up",
        query=signal.query if signal else picture.query if picture else "",
        source=signal.connection.slug if signal else picture.source if picture else "",
        picture=picture,
        chart=chart,
        value=chart_axes.short(last[-1][1]) if last else "unknown",
        standing=standing(picture),
        fault=picture.fault if picture and picture.tried_at else _NEVER_READ,
        state=picture.state if picture else "",
        read_at=read_at,
        is_old=not is_over and (read_at is None or now - read_at > OLD),
        csv=csv_url if chart else "",
        grafana=grafana(service, signal, chart) if chart else "",
        reason=reason,
    )


def _chart(picture: Picture, marks: list[Mark], id: str, csv_url: str) -> charts.Chart | None:  # noqa: A002
    if picture.start_at is None or picture.end_at is None:
        return None
    return charts.lines(
        {picture.name.replace("_", " "): [list(point) for point in pictures.times_and_values(picture)]},
        unit=picture.unit,
        start=picture.start_at,
        end=picture.end_at,
        step=float(picture.step_seconds),
        band=band_of(picture),
        marks=marks,
        id=id,
        csv=csv_url,
    )


def band_of(picture: Picture) -> Band | None:
    """The stored band, cut to the picture's own window; None where the past says nothing."""
    band = picture.band
    if not band or not band.get("low") or picture.start_at is None or picture.end_at is None:
        return None
    start, end = picture.start_at.timestamp(), picture.end_at.timestamp()
    grid = (band["start"] + place * band["step"] for place in range(len(band["low"])))
    times = [start, *(when for when in grid if start < when < end), end]
    ends = [bands.at(band, when) for when in times]
    lows, highs = ([None if pair is None else pair[side] for pair in ends] for side in (0, 1))
    return Band(times, lows, highs, str(band.get("words", "")))


def standing(picture: Picture | None) -> Standing:
    """How the newest values lie against the band; unknown says why.

    A fifth of what is usual lies outside a band of 10 to 90 %, so one value beside it is no news: worse is where the
    median of the newest three lies further out than half the band's width.
    """
    newest = pictures.newest(picture, _NEWEST) if picture else []
    if picture is None or not newest:
        return Standing("unknown", "no value")
    when, value = newest[-1][0], sorted(value for _, value in newest)[len(newest) // 2]
    usual = bands.at(picture.band, when)
    if usual is None:
        return Standing("unknown", "what is usual is unknown")
    low, high = usual
    unit = f" {picture.unit}" if picture.unit else ""
    span = f"{chart_axes.short(low)} to {chart_axes.short(high)}{unit}"
    if low <= value <= high:
        return Standing("usual", f"as usual ({span})")
    above = value > high
    # A band of no width (a value that never moved) must not make every step away infinite.
    width = max(high - low, abs(high) * 0.01, 1e-9)
    by = (value - high if above else low - value) / width
    side = "above" if above else "below"
    if by < _FAR:
        return Standing("near", f"a little {side} what is usual ({span})", by)
    word = "worse" if above == (picture.worse == "up") else "better"
    return Standing(word, f"{side} what is usual ({span})", by)


def marks_of(
    service: Service, start: datetime, end: datetime, *, onset: datetime | None = None, until: datetime | None = None
) -> list[Mark]:
    """The onset, what others changed, and what we did, in a window."""
    marks = [Mark("onset", onset, "onset")] if onset else []
    acts = Effect.objects.filter(
        step_run__run__service=service, state="confirmed", ended_at__gte=start, ended_at__lte=end
    ).exclude(effect_class__in=HARMLESS)
    marks += [Mark("act", act.ended_at, _act(act)) for act in acts.order_by("-ended_at")[:_MARKS] if act.ended_at]
    told = Change.objects.filter(
        Q(service=service) | Q(service=None), team=service.team_id, occurred_at__gte=start, occurred_at__lte=end
    )
    # What we changed ourselves is drawn as the act it was.
    for change in told.filter(effect_key="").order_by("-occurred_at")[:_MARKS]:
        label = f"{change.get_kind_display()} {change.version}" if change.version else change.summary
        marks.append(Mark("change", change.occurred_at, label, change.link))
    return marks


def _act(act: Effect) -> str:
    """A few words for what was done: the verb, and what it was set to."""
    verb = act.provider.rpartition(".")[2].replace("_", " ")
    value = act.after.get("value") if isinstance(act.after, dict) else None
    return f"{verb} → {value}" if isinstance(value, str | int | float) else verb


def grafana(service: Service, signal: Signal | None, chart: charts.Chart) -> str:
    """The dashboard that the service, or else the signal's connection, names, opened at the chart's window."""
    named = str(signal.connection.config.get("dashboard_url", "")) if signal else ""
    return at_window(service.dashboard_url or named, chart.start, chart.end)


def at_window(url: str, start: datetime, end: datetime) -> str:
    """A Grafana address with `from` and `to` (milliseconds); empty for no address."""
    if not url.startswith(("http://", "https://")):
        return ""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key not in ("from", "to")]
    query += [("from", str(int(start.timestamp() * 1000))), ("to", str(int(end.timestamp() * 1000)))]
    return urlunsplit(parts._replace(query=urlencode(query)))


def csv_answer(name: str, header: list[str], rows: Iterable[list[Any]]) -> HttpResponse:
    """A CSV file to download (RFC 4180); what is missing is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    answer = HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return answer


def picture_csv(picture: Picture, name: str) -> HttpResponse:
    """Every point of a picture, with the band at its time."""
    rows = []
    for when, value in pictures.times_and_values(picture):
        usual = bands.at(picture.band, when) or (None, None)
        rows.append([_iso(when), value, *(None if end is None else f"{end:.6g}" for end in usual)])
    unit = f"_{picture.unit}" if picture.unit else ""
    return csv_answer(name, ["time", f"{picture.name}{unit}", "usual_low", "usual_high"], rows)


def series_csv(series: Any, name: str) -> HttpResponse:
    """The stored series of a piece of evidence, a row per point."""
    found = series if isinstance(series, dict) else {}
    rows = [
        [label, _iso(point[0]), point[1]]
        for label, points in found.items()
        for point in (points if isinstance(points, list) else [])
        if isinstance(point, list | tuple) and len(point) == 2 and charts.finite(point[0]) is not None
    ]
    return csv_answer(name, ["series", "time", "value"], rows)


def _iso(when: float) -> str:
    try:
        return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return ""
