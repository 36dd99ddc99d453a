"""Labels against predictions, raters against each other, and the three-way verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from evaluations.stats.rates import clopper_pearson_ci


def classification(y_true: Sequence[Hashable | None], y_pred: Sequence[Hashable | None]) -> dict[str, float | None]:
    """Accuracy, mismatch in percent and macro F1 (over all classes seen on either side; 0/0 counts as 0).

    Pairs without a label are dropped; a missing prediction is a wrong one.
    """
    pairs = [(true, predicted) for true, predicted in zip(y_true, y_pred, strict=True) if true is not None]
    if not pairs:
        return {"n": 0, "accuracy": None, "mismatch_pct": None, "macro_f1": None}
    right = Counter(true for true, predicted in pairs if true == predicted)
    labelled = Counter(true for true, _ in pairs)
    predicted_as = Counter(predicted for _, predicted in pairs if predicted is not None)
    classes = labelled.keys() | predicted_as.keys()
    # F1 = 2·tp / (labelled + predicted), which is 0 where precision or recall are 0/0.
    f1 = [2 * right[name] / (labelled[name] + predicted_as[name]) for name in classes]
    accuracy = right.total() / len(pairs)
    return {
        "n": len(pairs),
        "accuracy": accuracy,
        "mismatch_pct": 100 * (1 - accuracy),
        "macro_f1": math.fsum(f1) / len(f1),
    }


def cohen_kappa(a: Sequence[Hashable | None], b: Sequence[Hashable | None]) -> dict[str, float | None]:
    """Agreement of two raters beyond chance, (po − pe)/(1 − pe) (Cohen 1960), unweighted.

    Items that either rater left out are dropped; with an expected agreement of 1 there is no kappa.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    n = len(pairs)
    if n == 0:
        return {"po": None, "kappa": None}
    agreed = sum(x == y for x, y in pairs)
    first, second = Counter(x for x, _ in pairs), Counter(y for _, y in pairs)
    # In whole numbers, so that an expected agreement of exactly 1 is seen as such.
    by_chance = sum(count * second[name] for name, count in first.items())
    po, pe = agreed / n, by_chance / n**2
    return {"po": po, "kappa": None if by_chance == n * n else (po - pe) / (1 - pe)}


def ece(prob: Sequence[float], correct: Sequence[float], bins: int = 10) -> dict[str, float | None]:
    """Expected calibration error over equal-width bins: Σ n_b/n·|mean(correct) − mean(prob)| (Naeini et al. 2015)."""
    if not prob:
        return {"ece": None}
    gaps = [0.0] * bins
    for p, hit in zip(prob, correct, strict=True):
        gaps[min(int(p * bins), bins - 1)] += hit - p
    return {"ece": math.fsum(abs(gap) for gap in gaps) / len(prob)}


def verdict_diff(
    est: float | None,
    lo: float | None,
    hi: float | None,
    n: int | None,
    margin: float = 0.02,
    min_n: int = 100,
    better: str = "higher",
) -> dict[str, str]:
    """The three-way verdict on new − old: effect and significance both, "not significant" is never a pass.

    "fail": hi < 0 and est ≤ −margin; "pass": lo > −margin; otherwise, and below min_n, "inconclusive". For a metric
    that is better when lower the signs are flipped first. Defaults from the threshold registry T2.
    """
    if est is None or lo is None or hi is None or n is None or n < min_n:
        return {"verdict": "inconclusive"}
    if better == "lower":
        est, lo, hi = -est, -hi, -lo
    if hi < 0 and est <= -margin:
        return {"verdict": "fail"}
    return {"verdict": "pass" if lo > -margin else "inconclusive"}


def verdict_rate_limit(k: int, n: int, limit: float, conf: float = 0.95) -> dict[str, str]:
    """The three-way verdict on a rate that must stay under a limit, from the Clopper-Pearson interval of k in n."""
    interval = clopper_pearson_ci(k=k, n=n, conf=conf)
    lo, hi = interval["lo"], interval["hi"]
    if lo is None or hi is None:
        return {"verdict": "inconclusive"}
    if lo > limit:
        return {"verdict": "fail"}
    return {"verdict": "pass" if hi <= limit else "inconclusive"}
