"""Where the marks of a drawing go: pure functions from numbers to coordinates.

A chart is laid out once, in per cent of a plot that has no size of its own: the page's stylesheet says how large it
is, so that one drawing serves a desk, a phone and paper (templates/components/charts.html). What uPlot needs to draw
the same with JavaScript is `Chart.data` (web/static/charts.js).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from web.pages import chart_axes

# The plot's own units, both ways; it is stretched to whatever room there is.
UNITS = 1000
DAY = 86400.0
# A series is broken where the next point is further away than this many of its usual distances.
_BROKEN = 1.6
_TABLE_ROWS = 24
_LINES = 6


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and limit on a line of 320 units; `label` says the same in words."""

    low: float
    dot: float
    high: float
    limit: float | None
    label: str


@dataclass(frozen=True)
class Band:
    """What is usual at each time (unix seconds): from `low` to `high`, None where the past says nothing."""

    times: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]
    words: str = ""


@dataclass(frozen=True)
class Mark:
    """Something that happened at a time: `onset`, a `change` by others, or an `act` of ours."""

    kind: str
    at: datetime
    label: str
    url: str = ""


@dataclass(frozen=True)
class Limit:
    """A value that must not be crossed, with its words: "pass ≥ 0.92"."""

    value: float
    words: str


@dataclass(frozen=True)
class Line:
    """One series as pieces of a polyline: missing data breaks it, and is never joined. A lone point is a dot."""

    label: str
    pieces: list[str]
    dots: list[tuple[float, float]]
    compared: bool = False


@dataclass(frozen=True)
class Chart:
    """One plot with one y axis; places are per cent of its width and height."""

    id: str
    label: str
    unit: str
    lines: list[Line]
    ticks: list[chart_axes.Tick]
    hours: list[chart_axes.Hour]
    gaps: list[chart_axes.Stretch]
    band: list[str]
    band_words: str
    marks: list[chart_axes.Placed]
    rows_of_labels: int
    # The last value, printed at the line's end: its height and its text.
    last_y: float
    last: str
    start: datetime
    end: datetime
    # Every how many points a row, and the rows: time and the value of each line.
    table: list[tuple[datetime, list[str]]]
    table_note: str
    data: str
    csv: str = ""
    # Heights of the limits with their words, and the places of points that broke the rule.
    limits: list[tuple[float, str]] = field(default_factory=list)
    faults: list[tuple[float, float]] = field(default_factory=list)


def finite(value: object) -> float | None:
    """The number, or None for what is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def interval(estimate: object, ends: object, limit: object) -> Interval | None:
    """Lay out an interval; None when the numbers are not there."""
    dot = finite(estimate)
    if dot is None or not isinstance(ends, list | tuple) or len(ends) != 2:
        return None
    low, high = finite(ends[0]), finite(ends[1])
    if low is None or high is None:
        return None
    edge = finite(limit)
    marks = [low, high, dot, 0.0, *([edge] if edge is not None else [])]
    least, most = min(marks), max(marks)
    span = (most - least) or 1.0

    def at(value: float) -> float:
        return round(10 + 300 * (value - least) / span, 1)

    words = f"{dot:.4g}, interval {low:.4g} to {high:.4g}" + (f", limit {edge:.4g}" if edge is not None else "")
    return Interval(at(low), at(dot), at(high), None if edge is None else at(edge), words)


Point = tuple[float, float | None]


@dataclass
class _Drawing:
    """What the functions below share: the series, and where the plot begins and ends."""

    series: dict[str, list[Point]]
    start: float
    end: float
    low: float
    high: float
    gaps: list[tuple[float, float]] = field(default_factory=list)

    def x(self, when: float) -> float:
        """A time in per cent of the width."""
        return round(100 * (when - self.start) / (self.end - self.start), 2)

    def y(self, value: float) -> float:
        """A value in per cent of the height, from the top."""
        return round(100 - 100 * (value - self.low) / (self.high - self.low), 2)

    def spot(self, when: float, value: float) -> str:
        """A point in the plot's own units."""
        return f"{self.x(when) * UNITS / 100:.1f},{self.y(value) * UNITS / 100:.1f}"


