"""Two versions on the same items: is the new one worse, overall and on which slices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import Invalid
from evaluations import stats
from evaluations.models import Evaluation, Score
from evaluations.stats.paired import SliceCounts

# Threshold registry T2 and T3.
MARGIN, MIN_ITEMS, MIN_SLICE, MIN_DROP = 0.02, 100, 30, 0.02
_MAX_SLICES = 200


@dataclass(frozen=True)
class Row:
    """What one version scored on one item; a score of None means that it was not rated."""

    score: float | None
    attributes: dict[str, str]


def compare(
    old: Evaluation, new: Evaluation, margin: float = MARGIN, *, min_n: int = MIN_ITEMS, conf: float = 0.95
) -> dict[str, Any]:
    """Compare two finished evaluations, paired by item; the dictionary of `compare_rows`.

    Invalid when one of them is not done. Items that only one of them has count as dropped.
    """
    for evaluation in (old, new):
        if evaluation.state != "done":
            raise Invalid(f"The evaluation of {evaluation.version} is {evaluation.state}, not done.")
    return _compare(_scores(old), _scores(new), margin=margin, min_n=min_n, conf=conf) | {
        "versions": {"old": old.version, "new": new.version}
    }


def compare_rows(
    old_rows: Iterable[Mapping[str, Any]],
    new_rows: Iterable[Mapping[str, Any]],
    margin: float = MARGIN,
    *,
    min_n: int = MIN_ITEMS,
    conf: float = 0.95,
) -> dict[str, Any]:
    """Compare two lists of {"item", "score", "attributes"?}, paired by item.

    Answers verdict (fail, pass, inconclusive), reason, diff with lo and hi, b and c with McNemar's p, n {paired,
    dropped, old, new, tested}, threshold, `regressed` and `too_small` slices, and `table`: overall first, then each
    slice with n, shares, difference, b, c and adjusted p. The verdict is "fail" too, with reason "slice", when a slice
    regressed (Benjamini-Hochberg over the slices large enough), however good the rest is.
    """
    return _compare(_paired(old_rows), _paired(new_rows), margin=margin, min_n=min_n, conf=conf)


def read_rows(text: str) -> list[dict[str, Any]]:
    """The rows of a JSONL result file. Invalid with the line that cannot be read, or names an item anew."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    # Not `splitlines`, which also ends lines at characters that JSON texts may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or "item" not in row or "score" not in row:
            raise Invalid(f"Line {number} is not an object with item and score.", line=number)
        fault = _fault(row)
        if not fault and str(row["item"]) in seen:
            fault = f"the item {row['item']!r} is there twice"
        if fault:
            raise Invalid(f"Line {number}: {fault}.", line=number)
        seen.add(str(row["item"]))
        rows.append(row)
    return rows


def _fault(row: Mapping[str, Any]) -> str:
    score = row["score"]
    if score is not None and (not isinstance(score, int | float) or not math.isfinite(score)):
        return "score is a number, or null where it was not rated"
    return "" if isinstance(row.get("attributes") or {}, dict) else "attributes are names with short values"


def _scores(evaluation: Evaluation) -> dict[str, Row]:
    rows = Score.objects.filter(evaluation=evaluation).values_list("item", "score", "attributes")
    return {item: Row(score, attributes) for item, score, attributes in rows}


def _paired(rows: Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        item, score = str(row["item"]), row["score"]
        if score is not None and (not isinstance(score, int | float) or score != score):
            raise Invalid(f"The score of item {item} is not a number.")
        if item in found:
            raise Invalid(f"The item {item} is there twice.")
        attributes = {str(key): str(value) for key, value in dict(row.get("attributes") or {}).items()}
        found[item] = Row(None if score is None else float(score), attributes)
    return found


def _compare(old: dict[str, Row], new: dict[str, Row], *, margin: float, min_n: int, conf: float) -> dict[str, Any]:
    pairs: dict[str, tuple[float, float]] = {}
    for item in sorted(old.keys() & new.keys()):
        before, after = old[item].score, new[item].score
        if before is not None and after is not None:
            pairs[item] = (before, after)
    overall = _group(list(pairs.values()), conf)
    slices = _slices({item: old[item].attributes | new[item].attributes for item in pairs})
    groups = {name: _group([pairs[item] for item in items], conf) for name, items in slices.items()}
    tested = stats.slice_regressions(
        slices={name: SliceCounts(n=g["n"], b=g["b"], c=g["c"]) for name, g in groups.items()},
        min_n=MIN_SLICE,
        min_drop=MIN_DROP,
    )
    adjusted, regressed = tested["adjusted"], tested["regressed"]
    verdict = stats.verdict_diff(
        est=overall["diff"], lo=overall["lo"], hi=overall["hi"], n=overall["n"], margin=margin, min_n=min_n
    )["verdict"]
    too_few = overall["n"] < min_n
    if regressed and not too_few:
        verdict = "fail"
    reason = "too_small" if too_few else ("slice" if verdict == "fail" and regressed else "")
    table = [{"slice": "all", "p_adj": None, "regressed": verdict == "fail"} | overall]
    table += [
        {"slice": name, "p_adj": adjusted.get(name), "regressed": name in regressed} | groups[name]
        for name in sorted(groups, key=lambda name: (groups[name]["diff"], name))
    ]
    return {
        "verdict": verdict,
        "reason": reason,
        "diff": overall["diff"],
        "lo": overall["lo"],
        "hi": overall["hi"],
        "b": overall["b"],
        "c": overall["c"],
        "p": overall["p"],
        "n": {
            "paired": len(pairs),
            "dropped": len(old.keys() | new.keys()) - len(pairs),
            "old": len(old),
            "new": len(new),
            "tested": len(adjusted),
        },
        "threshold": {"margin": margin, "min_n": min_n, "min_slice": MIN_SLICE, "q": 0.05, "source": "T2, T3"},
        "regressed": regressed,
        "too_small": tested["too_small"],
        "table": table,
    }


def _group(pairs: list[tuple[float, float]], conf: float) -> dict[str, Any]:
    """The numbers of one group of items: means, paired difference with interval, discordant pairs and McNemar's p."""
    before, after = [a for a, _ in pairs], [b for _, b in pairs]
    interval = stats.paired_diff_ci(old=before, new=after, conf=conf)
    # Graded scores count as right from one half on; for 0 and 1 that is what they say.
    b = sum(x >= 0.5 > y for x, y in pairs)
    c = sum(y >= 0.5 > x for x, y in pairs)
    return {
        "n": len(pairs),
        "old": sum(before) / len(pairs) if pairs else None,
        "new": sum(after) / len(pairs) if pairs else None,
        "diff": interval["mean"],
        "lo": interval["lo"],
        "hi": interval["hi"],
        "b": b,
        "c": c,
        "p": stats.mcnemar_exact(b=b, c=c)["p"],
    }


def _slices(attributes: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Items by "name=value" of every attribute; values that all items share, or almost none do, make no slice."""
    found: dict[str, list[str]] = {}
    for item, values in attributes.items():
        for name, value in values.items():
            found.setdefault(f"{name}={value}", []).append(item)
    useful = {name: items for name, items in found.items() if 1 < len(items) < len(attributes)}
    largest = sorted(useful, key=lambda name: (-len(useful[name]), name))[:_MAX_SLICES]
    return {name: useful[name] for name in largest}
