"""Two samples of values or counts: has the distribution moved, and by how much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Values = Sequence[float | None]
# Above this many pairs the exact distributions take too long and differ from the normal ones by nothing that matters.
_EXACT_KS_PAIRS = 1_000_000
_EXACT_MWU_PAIRS = 10_000
_ALL_PAIRS = 4_000_000


def _present(values: Values) -> list[float]:
    return [float(value) for value in values if value is not None]


def psi_counts(ref: Sequence[float], cur: Sequence[float], eps: float = 1e-4) -> dict[str, float | None]:
    """Population stability index over given bins: Σ (r − c)·ln(r/c) of the shares (Lewis 1994).

    A share of 0 becomes eps without renormalising (Evidently's rule for ordinary sizes). None if a side is empty.
    """
    total_ref, total_cur = sum(ref), sum(cur)
    if total_ref == 0 or total_cur == 0:
        return {"psi": None}
    terms = []
    for r, c in zip(ref, cur, strict=True):
        share_ref, share_cur = (r / total_ref) or eps, (c / total_cur) or eps
        terms.append((share_ref - share_cur) * math.log(share_ref / share_cur))
    return {"psi": math.fsum(terms)}


def psi_values(ref: Values, cur: Values, bins: int = 10) -> dict[str, float | None]:
    """PSI of raw numbers: bins between the distinct type-7 quantiles of ref; missing values are a bin of their own."""
    import numpy as np  # noqa: PLC0415  slow to import

    known_ref, known_cur = _present(ref), _present(cur)
    if not known_ref or not cur:
        return {"psi": None, "bins": None}
    edges = np.unique(np.quantile(known_ref, [i / bins for i in range(1, bins)]))

    def counts(known: list[float], missing: int) -> list[float]:
        found = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1).tolist()
        return [*found, missing] if has_missing else found

    missing_ref, missing_cur = len(ref) - len(known_ref), len(cur) - len(known_cur)
    has_missing = missing_ref > 0 or missing_cur > 0
    psi = psi_counts(ref=counts(known_ref, missing_ref), cur=counts(known_cur, missing_cur))["psi"]
    return {"psi": psi, "bins": len(edges) + 1 + has_missing}


def psi_critical(bins: int, n: int, m: int, alpha: float = 0.05) -> dict[str, float | None]:
    """What PSI sampling noise alone reaches: PSI·nm/(n+m) is about χ² with bins−1 degrees (Yurdakul 2018).

    expected = (bins−1)(1/n + 1/m), critical = χ² quantile(1−alpha)·(1/n + 1/m).
    """
    from scipy.special import chdtri  # noqa: PLC0415  slow to import

    if n == 0 or m == 0:
        return {"expected": None, "critical": None}
    noise = 1 / n + 1 / m
    critical = float(chdtri(bins - 1, alpha)) * noise if bins > 1 else 0.0
    return {"expected": (bins - 1) * noise, "critical": critical}


def linf_distance(ref: Sequence[float], cur: Sequence[float]) -> dict[str, float | None]:
    """The largest difference of shares, max |p − q|, of two count vectors over the same categories."""
    total_ref, total_cur = sum(ref), sum(cur)
    if total_ref == 0 or total_cur == 0:
        return {"linf": None}
    return {"linf": max(abs(r / total_ref - c / total_cur) for r, c in zip(ref, cur, strict=True))}


def ks_2samp(x: Values, y: Values) -> dict[str, float | None]:
    """The two-sample Kolmogorov-Smirnov test, two-sided: d = sup |F1 − F2|.

    p_exact is the lattice-path probability (ties taken as continuous), given up to a million pairs; p_asymp is
    Q(√(nm/(n+m))·d) with Kolmogorov's Q (Smirnov 1948), the one to use above that.
    """
    from scipy import special, stats  # noqa: PLC0415  slow to import

    first, second = _present(x), _present(y)
    n, m = len(first), len(second)
    if n == 0 or m == 0:
        return {"d": None, "p_exact": None, "p_asymp": None}
    exact = n * m <= _EXACT_KS_PAIRS
    found = stats.ks_2samp(first, second, method="exact" if exact else "asymp")
    d = float(found.statistic)
    return {
        "d": d,
        "p_exact": float(found.pvalue) if exact else None,
        "p_asymp": float(special.kolmogorov(math.sqrt(n * m / (n + m)) * d)),
    }


def wasserstein(ref: Values, cur: Values) -> dict[str, float | None]:
    """The 1-Wasserstein (earth mover's) distance of the empirical distributions, and it over the sd of ref.

    The population sd is Evidently's convention; with sd 0 there is no norm.
    """
    from scipy import stats  # noqa: PLC0415  slow to import

    first, second = _present(ref), _present(cur)
    if not first or not second:
        return {"w": None, "norm": None}
    w = float(stats.wasserstein_distance(first, second))
    mean = math.fsum(first) / len(first)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in first) / len(first))
    return {"w": w, "norm": w / sd if sd > 0 else None}


def js_distance(ref: Sequence[float], cur: Sequence[float]) -> dict[str, float | None]:
    """Jensen-Shannon distance of two count vectors: √(½KL(p‖m) + ½KL(q‖m)), m = (p+q)/2, log base 2; 0 to 1.

    Bits as in NannyML; tools that use nats answer 0.833 times this (Lin 1991).
    """
    total_ref, total_cur = sum(ref), sum(cur)
    if total_ref == 0 or total_cur == 0:
        return {"js": None}
    terms = []
    for r, c in zip(ref, cur, strict=True):
        p, q = r / total_ref, c / total_cur
        middle = (p + q) / 2
        terms += [share * math.log2(share / middle) / 2 for share in (p, q) if share > 0]
    # Rounding may leave a hair below zero for equal distributions.
    return {"js": math.sqrt(max(0.0, math.fsum(terms)))}


def chi2_homogeneity(ref: Sequence[float], cur: Sequence[float]) -> dict[str, float | None]:
    """Pearson's χ² of two count vectors over the same categories (2 x K, no Yates), with Cramér's v = √(χ²/n).

    Categories that neither side has are dropped; `min_expected` below 5 means "use with care" (Cochran's rule).
    """
    from scipy.special import chdtrc  # noqa: PLC0415  slow to import

    columns = [(r, c) for r, c in zip(ref, cur, strict=True) if r or c]
    totals = [sum(r for r, _ in columns), sum(c for _, c in columns)]
    if len(columns) < 2:
        return {"chi2": 0.0, "dof": 0, "p": 1.0, "cramers_v": 0.0, "min_expected": None}
    if 0 in totals:
        return {"chi2": None, "dof": None, "p": None, "cramers_v": None, "min_expected": None}
    n = sum(totals)
    pairs = [
        (count, total * sum(column) / n) for column in columns for count, total in zip(column, totals, strict=True)
    ]
    chi2 = math.fsum((count - expected) ** 2 / expected for count, expected in pairs)
    dof = len(columns) - 1
    return {
        "chi2": chi2,
        "dof": dof,
        "p": float(chdtrc(dof, chi2)),
        "cramers_v": math.sqrt(chi2 / n),
        "min_expected": min(expected for _, expected in pairs),
    }


def mann_whitney(x: Values, y: Values) -> dict[str, float | None]:
    """Mann-Whitney's U of x (canary) against y (control), Cliff's delta 2u/nm − 1 and the Hodges-Lehmann shift.

    p_asymp is the two-sided normal approximation with tie and continuity correction; the shift is the median of all
    x − y. The key p_exact exists only without ties (and up to ten thousand pairs).
    """
    import numpy as np  # noqa: PLC0415  slow to import
    from scipy import stats  # noqa: PLC0415  slow to import

    first, second = np.asarray(_present(x)), np.asarray(_present(y))
    n, m = first.size, second.size
    if n == 0 or m == 0:
        return {"u": None, "p_asymp": None, "cliffs_delta": None, "hl_shift": None}
    distinct = np.unique(np.concatenate([first, second])).size
    u = float(stats.mannwhitneyu(first, second, method="asymptotic").statistic) if distinct > 1 else n * m / 2
    result: dict[str, float | None] = {
        "u": u,
        "p_asymp": float(stats.mannwhitneyu(first, second, method="asymptotic").pvalue) if distinct > 1 else 1.0,
        "cliffs_delta": 2 * u / (n * m) - 1,
        "hl_shift": _median_difference(first, second),
    }
    if distinct == n + m and n * m <= _EXACT_MWU_PAIRS:
        result["p_exact"] = float(stats.mannwhitneyu(first, second, method="exact").pvalue)
    return result


def _median_difference(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The median of all x_i − y_j; without building them all when there are too many."""
    import numpy as np  # noqa: PLC0415  slow to import

    pairs = x.size * y.size
    if pairs <= _ALL_PAIRS:
        return float(np.median(np.subtract.outer(x, y)))
    ordered = np.sort(y)

    def ranked(rank: int) -> float:
        """The difference of that rank: bisect the value, then step to the nearest one that exists."""
        lo, hi = float(x.min() - y.max()), float(x.max() - y.min())
        for _ in range(100):
            middle = (lo + hi) / 2
            if middle in (lo, hi):
                break
            # x − y <= middle for every y >= x − middle.
            if pairs - int(np.searchsorted(ordered, x - middle, side="left").sum()) >= rank:
                hi = middle
            else:
                lo = middle
        return hi

    if pairs % 2:
        return ranked(pairs // 2 + 1)
    return (ranked(pairs // 2) + ranked(pairs // 2 + 1)) / 2
