"""Ranking hypotheses: conformance case 25, its numbers exact."""

from __future__ import annotations

from runbooks.diagnosis import Hypothesis, rank

CAUSES = [
    Hypothesis(
        "model_regression",
        "The serving model version is worse than the previous one",
        3,
        {"recent_model_deploy": {"fail": 2, "pass": -4}, "candidate_vs_previous": {"fail": 5, "pass": -5}},
    ),
    Hypothesis(
        "data_drift",
        "Live inputs moved away from the training data",
        2,
        {"pipeline_changes": {"fail": 2}, "input_drift": {"fail": 4, "pass": -3}, "candidate_vs_previous": {"pass": 1}},
    ),
    Hypothesis(
        "upstream_change",
        "The upstream changed or is degraded",
        1,
        {"upstream_status": {"fail": 4, "pass": -2}, "candidate_vs_previous": {"pass": 1, "fail": -2}},
    ),
    Hypothesis("bad_evaluation", "The evaluation is broken", 1, {"eval_health": {"fail": 5, "pass": -3}}),
]
SEEN = {
    "recent_model_deploy": "fail",
    "candidate_vs_previous": "fail",
    "input_drift": "inconclusive",
    "pipeline_changes": "pass",
    "upstream_status": "pass",
    "eval_health": "pass",
}


def test_it_names_the_cause_that_the_evidence_doubles_up() -> None:
    ranked = rank(CAUSES, SEEN, {"candidate_vs_previous": "E4"})
    best = ranked["ranked"][0]
    assert ranked["top"] == "model_regression"
    assert round(best["confidence"], 3) == 0.992
    assert best["coverage"] == 1.0
    assert {"step": "candidate_vs_previous", "verdict": "fail", "points": 5, "evidence": "E4"} in best["lines"]


def test_it_says_unknown_when_too_little_was_decided() -> None:
    ranked = rank(CAUSES, SEEN | {"candidate_vs_previous": "inconclusive", "upstream_status": "error"}, {})
    best = ranked["ranked"][0]
    assert ranked["top"] == "unknown"
    assert best["id"] == "model_regression"
    assert (round(best["confidence"], 3), round(best["coverage"], 2)) == (0.744, 0.44)


def test_it_says_unknown_before_anything_is_known() -> None:
    assert rank(CAUSES, {}, {})["top"] == "unknown"
    assert rank([], {}, {}) == {"top": "unknown", "title": "", "confidence": 1.0, "ranked": []}
