"""Where the marks of a small drawing go: pure functions from numbers to coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and limit on a line of 320 units; `label` says the same in words."""

    low: float
    dot: float
    high: float
    limit: float | None
    label: str


@dataclass(frozen=True)
class Line:
    """One series as pieces of a polyline: missing data breaks it, and is never joined."""

    pieces: list[str]
    compared: bool = False


@dataclass(frozen=True)
class Tick:
    """A grid line."""

    y: float


@dataclass(frozen=True)
class Chart:
    """Series on a field of 640 × 160 units."""

    label: str
    lines: list[Line]
    ticks: list[Tick] = field(default_factory=lambda: [Tick(40), Tick(80), Tick(120)])


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


def lines(series: Any, *, unit: str = "") -> Chart | None:
    """Lay out `{label: [[unix, value], …]}`; the first series is drawn in ink, the others as comparisons."""
    if not isinstance(series, dict) or not series:
        return None
    clean = {str(label): _points(points) for label, points in list(series.items())[:6]}
    values = [value for points in clean.values() for _, value in points if value is not None]
    times = [when for points in clean.values() for when, _ in points]
    if len(times) < 2 or not values:
        return None
    first, last, least, most = min(times), max(times), min(values), max(values)
    wide, tall = (last - first) or 1.0, (most - least) or 1.0

    def drawn(points: list[tuple[float, float | None]]) -> list[str]:
        pieces: list[list[str]] = [[]]
        for when, value in points:
            if value is None:
                pieces.append([])
                continue
            x, y = 640 * (when - first) / wide, 150 - 140 * (value - least) / tall
            pieces[-1].append(f"{x:.1f},{y:.1f}")
        return [" ".join(piece) for piece in pieces if piece]

    names = ", ".join(clean)
    label = f"{names}: {least:.4g} to {most:.4g}{f' {unit}' if unit else ''}, last {values[-1]:.4g}"
    return Chart(label, [Line(drawn(points), compared=nth > 0) for nth, points in enumerate(clean.values())])


def _points(points: Any) -> list[tuple[float, float | None]]:
    pairs = (
        [point for point in points if isinstance(point, list | tuple) and len(point) == 2]
        if isinstance(points, list)
        else []
    )
    return [(when, finite(value)) for moment, value in pairs if (when := finite(moment)) is not None]
