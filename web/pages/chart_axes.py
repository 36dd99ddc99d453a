"""The frame of a chart: round numbers on its axes, and labels that do not lie on each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

# What a label takes, in pixels: about 6.3 a letter of 11 px, and the distance to the next.
_LETTER, _APART = 6.3, 12.0
# How wide a plot is on a desk and on a phone, for deciding what fits; the drawing itself stretches.
_DESK, _PHONE = 640.0, 250.0
_ROWS = 2
# A label beyond this part of the width (per cent) lies to the left of its mark; on a phone it may reach into margins.
_MIDDLE, _PHONE_MARGIN = 60.0, 40.0
_LONGEST = 26
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DISTANCES = [
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 30)),
]


@dataclass(frozen=True)
class Tick:
    """A grid line at a height in per cent, with its number."""

    y: float
    text: str


@dataclass(frozen=True)
class Hour:
    """A time on the x axis; every second one is left out on a phone."""

    x: float
    text: str
    is_extra: bool


@dataclass(frozen=True)
class Stretch:
    """A part of the width, in per cent."""

    x: float
    width: float


@dataclass(frozen=True)
class Axis:
    """A y axis from `low` to `high` with two to four round numbers on it, written with `digits` after the point."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    digits: int


class Marked(Protocol):
    """What is placed: something with a kind, a time and a label."""

    @property
    def kind(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class Placed:
    """A mark with the place of its label: which row above the plot, to which side. No label: there was no room."""

    kind: str
    at: datetime
    words: str
    url: str
    x: float
    label: str
    row: int
    to_left: bool
    is_extra: bool


def axis(least: float, most: float) -> Axis:
    """Round numbers around what is drawn; a share stays within 0 and 1, and what is never negative begins at 0."""
    if most - least < 1e-9 * max(abs(most), abs(least), 1e-9):
        room = abs(most) * 0.1 or 1.0
        least, most = (max(0.0, least - room) if least >= 0 else least - room), most + room
    elif least >= 0 and least < 0.5 * most:
        least = 0.0
    else:
        room = 0.06 * (most - least)
        inside = least >= 0 and most <= 1
        least, most = least - room, most + room
        if inside:
            least, most = max(0.0, least), min(1.0, most)
    step = _round_up((most - least) / 3)
    low, high = math.floor(least / step + 1e-9) * step, math.ceil(most / step - 1e-9) * step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != round(step, digits + 1):
        digits += 1
    count = round((high - low) / step)
    values = [low + place * step for place in range(count + 1)]
    return Axis(low, high, [(value, _written(value, digits)) for value in values], digits)


def _round_up(value: float) -> float:
    power = 10 ** math.floor(math.log10(value))
    return float(next(nice for nice in (1, 2, 2.5, 5, 10) if nice * power >= value * (1 - 1e-9)) * power)


def _written(value: float, digits: int) -> str:
    """A number of the axis; long ones as 25k or 3M, so that they fit beside it."""
    if value and abs(value) >= 10_000:
        size, sign = (1e6, "M") if abs(value) >= 1e6 else (1e3, "k")
        return f"{value / size:g}{sign}"
    return f"{value + 0.0:.{digits}f}"


def short(value: float) -> str:
    """A value in at most three significant digits, as it stands at a line's end."""
    if value and abs(value) >= 10_000:
        size, sign = (1e6, "M") if abs(value) >= 1e6 else (1e3, "k")
        return f"{value / size:.3g}{sign}"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def hours(start: float, end: float) -> list[Hour]:
    """At most six round times of UTC; midnight is written as the day."""
    span = end - start
    step = next((size for size in _DISTANCES if span / size <= 6), _DISTANCES[-1])
    found = []
    first = math.ceil(start / step)
    for place, number in enumerate(range(first, math.floor(end / step) + 1)):
        at = datetime.fromtimestamp(number * step, UTC)
        text = f"{at.day} {at:%b}" if step >= _DAY or (at.hour == 0 and at.minute == 0) else f"{at:%H:%M}"
        found.append(Hour(round(100 * (number * step - start) / span, 2), text, is_extra=place % 2 == 1))
    return found[:12]


def place(marks: Sequence[tuple[Marked, float]]) -> list[Placed]:
    """Labels in up to two rows: the onset first, then acts, then changes, the newest before older ones."""
    rank = {"onset": 0, "act": 1, "change": 2}
    desk: list[list[tuple[float, float]]] = [[] for _ in range(_ROWS)]
    phone: list[list[tuple[float, float]]] = [[] for _ in range(_ROWS)]
    found = []
    for mark, x in sorted(marks, key=lambda pair: (rank.get(pair[0].kind, 3), -pair[1])):
        label = f"{mark.label} {mark.at.astimezone(UTC):%H:%M}" if mark.kind == "onset" else mark.label
        label = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1].rstrip()}…"
        fit = _first_fit(desk, x, label)
        if fit is None:
            found.append(Placed(mark.kind, mark.at, mark.label, mark.url, x, "", 0, x > _MIDDLE, is_extra=True))
            continue
        row, to_left = fit
        narrow = _reach(x, label, _PHONE, to_left=to_left)
        fits = _is_free(phone[row], narrow) and narrow[0] >= -_PHONE_MARGIN and narrow[1] <= _PHONE + _PHONE_MARGIN
        desk[row].append(_reach(x, label, _DESK, to_left=to_left))
        if fits:
            phone[row].append(narrow)
        found.append(Placed(mark.kind, mark.at, mark.label, mark.url, x, label, row, to_left, is_extra=not fits))
    return sorted(found, key=lambda mark: mark.x)


def _first_fit(rows: list[list[tuple[float, float]]], x: float, label: str) -> tuple[int, bool] | None:
    """The lowest row with room for a label, and whether it lies to the left of its mark."""
    for number, taken in enumerate(rows):
        for to_left in (x > _MIDDLE, x <= _MIDDLE):
            wanted = _reach(x, label, _DESK, to_left=to_left)
            if _is_free(taken, wanted) and wanted[0] >= -_APART and wanted[1] <= _DESK + _APART:
                return number, to_left
    return None


def _reach(x: float, label: str, width: float, *, to_left: bool) -> tuple[float, float]:
    """From where to where a label lies, in pixels."""
    at, size = x * width / 100, len(label) * _LETTER + _APART
    return (at - size, at) if to_left else (at, at + size)


def _is_free(taken: list[tuple[float, float]], wanted: tuple[float, float]) -> bool:
    return all(wanted[1] <= start or end <= wanted[0] for start, end in taken)
