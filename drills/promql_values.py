"""What PromQL's parts compute: selectors, operators and functions, as closures over time."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from drills.metrics import STEP, Labels, Track

# Prometheus looks back this far for the last sample of a series.
LOOKBACK = 300.0
# Rows, not a dictionary: hashing the labels of 200 series at 240 times is what would take the time.
Vector = list[tuple[Labels, float]]
Value = float | Vector
Node = Callable[[float], Value]


class BadQuery(Exception):
    """The query cannot be understood; the message is Prometheus' way of saying so."""


class Store(Protocol):
    """Where series come from."""

    def select(self, name: str, fits: Callable[[dict[str, str]], bool]) -> list[Track]:
        """The series (of that name, unless empty) whose labels fit."""

    def numbers(self, after: float, until: float) -> tuple[int, int]:
        """First and last sample with after < time <= until."""

    def moment(self, number: int) -> float:
        """The time of a sample, Unix seconds."""


class Frame(NamedTuple):
    """A range at one time: its ends in seconds, the numbers of the first and last sample in it, and their times."""

    start: float
    end: float
    first: int
    last: int
    first_at: float
    last_at: float


class Memo:
    """Remembers what a function made of labels, by identity: all labels live as long as their query does."""

    def __init__(self, make: Callable[[Labels], Labels]) -> None:
        self._make = make
        self._kept: dict[int, tuple[Labels, Labels]] = {}

    def __call__(self, labels: Labels) -> Labels:
        """What the function makes of them; keeps both alive, so that an identity is never used twice."""
        found = self._kept.get(id(labels))
        if found is None:
            found = self._kept[id(labels)] = (labels, self._make(labels))
        return found[1]


@dataclass
class Selected:
    """An instant selector; `equal` holds its = matchers, for absent() to name what it looked for."""

    store: Store
    tracks: Sequence[Track]
    offset: float
    equal: dict[str, str]

    def __call__(self, at: float) -> Value:
        """The last sample of every series, not older than the look-back."""
        first, last = self.store.numbers(at - self.offset - LOOKBACK, at - self.offset)
        if last < first:
            return []
        found = ((track.labels, track.sample(last)) for track in self.tracks)
        return [(labels, value) for labels, value in found if value is not None]


@dataclass
class Ranged:
    """A range selector; only functions may take it."""

    store: Store
    tracks: Sequence[Track]
    seconds: float
    offset: float

    def at(self, at: float) -> Iterator[tuple[Track, Frame]]:
        """Every series that has samples in the range at that time, with the part of the range it covers."""
        end = at - self.offset
        start = end - self.seconds
        first, last = self.store.numbers(start, end)
        if last < first:
            return
        whole = Frame(start, end, first, last, self.store.moment(first), self.store.moment(last))
        for track in self.tracks:
            if track.first <= first:
                yield track, whole
            elif track.first <= last:
                yield track, whole._replace(first=track.first, first_at=self.store.moment(track.first))


def without_name(labels: Labels) -> Labels:
    """The labels without the metric's name; the same object when there is none."""
    return labels[1:] if labels and labels[0][0] == "__name__" else labels


def as_vector(value: Value) -> Vector:
    """The rows of an instant vector; BadQuery for a scalar."""
    if isinstance(value, float):
        raise BadQuery("expected type instant vector, got scalar")
    return value


def as_scalar(value: Value) -> float:
    """A scalar; BadQuery for a vector."""
    if not isinstance(value, float):
        raise BadQuery("expected type scalar, got instant vector")
    return value


# Operators.

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "count": lambda values: float(len(values)),
}


def aggregate(fold: Callable[[list[float]], float], inner: Node, group_of: Callable[[Labels], Labels]) -> Node:
    """Fold the values of every group of series."""
    group = Memo(group_of)

    def evaluate(at: float) -> Value:
        groups: dict[Labels, list[float]] = {}
        for labels, value in as_vector(inner(at)):
            groups.setdefault(group(labels), []).append(value)
        return [(labels, fold(values)) for labels, values in groups.items()]

    return evaluate


def arithmetic(sign: str, left: Node, right: Node, key: Callable[[Labels], Labels]) -> Node:
    """left + - * / right: scalars, a vector with a scalar, or two vectors matched one to one by `key`."""
    pairs, bare = _Pairs(key), Memo(without_name)

    def evaluate(at: float) -> Value:
        a, b = left(at), right(at)
        if isinstance(a, float) and isinstance(b, float):
            return _calculated(sign, a, b)
        return [(bare(labels), _calculated(sign, x, y)) for labels, x, y in pairs.of(a, b)]

    return evaluate


def comparison(sign: str, left: Node, right: Node, key: Callable[[Labels], Labels], *, as_bool: bool) -> Node:
    """left < right and so on: keeps the rows of the vector that hold, or answers 0 and 1 with `bool`."""
    pairs, bare, holds = _Pairs(key), Memo(without_name), COMPARE[sign]

    def evaluate(at: float) -> Value:
        a, b = left(at), right(at)
        if isinstance(a, float) and isinstance(b, float):
            if not as_bool:
                raise BadQuery("comparisons between scalars must use BOOL modifier")
            return float(holds(a, b))
        rows = pairs.of(a, b)
        if as_bool:
            return [(bare(labels), float(holds(x, y))) for labels, x, y in rows]
        return [(labels, y if isinstance(a, float) else x) for labels, x, y in rows if holds(x, y)]

    return evaluate


