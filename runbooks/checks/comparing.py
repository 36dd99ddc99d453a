"""Now against before: a difference with its interval, and the verdict that both together allow. Pure functions.

A problem needs effect and significance: the interval excludes zero and the estimate reaches the margin
(evaluations.stats.verdict_diff). Intervals: rates by Newcombe; means by Welch with the number of points reduced for
their autocorrelation; quantiles by order statistics, their difference by the square-and-add rule of Newcombe's method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from evaluations import stats


@dataclass(frozen=True)
class Comparison:
    """Two windows of one measurement. `n_now` and `n_before` are events, or points where only points are known."""

    now: float | None
    before: float | None
    diff: float | None
    lo: float | None
    hi: float | None
    n_now: int
    n_before: int
    margin: float
    verdict: str
    method: str


def confidence(looks: int) -> float:
    """95 %, with the error probability divided by the number of looks (Bonferroni)."""
    return 1 - 0.05 / max(1, looks)


def rates(
    *, k_now: int, n_now: int, k_before: int, n_before: int, margin: float, min_n: int, better: str, looks: int = 1
) -> Comparison:
    """Two independent rates."""
    found = stats.newcombe_diff_ci(k1=k_now, n1=n_now, k2=k_before, n2=n_before, conf=confidence(looks))
    now, before = (k_now / n_now if n_now else None), (k_before / n_before if n_before else None)
    return _judged(now, before, found["lo"], found["hi"], n_now, n_before, margin, min_n, better, "Newcombe's interval")


def means(
    now: Sequence[float], before: Sequence[float], *, margin: float, min_n: int, better: str, looks: int = 1
) -> Comparison:
    """Two means of points over time. Neighbouring points resemble one another, so fewer are counted (lag 1)."""
    first, second = _mean(now), _mean(before)
    lo = hi = None
    if first is not None and second is not None and len(now) > 1 and len(before) > 1:
        lo, hi = _welch(now, before, confidence(looks))
    method = "Welch's interval, points thinned for autocorrelation"
    return _judged(first, second, lo, hi, len(now), len(before), margin, min_n, better, method)


def point_quantiles(
    now: Sequence[float],
    before: Sequence[float],
    *,
    q: float,
    margin: float,
    min_n: int,
    better: str,
    looks: int = 1,
) -> Comparison:
    """A quantile of points, by order statistics."""
    ends = []
    for side in (now, before):
        value = stats.quantiles(x=list(side), q=[q])["q"][0]
        bounds = stats.quantile_ci(x=list(side), q=q, conf=confidence(looks))
        ends.append((value, bounds["lo"], bounds["hi"]))
    lo, hi = _square_and_add(ends[0], ends[1])
    method = "order statistics"
    return _judged(ends[0][0], ends[1][0], lo, hi, len(now), len(before), margin, min_n, better, method)


def bucket_quantiles(
    now: Sequence[tuple[str, float]],
    before: Sequence[tuple[str, float]],
    *,
    q: float,
    margin: float,
    min_n: int,
    better: str,
    looks: int = 1,
) -> Comparison:
    """A quantile of requests counted in cumulative buckets; finer than a bucket nothing can be known."""
    ends = [_bucket_ends(side, q, confidence(looks)) for side in (now, before)]
    lo, hi = _square_and_add(ends[0], ends[1])
    counts = [_total(side) for side in (now, before)]
    method = "order statistics inside histogram buckets"
    return _judged(ends[0][0], ends[1][0], lo, hi, counts[0], counts[1], margin, min_n, better, method)


def bucket_quantile(buckets: Sequence[tuple[str, float]], q: float) -> float | None:
    """The quantile of cumulative buckets as Prometheus computes it."""
    value = stats.histogram_quantile(q=q, buckets=[[le, count] for le, count in buckets])["value"]
    return value if isinstance(value, float | int) else None


def _judged(
    now: float | None,
    before: float | None,
    lo: float | None,
    hi: float | None,
    n_now: int,
    n_before: int,
    margin: float,
    min_n: int,
    better: str,
    method: str,
) -> Comparison:
    diff = now - before if now is not None and before is not None else None
    n = min(n_now, n_before)
    verdict = stats.verdict_diff(est=diff, lo=lo, hi=hi, n=n, margin=margin, min_n=min_n, better=better)["verdict"]
    return Comparison(now, before, diff, lo, hi, n_now, n_before, margin, verdict, method)


End = tuple[float | None, float | None, float | None]


def _square_and_add(now: End, before: End) -> tuple[float | None, float | None]:
    """The interval of a difference from the intervals of its two sides (value, lo, hi)."""
    a, a_lo, a_hi = now
    b, b_lo, b_hi = before
    if a is None or a_lo is None or a_hi is None or b is None or b_lo is None or b_hi is None:
        return None, None
    diff = a - b
    return diff - math.hypot(a - a_lo, b_hi - b), diff + math.hypot(a_hi - a, b - b_lo)


def _total(buckets: Sequence[tuple[str, float]]) -> int:
    return round(max((count for _, count in buckets), default=0))


def _bucket_ends(buckets: Sequence[tuple[str, float]], q: float, conf: float) -> End:
    from scipy.stats import binom  # noqa: PLC0415  slow to import

    total = _total(buckets)
    value = bucket_quantile(buckets, q)
    if total == 0 or value is None:
        return value, None, None
    lower = float(binom.ppf((1 - conf) / 2, total, q))
    upper = float(binom.ppf(1 - (1 - conf) / 2, total, q)) + 1
    if lower < 1 or upper > total:
        return value, None, None
    return value, bucket_quantile(buckets, lower / total), bucket_quantile(buckets, upper / total)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _effective(values: Sequence[float]) -> tuple[float, float]:
    """The variance of the mean's points and how many independent points they are worth."""
    n = len(values)
    mean = math.fsum(values) / n
    deviations = [value - mean for value in values]
    squares = math.fsum(d * d for d in deviations)
    if squares == 0:
        return 0.0, float(n)
    lag = math.fsum(a * b for a, b in pairwise(deviations)) / squares
    lag = min(0.95, max(0.0, lag))
    return squares / (n - 1), max(2.0, n * (1 - lag) / (1 + lag))


def _welch(now: Sequence[float], before: Sequence[float], conf: float) -> tuple[float, float]:
    from scipy.stats import t  # noqa: PLC0415  slow to import

    (var_a, n_a), (var_b, n_b) = _effective(now), _effective(before)
    diff = math.fsum(now) / len(now) - math.fsum(before) / len(before)
    a, b = var_a / n_a, var_b / n_b
    if a + b == 0:
        return diff, diff
    freedom = (a + b) ** 2 / ((a * a / (n_a - 1)) + (b * b / (n_b - 1)))
    half = float(t.ppf(1 - (1 - conf) / 2, freedom)) * math.sqrt(a + b)
    return diff - half, diff + half
