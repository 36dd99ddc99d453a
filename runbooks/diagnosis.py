"""Ranking hypotheses by the verdicts seen: points are doublings, nothing is hidden (runbook-language §2.9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# A cause is named only with this confidence and this much of its evidence decided.
CONFIDENCE = 0.6
COVERAGE = 0.5


@dataclass(frozen=True)
class Hypothesis:
    """A possible cause: a relative prior, and points per step and verdict."""

    id: str
    title: str
    prior: float = 1.0
    evidence: dict[str, dict[str, float]] = field(default_factory=dict)


def rank(hypotheses: list[Hypothesis], verdicts: dict[str, str], evidence: dict[str, str]) -> dict[str, Any]:
    """Rank hypotheses by the verdicts of the cited steps.

    `verdicts` maps step ids to verdicts (absent: not settled), `evidence` step ids to keys like "E12". Gives
    {"top", "confidence", "ranked": [{"id", "title", "confidence", "coverage", "score", "lines", "not_checked"}]};
    `lines` are [{"step", "verdict", "points", "evidence"}]. `unknown` with weight 1 always takes part.
    """
    rows: list[dict[str, Any]] = []
    weights: list[float] = []
    for hypothesis in hypotheses:
        lines, not_checked = [], []
        score = possible = decided = 0.0
        for step, points in hypothesis.evidence.items():
            weight = max((abs(value) for value in points.values()), default=0.0)
            possible += weight
            verdict = verdicts.get(step, "")
            if verdict not in ("pass", "fail"):
                not_checked.append(step)
                continue
            decided += weight
            gained = points.get(verdict, 0.0)
            score += gained
            lines.append({"step": step, "verdict": verdict, "points": gained, "evidence": evidence.get(step, "")})
        weights.append(hypothesis.prior * 2.0**score)
        rows.append(
            {
                "id": hypothesis.id,
                "title": hypothesis.title,
                "coverage": decided / possible if possible else 0.0,
                "score": score,
                "lines": lines,
                "not_checked": not_checked,
            }
        )
    total = sum(weights) + 1.0
    for row, weight in zip(rows, weights, strict=True):
        row["confidence"] = weight / total
    order = sorted(range(len(rows)), key=lambda i: (-rows[i]["confidence"], -rows[i]["coverage"], i))
    ranked = [rows[i] for i in order]
    best = ranked[0] if ranked else None
    if best and best["confidence"] >= CONFIDENCE and best["coverage"] >= COVERAGE:
        return {"top": best["id"], "title": best["title"], "confidence": best["confidence"], "ranked": ranked}
    return {"top": "unknown", "title": "", "confidence": 1.0 / total, "ranked": ranked}
