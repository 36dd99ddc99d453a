"""Series of measurements: quantiles, counters, outliers, onsets and sequential decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import TypedDict

# The two scale factors of Iglewicz and Hoaglin (1993): they make MAD and mean deviation comparable to a sd.
_MAD_SCALE = 0.6745
_MEAN_AD_SCALE = 1.253314


class Outliers(TypedDict):
    """What `gesd` answers."""

    n_outliers: int
    positions: list[int]


def quantiles(x: Sequence[float | None], q: Sequence[float]) -> dict[str, list[float | None]]:
    """Type-7 quantiles (linear between order statistics, numpy's default; Hyndman and Fan 1996)."""
    known = sorted(float(value) for value in x if value is not None)
    if not known:
        return {"q": [None for _ in q]}
    return {"q": [_type_7(known, level) for level in q]}


def _type_7(ordered: Sequence[float], level: float) -> float:
    place = (len(ordered) - 1) * level
    below = min(math.floor(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def quantile_ci(x: Sequence[float | None], q: float, conf: float = 0.95) -> dict[str, float | None]:
    """A distribution-free interval of the q-quantile from order statistics (David and Nagaraja).

    l = binom quantile(α/2; n, q), u = binom quantile(1−α/2; n, q) + 1, counted from 1; lo is None when l < 1, hi when
    u > n: the sample is then too small for a bound on that side.
    """
    from scipy import stats  # noqa: PLC0415  slow to import

    known = sorted(float(value) for value in x if value is not None)
    n, tail = len(known), (1 - conf) / 2
    if n == 0:
        return {"l": None, "u": None, "lo": None, "hi": None}
    lower, upper = int(stats.binom.ppf(tail, n, q)), int(stats.binom.ppf(1 - tail, n, q)) + 1
    return {
        "l": lower,
        "u": upper,
        "lo": known[lower - 1] if lower >= 1 else None,
        "hi": known[upper - 1] if upper <= n else None,
    }


def histogram_quantile(q: float, buckets: Sequence[Sequence[str | float]]) -> dict[str, float | str | None]:
    """Prometheus' histogram_quantile on cumulative classic buckets [[le, count], …] that end with "+Inf".

    Linear inside the bucket; the first bucket starts at 0 if its edge is positive, else its edge is the answer; in the
    +Inf bucket the highest finite edge is. Counts below their predecessor are raised to it.
    """
    if q < 0 or q > 1:
        return {"value": "-Infinity" if q < 0 else "Infinity"}
    edges = [float(str(le).replace("+Inf", "inf")) for le, _ in buckets]
    counts: list[float] = []
    for _, count in buckets:
        counts.append(max(float(count), counts[-1]) if counts else float(count))
    if len(edges) < 2 or not math.isinf(edges[-1]) or counts[-1] <= 0:
        return {"value": None}
    rank = q * counts[-1]
    at = next((i for i, count in enumerate(counts[:-1]) if count >= rank), len(counts) - 1)
    if at == len(counts) - 1:
        return {"value": edges[-2]}
    if at == 0 and edges[0] <= 0:
        return {"value": edges[0]}
    start, before = (edges[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    if counts[at] == before:
        return {"value": None}
    return {"value": start + (edges[at] - start) * (rank - before) / (counts[at] - before)}


def counter_increase(samples: Sequence[float | None]) -> dict[str, float | None]:
    """How much a counter grew over ordered samples; a fall is a reset and counts from zero. No extrapolation.

    Missed scrapes (None) are skipped. Fewer than two samples give no increase.
    """
    known = [float(value) for value in samples if value is not None]
    if len(known) < 2:
        return {"increase": None, "resets": 0}
    steps = [(after, after < before, after - before) for before, after in pairwise(known)]
    return {
        "increase": math.fsum(after if reset else grown for after, reset, grown in steps),
        "resets": sum(reset for _, reset, _ in steps),
    }


def robust_z(x: float, baseline: Sequence[float | None]) -> dict[str, float | str | None]:
    """The modified z-score 0.6745·(x − median)/MAD of x against a baseline (Iglewicz and Hoaglin 1993; limit 3.5).

    A MAD of 0 is replaced by the mean deviation, (x − median)/(1.253314·MeanAD); if that is 0 too, any difference is
    infinite. Fewer than three values are no baseline.
    """
    known = [float(value) for value in baseline if value is not None]
    if len(known) < 3:
        return {"median": None, "mad": None, "z": None}
    middle = median(known)
    deviations = [abs(value - middle) for value in known]
    mad, mean_ad = median(deviations), math.fsum(deviations) / len(deviations)
    z: float | str
    if mad > 0:
        z = _MAD_SCALE * (x - middle) / mad
    elif mean_ad > 0:
        z = (x - middle) / (_MEAN_AD_SCALE * mean_ad)
    elif x == middle:
        z = 0.0
    else:
        z = "Infinity" if x > middle else "-Infinity"
    return {"median": middle, "mad": mad, "z": z}


def gesd(x: Sequence[float], max_outliers: int, alpha: float = 0.05) -> Outliers:
    """Generalised extreme studentised deviate, two-sided (Rosner 1983): how many outliers, and where.

    R(i) is the largest |value − mean|/sd after taking out i−1 of them, λ(i) its limit from Student's t; the count is
    the largest i with R(i) > λ(i). Of equal deviations the first position goes first.
    """
    from scipy.special import stdtrit  # noqa: PLC0415  slow to import

    n = len(x)
    left = list(enumerate(float(value) for value in x))
    removed: list[int] = []
    count = 0
    for i in range(1, min(max_outliers, n - 2) + 1):
        mean = math.fsum(value for _, value in left) / len(left)
        sd = math.sqrt(math.fsum((value - mean) ** 2 for _, value in left) / (len(left) - 1))
        if sd == 0 or all(value == left[0][1] for _, value in left):
            break
        place, (position, value) = max(enumerate(left), key=lambda entry: (abs(entry[1][1] - mean), -entry[0]))
        removed.append(position)
        del left[place]
        t = float(stdtrit(n - i - 1, 1 - alpha / (2 * (n - i + 1))))
        limit = (n - i) * t / math.sqrt((n - i - 1 + t * t) * (n - i + 1))
        if abs(value - mean) / sd > limit:
            count = i
    return {"n_outliers": count, "positions": sorted(removed[:count])}


def cusum_onset(x: Sequence[float]) -> dict[str, float | None]:
    """Where the level changed: the largest |cumulative sum of deviations from the mean| (Taylor 2000), and by how much.

    `index` is the first position of the new level; `shift` is mean(after) − mean(before). None for fewer than four
    values or a constant series.
    """
    n = len(x)
    if n < 4 or min(x) == max(x):
        return {"index": None, "shift": None}
    mean = math.fsum(x) / n
    best, at, total = -1.0, 0, 0.0
    for position, value in enumerate(x[:-1]):
        total += value - mean
        if abs(total) > best + 1e-12:
            best, at = abs(total), position
    before, after = x[: at + 1], x[at + 1 :]
    return {"index": at + 1, "shift": math.fsum(after) / len(after) - math.fsum(before) / len(before)}


def sprt(
    p0: float, p1: float, outcomes: Sequence[int], alpha: float = 0.05, beta: float = 0.05
) -> dict[str, str | int]:
    """Wald's sequential test (1945) of a failure rate p0 against p1 > p0 over outcomes (1 is a failure).

    Adds ln(p1/p0) or ln((1−p1)/(1−p0)); "h1" at ln((1−β)/α) or above, "h0" at ln(β/(1−α)) or below, else "continue".
    `n` says how many outcomes the decision took.
    """
    failed, passed = math.log(p1 / p0), math.log((1 - p1) / (1 - p0))
    upper, lower = math.log((1 - beta) / alpha), math.log(beta / (1 - alpha))
    total = 0.0
    for n, outcome in enumerate(outcomes, start=1):
        total += failed if outcome else passed
        if total >= upper:
            return {"decision": "h1", "n": n}
        if total <= lower:
            return {"decision": "h0", "n": n}
    return {"decision": "continue", "n": len(outcomes)}