def set_operation(sign: str, left: Node, right: Node, key: Callable[[Labels], Labels]) -> Node:
    """and, or, unless."""

    def evaluate(at: float) -> Value:
        a, b = as_vector(left(at)), as_vector(right(at))
        if sign == "or":
            have = {key(labels) for labels, _ in a}
            return a + [(labels, value) for labels, value in b if key(labels) not in have]
        others = {key(labels) for labels, _ in b}
        return [(labels, value) for labels, value in a if (key(labels) in others) == (sign == "and")]

    return evaluate


class _Pairs:
    """Which row of the left side goes with which of the right."""

    def __init__(self, key: Callable[[Labels], Labels]) -> None:
        self._key = Memo(key)

    def of(self, a: Value, b: Value) -> list[tuple[Labels, float, float]]:
        if isinstance(b, float):
            return [(labels, value, b) for labels, value in as_vector(a)]
        if isinstance(a, float):
            return [(labels, a, value) for labels, value in b]
        others = {self._key(labels): value for labels, value in b}
        if len(others) < len(b):
            raise BadQuery("found duplicate series for the match group on the right hand-side of the operation")
        return [(labels, value, others[self._key(labels)]) for labels, value in a if self._key(labels) in others]


def _calculated(sign: str, a: float, b: float) -> float:
    if sign == "+":
        return a + b
    if sign == "-":
        return a - b
    if sign == "*":
        return a * b
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)
    return a / b


# Functions. They raise TypeError for arguments of the wrong kind; the parser says where.


def _over_range(fold: Callable[[Track, Frame], float | None]) -> Callable[..., Node]:
    def function(argument: Node | Ranged) -> Node:
        if not isinstance(argument, Ranged):
            raise TypeError
        bare = Memo(without_name)

        def evaluate(at: float) -> Value:
            found: Vector = []
            for track, frame in argument.at(at):
                value = fold(track, frame)
                if value is not None:
                    found.append((bare(track.labels), value))
            return found

        return evaluate

    return function


def _increase(track: Track, frame: Frame) -> float | None:
    """Growth of a counter over its range, stretched to the range's ends as Prometheus does. Ours never reset."""
    covered = frame.last_at - frame.first_at
    low, high = track.sample(frame.first), track.sample(frame.last)
    if covered <= 0 or low is None or high is None:
        return None
    grown = high - low
    if grown <= 0:
        return grown
    to_start, to_end = frame.first_at - frame.start, frame.end - frame.last_at
    # A series that begins or ends inside the range is not stretched by more than half a scrape,
    if to_start >= STEP * 1.1:
        to_start = STEP / 2
    if to_end >= STEP * 1.1:
        to_end = STEP / 2
    # nor to before it was zero.
    to_start = min(to_start, covered * low / grown)
    return grown * (covered + to_start + to_end) / covered


def _rate(track: Track, frame: Frame) -> float | None:
    grown = _increase(track, frame)
    return None if grown is None else grown / (frame.end - frame.start)


def _of_values(fold: Callable[[list[float]], float]) -> Callable[..., Node]:
    def folded(track: Track, frame: Frame) -> float | None:
        samples = (track.sample(number) for number in range(frame.first, frame.last + 1))
        values = [value for value in samples if value is not None]
        return fold(values) if values else None

    return _over_range(folded)


def _instant(argument: Node | Ranged) -> Node:
    if isinstance(argument, Ranged):
        raise TypeError
    return argument


def _histogram_quantile(level: Node | Ranged, buckets: Node | Ranged) -> Node:
    q, inner = _instant(level), _instant(buckets)
    group_of = Memo(lambda labels: tuple(pair for pair in labels if pair[0] not in ("le", "__name__")))

    def evaluate(at: float) -> Value:
        groups: dict[Labels, list[tuple[float, float]]] = {}
        for labels, count in as_vector(inner(at)):
            edge = dict(labels).get("le")
            if edge is not None:
                groups.setdefault(group_of(labels), []).append((float(edge.replace("+Inf", "inf")), count))
        wanted = as_scalar(q(at))
        return [(group, _quantile(wanted, sorted(found))) for group, found in groups.items()]

    return evaluate


def _quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    """Prometheus' rule for classic buckets; NaN without observations."""
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    if len(buckets) < 2 or not math.isinf(buckets[-1][0]) or buckets[-1][1] <= 0:
        return math.nan
    rank, start, before = q * buckets[-1][1], 0.0, 0.0
    for edge, count in buckets[:-1]:
        if count >= rank and count > before:
            return start + (edge - start) * (rank - before) / (count - before)
        start, before = edge, max(before, count)
    return buckets[-2][0]


def _absent(argument: Node | Ranged) -> Node:
    inner = _instant(argument)
    wanted = inner.equal if isinstance(inner, Selected) else {}
    labels = without_name(tuple(sorted(wanted.items())))
    return lambda at: [] if as_vector(inner(at)) else [(labels, 1.0)]


def _vector_of(argument: Node | Ranged) -> Node:
    inner = _instant(argument)
    return lambda at: [((), as_scalar(inner(at)))]


FUNCTIONS: dict[str, Callable[..., Node]] = {
    "rate": _over_range(_rate),
    "increase": _over_range(_increase),
    "avg_over_time": _of_values(lambda values: math.fsum(values) / len(values)),
    "min_over_time": _of_values(min),
    "max_over_time": _of_values(max),
    "sum_over_time": _of_values(math.fsum),
    "count_over_time": _of_values(lambda values: float(len(values))),
    "histogram_quantile": _histogram_quantile,
    "absent": _absent,
    "vector": _vector_of,
    "time": lambda: lambda at: at,
}
