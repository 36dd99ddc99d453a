"""Ranking hypotheses with little to go by (their numbers: conformance case 25)."""

from __future__ import annotations

from runbooks.diagnosis import Hypothesis, rank


def test_it_says_unknown_before_anything_is_known() -> None:
    cause = Hypothesis("a", "A", 1, {"look": {"fail": 4}})
    assert rank([cause], {}, {})["top"] == "unknown"
    assert rank([], {}, {}) == {"top": "unknown", "title": "", "confidence": 1.0, "ranked": []}