def limits(found: Any) -> list[Limit]:
    """Limits as they are stored: `[[0.92, "pass ≥ 0.92"], …]`; what is none is left out."""
    pairs = [pair for pair in found if isinstance(pair, list | tuple) and len(pair) == 2] if _is_list(found) else []
    return [Limit(value, str(words)) for number, words in pairs if (value := finite(number)) is not None]


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def lines(
    series: Any,
    *,
    unit: str = "",
    name: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
    step: float | None = None,
    band: Band | None = None,
    marks: Sequence[Mark] = (),
    limits: Sequence[Limit] = (),
    faults: Sequence[float] = (),
    until: datetime | None = None,
    id: str = "chart",  # noqa: A002  it becomes the element's id
    csv: str = "",
) -> Chart | None:
    """Lay out `{label: [[unix, value], …]}`; the first series is drawn in ink, the others as comparisons.

    Without `start` and `end` the plot spans its points; what is after `until` is the future and misses nothing.
    `faults` are the times of points of the first series that broke the rule. None when there is nothing to draw: fewer
    than two times, or no finite value at all. It never raises, whatever a provider stored.
    """
    if not isinstance(series, Mapping) or not series:
        return None
    told = {str(label): _points(points) for label, points in list(series.items())[:_LINES]}
    # A comparison without any point (nothing was kept of yesterday) is no line, and no word in the legend.
    clean = _same_hours({label: points for nth, (label, points) in enumerate(told.items()) if points or nth == 0})
    times = [when for points in clean.values() for when, _ in points]
    times += [edge.timestamp() for edge in (start, end) if edge is not None]
    values = [value for points in clean.values() for _, value in points if value is not None]
    if not values or len(times) < 2 or min(times) == max(times):
        return None
    first = start.timestamp() if start else min(times)
    last = end.timestamp() if end else max(times)
    usual = [value for value in (*band.low, *band.high) if value is not None] if band else []
    usual += [limit.value for limit in limits]
    axis = chart_axes.axis(min([*values, *usual]), max([*values, *usual]))
    plot = _Drawing(clean, first, last, axis.low, axis.high)
    main = next(iter(clean))
    whole = _broken(clean[main], step)
    # Only where the window itself was asked for does it say anything that a line begins late or ends early.
    known = min(last, until.timestamp()) if until else last
    plot.gaps = _gaps(whole, first if start else None, known if end else None, step or _distance(clean[main]))
    drawn = [
        Line(label, *_pieces(plot, whole if label == main else _broken(points, None)), compared=label != main)
        for label, points in clean.items()
    ]
    ends = [(when, value) for when, value in whole if value is not None and first <= when <= last]
    # The main series may hold nothing where only its comparison has data.
    last_value = ends[-1][1] if ends else None
    placed = chart_axes.place(
        [(mark, plot.x(mark.at.timestamp())) for mark in marks if first <= mark.at.timestamp() <= last]
    )
    table, note = _table(clean, axis.digits)
    at_fault = set(faults)
    broken = [(when, value) for when, value in ends if when in at_fault]
    return Chart(
        id=id,
        label=_sentence(name or main, unit, whole, plot, axis.digits, marks) + _said(limits, broken),
        unit=unit,
        lines=drawn,
        ticks=[chart_axes.Tick(plot.y(value), text) for value, text in axis.ticks],
        hours=chart_axes.hours(first, last),
        gaps=[chart_axes.Stretch(plot.x(a), round(plot.x(b) - plot.x(a), 2)) for a, b in plot.gaps],
        band=_band(plot, band) if band else [],
        band_words=band.words if band else "",
        marks=placed,
        rows_of_labels=max((mark.row for mark in placed if mark.label), default=-1) + 1,
        last_y=plot.y(last_value) if last_value is not None else 0.0,
        last=chart_axes.short(last_value) if last_value is not None else "",
        start=_moment(first),
        end=_moment(last),
        table=table,
        table_note=note,
        data=_data(plot, clean, axis, band, placed, unit, step, limits, broken),
        csv=csv,
        limits=[(plot.y(limit.value), limit.words) for limit in limits],
        faults=[(plot.x(when), plot.y(value)) for when, value in broken],
    )


