"""Rates: intervals for one proportion, comparisons of two, and how many tries a rate needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist


def z_value(conf: float) -> float:
    """The two-sided normal quantile of a confidence level, e.g. 1.96 for 0.95."""
    return NormalDist().inv_cdf(1 - (1 - conf) / 2)


def wilson_ci(k: int, n: int, conf: float = 0.95) -> dict[str, float | None]:
    """Wilson's score interval of k successes in n, without continuity correction (Wilson 1927).

    Centre (p + z²/2n) / (1 + z²/n), half-width z·√(p(1−p)/n + z²/4n²) / (1 + z²/n). Exact at the ends: k = 0 gives
    lo = 0, k = n gives hi = 1. Without observations both are None.
    """
    if n == 0:
        return {"lo": None, "hi": None}
    z, p = z_value(conf), k / n
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    return {"lo": 0.0 if k == 0 else max(0.0, centre - half), "hi": 1.0 if k == n else min(1.0, centre + half)}


def clopper_pearson_ci(k: int, n: int, conf: float = 0.95) -> dict[str, float | None]:
    """The exact interval of k successes in n, from beta quantiles (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv  # noqa: PLC0415  slow to import

    if n == 0:
        return {"lo": None, "hi": None}
    tail = (1 - conf) / 2
    lo = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    hi = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return {"lo": lo, "hi": hi}


def upper_bound(k: int, n: int, conf: float = 0.95) -> dict[str, float | None]:
    """The one-sided exact upper bound of a rate, beta quantile(conf; k+1, n−k).

    With k = 0 it is 1 − (1−conf)^(1/n), which the rule of three approximates. None without observations.
    """
    from scipy.special import betaincinv  # noqa: PLC0415  slow to import

    if n == 0:
        return {"hi": None}
    return {"hi": 1.0 if k == n else float(betaincinv(k + 1, n - k, conf))}


def trials_to_see(p: float, conf: float = 0.95) -> dict[str, int | None]:
    """How many tries show at least one failure with probability conf if the rate is p: ⌈ln(1−conf) / ln(1−p)⌉.

    The geometric distribution's quantile. No number is enough for p ≤ 0 (None); one is for p ≥ 1.
    """
    if p <= 0:
        return {"n": None}
    if p >= 1:
        return {"n": 1}
    return {"n": math.ceil(math.log(1 - conf) / math.log1p(-p))}


def newcombe_diff_ci(k1: int, n1: int, k2: int, n2: int, conf: float = 0.95) -> dict[str, float | None]:
    """Difference p1 − p2 of two independent proportions with Newcombe's hybrid score interval (1998, method 10).

    Built from the two Wilson intervals l, u: lo = d − √((p1−l1)² + (u2−p2)²), hi = d + √((u1−p1)² + (p2−l2)²).
    """
    first, second = wilson_ci(k=k1, n=n1, conf=conf), wilson_ci(k=k2, n=n2, conf=conf)
    lo1, hi1, lo2, hi2 = first["lo"], first["hi"], second["lo"], second["hi"]
    if lo1 is None or hi1 is None or lo2 is None or hi2 is None:
        return {"diff": None, "lo": None, "hi": None}
    p1, p2 = k1 / n1, k2 / n2
    diff = p1 - p2
    return {
        "diff": diff,
        "lo": diff - math.hypot(p1 - lo1, hi2 - p2),
        "hi": diff + math.hypot(hi1 - p1, p2 - lo2),
    }


def two_proportion_z(k1: int, n1: int, k2: int, n2: int) -> dict[str, float | None]:
    """The two-sided z test of p1 = p2 with the pooled rate; a pooled rate of 0 or 1 shows nothing (z 0, p 1)."""
    if n1 == 0 or n2 == 0:
        return {"z": None, "p": None}
    pooled = (k1 + k2) / (n1 + n2)
    if pooled in (0, 1):
        return {"z": 0.0, "p": 1.0}
    z = (k1 / n1 - k2 / n2) / math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    return {"z": z, "p": math.erfc(abs(z) / math.sqrt(2))}


def fisher_exact(table: Sequence[Sequence[int]]) -> dict[str, float]:
    """Fisher's exact test of a 2x2 table, two-sided: the sum of all tables no more probable than the observed one."""
    from scipy import stats  # noqa: PLC0415  slow to import

    return {"p": float(stats.fisher_exact([list(row) for row in table])[1])}


def rate_ratio(k1: int, t1: float, k2: int, t2: float) -> dict[str, float | str | None]:
    """Two event rates k/t (t is exposure), compared by the exact conditional binomial test.

    Under equal rates k1 of k1 + k2 is binomial with p = t1/(t1+t2) (Przyborowski and Wilenski 1940). The ratio is
    "Infinity" when only the second has no events, None when neither has.
    """
    from scipy import stats  # noqa: PLC0415  slow to import

    if t1 <= 0 or t2 <= 0:
        return {"ratio": None, "p": None}
    if k1 + k2 == 0:
        return {"ratio": None, "p": 1.0}
    p = float(stats.binomtest(k1, k1 + k2, t1 / (t1 + t2)).pvalue)
    return {"ratio": "Infinity" if k2 == 0 else (k1 / t1) / (k2 / t2), "p": p}


def sample_size_two_prop(p1: float, p2: float, alpha: float = 0.05, power: float = 0.8) -> dict[str, int | None]:
    """How many observations each side needs to tell p1 from p2, two-sided, normal formula (Fleiss, no correction).

    ⌈(z(α/2)·√(2p̄(1−p̄)) + z(β)·√(p1(1−p1) + p2(1−p2)))² / (p1−p2)²⌉ with p̄ = (p1+p2)/2; None for equal rates.
    """
    if p1 == p2:
        return {"n": None}
    mean = (p1 + p2) / 2
    z_alpha, z_beta = z_value(1 - alpha), NormalDist().inv_cdf(power)
    spread = z_alpha * math.sqrt(2 * mean * (1 - mean)) + z_beta * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return {"n": math.ceil(spread**2 / (p1 - p2) ** 2)}
