"""The same items under two versions: paired differences, and several slices tested at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

from evaluations.stats.rates import z_value

# A value that equals its limit must not fail it by the last bit of a division.
FLOAT_GUARD = 1e-12


class SliceCounts(TypedDict):
    """One slice: n items, b right only under the old version, c right only under the new one."""

    n: int
    b: int
    c: int


class SliceResult(TypedDict):
    """What `slice_regressions` answers."""

    adjusted: dict[str, float]
    regressed: list[str]
    too_small: list[str]


class Adjusted(TypedDict):
    """What `benjamini_hochberg` answers, in the order of the input."""

    adjusted: list[float | None]
    reject: list[bool]


def mcnemar_exact(b: int, c: int) -> dict[str, float]:
    """Paired right-or-wrong outcomes: b old right and new wrong, c the other way (McNemar 1947, exact binomial form).

    p = min(1, 2·P(X ≤ m)), mid_p = min(1, 2·(P(X ≤ m) − ½P(X = m))) with m = min(b, c) and X ~ Bin(b+c, ½). Without a
    discordant pair both are 1.
    """
    from scipy.special import bdtr  # noqa: PLC0415  slow to import

    n, m = b + c, min(b, c)
    if n == 0:
        return {"p": 1.0, "mid_p": 1.0}
    below = float(bdtr(m, n, 0.5))
    exactly = math.exp(math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1) - n * math.log(2))
    return {"p": min(1.0, 2 * below), "mid_p": min(1.0, 2 * (below - 0.5 * exactly))}


def _differences(old: Sequence[float | None], new: Sequence[float | None]) -> list[float]:
    return [float(b) - float(a) for a, b in zip(old, new, strict=True) if a is not None and b is not None]


def paired_diff_ci(
    old: Sequence[float | None], new: Sequence[float | None], conf: float = 0.95
) -> dict[str, float | None]:
    """Mean of new − old per item, se = sd(ddof 1)/√n, interval mean ± z·se (central limit; Miller 2024).

    Items that either side lacks are dropped. Below two items there is a mean but no error.
    """
    differences = _differences(old, new)
    n = len(differences)
    if n == 0:
        return {"n": 0, "mean": None, "se": None, "lo": None, "hi": None}
    mean = math.fsum(differences) / n
    if n < 2:
        return {"n": n, "mean": mean, "se": None, "lo": None, "hi": None}
    se = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1) / n)
    half = z_value(conf) * se
    return {"n": n, "mean": mean, "se": se, "lo": mean - half, "hi": mean + half}


def clustered_se(scores: Sequence[float], clusters: Sequence[object]) -> dict[str, float | None]:
    """Mean and its standard error when items of a cluster (conversation, document) hang together (Miller 2024).

    se = √(Σ over clusters of (Σ within of (s − mean))²) / n; se_corrected = se·√(G/(G−1)), None with one cluster.
    """
    n = len(scores)
    if n == 0:
        return {"mean": None, "se": None, "se_corrected": None}
    mean = math.fsum(scores) / n
    sums: dict[object, float] = {}
    for score, cluster in zip(scores, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + score - mean
    se = math.sqrt(math.fsum(total * total for total in sums.values())) / n
    groups = len(sums)
    return {"mean": mean, "se": se, "se_corrected": se * math.sqrt(groups / (groups - 1)) if groups > 1 else None}


def paired_bootstrap_ci(
    old: Sequence[float | None],
    new: Sequence[float | None],
    conf: float = 0.95,
    resamples: int = 10_000,
    seed: int = 20_240_101,
) -> dict[str, float | None]:
    """Percentile bootstrap of mean(new − old), resampling items in pairs (Efron 1979); the seed is fixed."""
    import numpy as np  # noqa: PLC0415  slow to import

    differences = np.asarray(_differences(old, new), dtype=float)
    if differences.size == 0:
        return {"lo": None, "hi": None}
    if differences.min() == differences.max():
        return {"lo": float(differences[0]), "hi": float(differences[0])}
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    # In blocks: all indices at once would be resamples x items.
    block = max(1, 2_000_000 // differences.size)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        picks = random.integers(0, differences.size, size=(size, differences.size))
        means[start : start + size] = differences[picks].mean(axis=1)
    tail = (1 - conf) / 2
    lo, hi = np.quantile(means, [tail, 1 - tail])
    return {"lo": float(lo), "hi": float(hi)}


def benjamini_hochberg(p: Sequence[float | None], q: float = 0.05) -> Adjusted:
    """Adjusted p-values that keep the false discovery rate at q (Benjamini and Hochberg 1995), in input order.

    adjusted(i) = min over j ≥ i of p(j)·m/j on the sorted values, at most 1. None stays None and is not counted in m.
    """
    tested = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    least = 1.0
    for rank in range(len(tested), 0, -1):
        value, index = tested[rank - 1]
        least = min(least, value * len(tested) / rank)
        adjusted[index] = least
    return {"adjusted": adjusted, "reject": [value is not None and value <= q + FLOAT_GUARD for value in adjusted]}


def slice_regressions(
    slices: Mapping[str, SliceCounts], q: float = 0.05, min_n: int = 30, min_drop: float = 0.02
) -> SliceResult:
    """Which slices got worse: exact McNemar per slice of at least min_n items, Benjamini-Hochberg over those.

    A slice regressed when its adjusted p ≤ q and its share of right answers fell by at least min_drop, (c − b)/n.
    Defaults from the threshold registry T1 and T3. `regressed` is sorted by the drop, then by name.
    """
    names = [name for name, counts in slices.items() if counts["n"] >= min_n]
    raw = [mcnemar_exact(b=slices[name]["b"], c=slices[name]["c"])["p"] for name in names]
    adjusted = {
        name: value
        for name, value in zip(names, benjamini_hochberg(p=raw, q=q)["adjusted"], strict=True)
        if value is not None
    }
    drops = {name: (slices[name]["c"] - slices[name]["b"]) / slices[name]["n"] for name in names if slices[name]["n"]}
    regressed = [
        name for name, drop in drops.items() if adjusted[name] <= q + FLOAT_GUARD and drop <= -min_drop + FLOAT_GUARD
    ]
    return {
        "adjusted": adjusted,
        "regressed": sorted(regressed, key=lambda name: (drops[name], name)),
        "too_small": sorted(name for name, counts in slices.items() if counts["n"] < min_n),
    }