def _points(points: Any) -> list[Point]:
    pairs = (
        [point for point in points if isinstance(point, list | tuple) and len(point) == 2]
        if isinstance(points, list)
        else []
    )
    found = [(when, finite(value)) for moment, value in pairs if (when := finite(moment)) is not None]
    # A time that no calendar holds cannot be drawn, and must not take the page with it.
    return sorted((point for point in found if 0 <= point[0] < 4e9), key=lambda point: point[0])


def _same_hours(series: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Comparisons of other days moved by whole days onto the first series, so that the same hours lie on each other."""
    main = next(iter(series.values()), [])
    if not main:
        return series
    moved = {}
    for label, points in series.items():
        days = math.floor((main[-1][0] - points[-1][0]) / DAY + 0.1) if points else 0
        moved[f"{label}, same hours" if days >= 1 else label] = [
            (when + max(0, days) * DAY, value) for when, value in points
        ]
    return moved


def _distance(points: list[Point]) -> float:
    """The usual distance of two points; 0 for fewer than two."""
    between = sorted(b[0] - a[0] for a, b in itertools.pairwise(points))
    return between[len(between) // 2] if between else 0.0


def _broken(points: list[Point], step: float | None) -> list[Point]:
    """The points with a None wherever one or more are missing between two of them."""
    usual = step or _distance(points)
    whole: list[Point] = []
    for when, value in points:
        if whole and usual and when - whole[-1][0] > _BROKEN * usual and whole[-1][1] is not None:
            whole.append((whole[-1][0] + usual, None))
        whole.append((when, value))
    return whole


def _gaps(points: list[Point], start: float | None, end: float | None, step: float) -> list[tuple[float, float]]:
    """The stretches without data, from the last point before to the first after."""
    known = [when for when, value in points if value is not None]
    if not known:
        return []
    found: list[tuple[float, float]] = []
    before: float | None = None
    is_broken = False
    for when, value in points:
        if value is None:
            is_broken = before is not None
            continue
        if is_broken and before is not None:
            found.append((before, when))
        before, is_broken = when, False
    if start is not None and known[0] - start > _BROKEN * step:
        found.insert(0, (start, known[0]))
    if end is not None and end - known[-1] > _BROKEN * step:
        found.append((known[-1], end))
    return found


def _pieces(plot: _Drawing, points: list[Point]) -> tuple[list[str], list[tuple[float, float]]]:
    """Polylines of the unbroken stretches, and the places of points that stand alone."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for when, value in points:
        if value is None or not plot.start <= when <= plot.end:
            stretches.append([])
        else:
            stretches[-1].append((when, value))
    pieces = [" ".join(plot.spot(*point) for point in stretch) for stretch in stretches if len(stretch) > 1]
    alone = [stretch[0] for stretch in stretches if len(stretch) == 1]
    return pieces, [(plot.x(when), plot.y(value)) for when, value in alone]


def _band(plot: _Drawing, band: Band) -> list[str]:
    """Polygons of the band: there along the top, back along the bottom."""
    found: list[str] = []
    run: list[tuple[float, float, float]] = []
    rows = [*zip(band.times, band.low, band.high, strict=False), (math.inf, None, None)]
    for when, low, high in rows:
        if low is not None and high is not None and plot.start <= when <= plot.end:
            run.append((when, low, high))
            continue
        if len(run) > 1:
            there = [plot.spot(at, top) for at, _, top in run]
            back = [plot.spot(at, bottom) for at, bottom, _ in reversed(run)]
            found.append(" ".join(there + back))
        run = []
    return found


def _table(series: dict[str, list[Point]], digits: int) -> tuple[list[tuple[datetime, list[str]]], str]:
    """At most 24 rows: the value of each line at evenly chosen times of the first."""
    main = next(iter(series.values()))
    every = max(1, math.ceil(len(main) / _TABLE_ROWS))
    others = [dict(points) for points in list(series.values())[1:]]
    rows = []
    for when, value in main[::-every][::-1]:
        cells = [value, *(points.get(when) for points in others)]
        rows.append((_moment(when), ["missing" if cell is None else f"{cell:.{digits + 1}f}" for cell in cells]))
    note = "" if every == 1 else f"Every {every}th of {len(main)} points"
    return rows, note


def _sentence(name: str, unit: str, points: list[Point], plot: _Drawing, digits: int, marks: Sequence[Mark]) -> str:
    """What the drawing shows, for those who do not see it."""
    known = [value for _, value in points if value is not None]
    span = f"{_moment(plot.start):%d %b %H:%M} to {_moment(plot.end):%H:%M} UTC"
    if not known:
        return f"{name}, {span}: no data"
    shown = [chart_axes.short(value) for value in (known[0], known[-1], min(known), max(known))]
    said = f"{name}, {span}: from {shown[0]} to {shown[1]}{f' {unit}' if unit else ''}"
    said += f", lowest {shown[2]}, highest {shown[3]}"
    if plot.gaps:
        said += f"; no data in {len(plot.gaps)} stretch{'es' if len(plot.gaps) > 1 else ''}"
    told = [
        f"{mark.label} at {mark.at.astimezone(UTC):%H:%M}"
        for mark in marks
        if plot.start <= mark.at.timestamp() <= plot.end
    ]
    return said + (f"; {', '.join(told[:6])}" if told else "") + "."


def _said(limits: Sequence[Limit], broken: Sequence[tuple[float, float]]) -> str:
    """The same of limits and of what broke them."""
    said = f" Limit: {'; '.join(limit.words for limit in limits)}." if limits else ""
    times = ", ".join(f"{_moment(when):%d %b %H:%M}" for when, _ in broken[:6])
    return said + (f" {len(broken)} broke the rule: {times}{' …' if len(broken) > 6 else ''}." if broken else "")


def _data(
    plot: _Drawing,
    series: dict[str, list[Point]],
    axis: chart_axes.Axis,
    band: Band | None,
    marks: Sequence[chart_axes.Placed],
    unit: str,
    step: float | None,
    limits: Sequence[Limit],
    broken: Sequence[tuple[float, float]],
) -> str:
    """What uPlot draws the same from, as JSON."""

    def rounded(value: float | None) -> float | None:
        return None if value is None else float(f"{value:.6g}")

    names = list(series)
    whole = {label: _broken(points, step if label == names[0] else None) for label, points in series.items()}
    told = {
        "unit": unit,
        "range": [plot.start, plot.end, axis.low, axis.high],
        "ticks": [value for value, _ in axis.ticks],
        "digits": axis.digits,
        "lines": [
            {"label": label, "t": [when for when, _ in points], "v": [rounded(value) for _, value in points]}
            for label, points in whole.items()
        ],
        "gaps": [list(gap) for gap in plot.gaps],
        "limits": [{"v": limit.value, "words": limit.words} for limit in limits],
        "faults": [[when, rounded(value)] for when, value in broken],
        "band": {
            "t": list(band.times),
            "low": [rounded(value) for value in band.low],
            "high": [rounded(value) for value in band.high],
        }
        if band
        else None,
        "marks": [
            {
                "kind": mark.kind,
                "t": mark.at.timestamp(),
                "label": mark.label,
                "row": mark.row,
                "left": mark.to_left,
                "extra": mark.is_extra,
            }
            for mark in marks
        ],
    }
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
