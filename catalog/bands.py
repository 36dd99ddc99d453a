"""What is usual for a signal at a time of the day: the 10 to 90 % range of the same hours of earlier days.

Shown as the band behind a signal's line. It decides nothing: verdicts come from the checks' statistics.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from catalog.connectors.base import ConnectorError

# The seven days before, and the same weekday of the three weeks before those.
DAYS = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)
# Fewer earlier days than this say too little about what is usual at an hour.
_MIN_DAYS = 3
# The band has a point at every fourth of the line, made of what lies up to six steps to both sides.
_EVERY, _BESIDE = 4, 6
_MIN_POINTS = 10
_AHEAD = timedelta(hours=1)
_FALLBACK = timedelta(hours=6)
_LOW, _MID, _HIGH = 0.1, 0.5, 0.9

# Reads (start, end, step); raises ConnectorError.
Reader = Callable[[datetime, datetime, float], list[tuple[float, float]]]


def usual(
    read: Reader,
    start: datetime,
    end: datetime,
    step: int,
    *,
    unusual: Sequence[tuple[datetime, datetime]] = (),
    calm: Sequence[float] = (),
) -> dict[str, Any]:
    """The band from `start` to an hour after `end`, with words that say how it was made; empty lists where none can be.

    `unusual` are stretches of trouble; what lies in them is no example. Where the source holds no three earlier days,
    the six hours before the window stand in; where not even those, `calm`: the window's values from before its trouble.
    Never raises: without a band there is still the line, and the words say why.
    """
    end += _AHEAD
    band: dict[str, Any] = {"start": start.timestamp(), "step": step * _EVERY, "for_step": step}
    count = int((end - start).total_seconds() // (step * _EVERY)) + 1
    margin = timedelta(seconds=step * _BESIDE)
    try:
        days = _earlier_days(read, start - margin, end + margin, step, unusual)
        if len(days) >= _MIN_DAYS:
            points = sorted(point for day in days for point in day)
            rows = [_row(points, band["start"] + place * step * _EVERY, step * _BESIDE) for place in range(count)]
            words = f"Band: 10 to 90 % of the same hours of {len(days)} earlier days"
        else:
            before = [value for _, value in _outside(read(start - _FALLBACK, start, step), unusual)]
            of_them = f"the {_FALLBACK.seconds // 3600} h before; the source holds no 3 earlier days"
            if len(before) < _MIN_POINTS:
                before, of_them = list(calm), "what came before the onset; the source holds nothing older"
            rows = [_range(sorted(before))] * count
            words = f"Band: 10 to 90 % of {of_them}"
    except ConnectorError as error:
        return band | {"low": [], "mid": [], "high": [], "words": f"No band: {error.sentence}"[:300]}
    if not any(row[0] is not None for row in rows):
        return band | {"low": [], "mid": [], "high": [], "words": "No band: the source holds nothing from before."}
    left_out = ", without the hours of other incidents" if unusual else ""
    low, mid, high = (list(column) for column in zip(*rows, strict=True))
    return band | {"low": low, "mid": mid, "high": high, "words": f"{words}{left_out}."}


def reaches(band: dict[str, Any]) -> float:
    """Until when (unix seconds) the band says something; a band that could not be made counts for its hour, too."""
    count = max(len(band["low"]) - 1, 0)
    return float(band["start"] + count * band["step"]) if count else float(band["start"] + _AHEAD.total_seconds())


def at(band: dict[str, Any], when: float) -> tuple[float, float] | None:
    """Low and high at a time, between the band's points; None where it says nothing."""
    if not band or not band.get("low"):
        return None
    place = (when - band["start"]) / band["step"]
    left = int(place)
    if place < 0 or left >= len(band["low"]):
        return None
    right = min(left + 1, len(band["low"]) - 1)
    share = place - left
    ends = []
    for side in ("low", "high"):
        a, b = band[side][left], band[side][right]
        if a is None or b is None:
            return None
        ends.append(a + (b - a) * share)
    return ends[0], ends[1]


def _earlier_days(
    read: Reader, start: datetime, end: datetime, step: int, unusual: Sequence[tuple[datetime, datetime]]
) -> list[list[tuple[float, float]]]:
    """The points of each earlier day that has at least half of them, moved onto the window's own hours.

    A window over a day long would meet itself in the days before, so then only whole weeks are asked.
    """
    length = (end - start).total_seconds()
    enough = 0.5 * length / step
    days = []
    for days_ago in DAYS:
        ago = timedelta(days=days_ago)
        if ago.total_seconds() < length:
            continue
        points = _outside(read(start - ago, end - ago, step), unusual)
        if len(points) >= enough:
            days.append([(when + ago.total_seconds(), value) for when, value in points])
    return days


def _outside(
    points: list[tuple[float, float]], unusual: Sequence[tuple[datetime, datetime]]
) -> list[tuple[float, float]]:
    stretches = [(start.timestamp(), end.timestamp()) for start, end in unusual]
    return [point for point in points if not any(start <= point[0] <= end for start, end in stretches)]


Row = tuple[float | None, float | None, float | None]


def _row(points: list[tuple[float, float]], when: float, beside: float) -> Row:
    """The range of what lies around a time."""
    first = bisect_left(points, when - beside, key=lambda point: point[0])
    last = bisect_right(points, when + beside, key=lambda point: point[0])
    return _range(sorted(value for _, value in points[first:last]))


def _range(values: list[float]) -> Row:
    """Low, middle and high of sorted values; None for fewer than ten."""
    if len(values) < _MIN_POINTS:
        return None, None, None
    return _quantile(values, _LOW), _quantile(values, _MID), _quantile(values, _HIGH)


def _quantile(values: list[float], q: float) -> float:
    place = q * (len(values) - 1)
    left = int(place)
    right = min(left + 1, len(values) - 1)
    return float(f"{values[left] + (values[right] - values[left]) * (place - left):.6g}")
