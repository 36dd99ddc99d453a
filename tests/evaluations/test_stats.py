"""Every statistic against the golden numbers, with the file's own rule of tolerance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluations import stats

GOLDEN = json.loads((Path(__file__).parent / "golden_stats.json").read_text())


def agrees(answer: object, expected: object, tol: dict[str, float]) -> bool:
    if isinstance(expected, dict):
        return (
            isinstance(answer, dict)
            and answer.keys() == expected.keys()
            and all(agrees(answer[key], expected[key], tol) for key in expected)
        )
    if isinstance(expected, list):
        return (
            isinstance(answer, list)
            and len(answer) == len(expected)
            and all(agrees(a, e, tol) for a, e in zip(answer, expected, strict=True))
        )
    if isinstance(expected, float) and not isinstance(answer, str | bool | None):
        return abs(answer - expected) <= max(tol["abs"], tol.get("rel", 0.0) * abs(expected))  # type: ignore[operator]
    return type(answer) is type(expected) and answer == expected


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=[case["id"] for case in GOLDEN["cases"]])
def test_it_computes_the_golden_numbers(case: dict[str, Any]) -> None:
    answer = getattr(stats, case["fn"])(**case["args"])

    assert agrees(answer, case["expected"], case["tol"]), (answer, case["expected"])


def test_it_has_a_function_for_every_convention() -> None:
    assert sorted(stats.__all__) == sorted(GOLDEN["conventions"])


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("wilson_ci", {"k": 0, "n": 0}, {"lo": None, "hi": None}),
        ("wilson_ci", {"k": 7, "n": 7}, {"lo": pytest.approx(0.6457, abs=1e-4), "hi": 1.0}),
        ("clopper_pearson_ci", {"k": 0, "n": 0}, {"lo": None, "hi": None}),
        ("upper_bound", {"k": 3, "n": 3}, {"hi": 1.0}),
        ("trials_to_see", {"p": 0.0}, {"n": None}),
        ("trials_to_see", {"p": 1.0}, {"n": 1}),
        ("newcombe_diff_ci", {"k1": 0, "n1": 0, "k2": 1, "n2": 2}, {"diff": None, "lo": None, "hi": None}),
        ("two_proportion_z", {"k1": 0, "n1": 9, "k2": 0, "n2": 7}, {"z": 0.0, "p": 1.0}),
        ("rate_ratio", {"k1": 0, "t1": 5, "k2": 0, "t2": 7}, {"ratio": None, "p": 1.0}),
        ("sample_size_two_prop", {"p1": 0.5, "p2": 0.5}, {"n": None}),
        ("stratified_rate", {"strata": [{"N": 5, "n": 0, "k": 0}]}, {"est": None, "lo": None, "hi": None}),
        ("stratified_rate", {"strata": [{"N": 4, "n": 4, "k": 1}]}, {"est": 0.25, "lo": 0.25, "hi": 0.25}),
        ("mcnemar_exact", {"b": 0, "c": 0}, {"p": 1.0, "mid_p": 1.0}),
        (
            "paired_diff_ci",
            {"old": [1, None], "new": [0, 1]},
            {"n": 1, "mean": -1.0, "se": None, "lo": None, "hi": None},
        ),
        ("clustered_se", {"scores": [1, 0], "clusters": ["a", "a"]}, {"mean": 0.5, "se": 0.0, "se_corrected": None}),
        ("paired_bootstrap_ci", {"old": [1, 2], "new": [2, 3]}, {"lo": 1.0, "hi": 1.0}),
        ("psi_counts", {"ref": [0, 0], "cur": [1, 2]}, {"psi": None}),
        ("psi_values", {"ref": [1, 2, None], "cur": []}, {"psi": None, "bins": None}),
        ("psi_values", {"ref": [5.0, 5.0], "cur": [5.0]}, {"psi": 0.0, "bins": 2}),
        ("linf_distance", {"ref": [1], "cur": [0]}, {"linf": None}),
        ("ks_2samp", {"x": [None], "y": [1.0]}, {"d": None, "p_exact": None, "p_asymp": None}),
        ("wasserstein", {"ref": [2, 2], "cur": [3]}, {"w": 1.0, "norm": None}),
        ("js_distance", {"ref": [3, 1], "cur": [6, 2]}, {"js": 0.0}),
        (
            "chi2_homogeneity",
            {"ref": [4, 0], "cur": [5, 0]},
            {"chi2": 0.0, "dof": 0, "p": 1.0, "cramers_v": 0.0, "min_expected": None},
        ),
        (
            "mann_whitney",
            {"x": [1, 1], "y": [1, 1, 1]},
            {"u": 3.0, "p_asymp": 1.0, "cliffs_delta": 0.0, "hl_shift": 0.0},
        ),
        ("quantiles", {"x": [None], "q": [0.5]}, {"q": [None]}),
        ("quantile_ci", {"x": [1.0, 2.0], "q": 0.5}, {"l": 0, "u": 3, "lo": None, "hi": None}),
        ("histogram_quantile", {"q": -1, "buckets": [["1", 1], ["+Inf", 2]]}, {"value": "-Infinity"}),
        ("histogram_quantile", {"q": 0.99, "buckets": [["1", 10], ["+Inf", 20]]}, {"value": 1.0}),
        ("histogram_quantile", {"q": 0.5, "buckets": [["1", 6], ["2", 4], ["+Inf", 6]]}, {"value": 0.5}),
        ("counter_increase", {"samples": [3, None]}, {"increase": None, "resets": 0}),
        ("robust_z", {"x": 4, "baseline": [5, 5, 5]}, {"median": 5.0, "mad": 0.0, "z": "-Infinity"}),
        ("gesd", {"x": [4, 4, 4, 4], "max_outliers": 2}, {"n_outliers": 0, "positions": []}),
        ("cusum_onset", {"x": [1, 1, 1, 1]}, {"index": None, "shift": None}),
        ("burn_rate", {"slo": 0.99, "windows": {"1h": [0, 0]}}, {"burn": {"1h": 0.0}, "action": "none"}),
        ("sprt", {"p0": 0.01, "p1": 0.1, "outcomes": []}, {"decision": "continue", "n": 0}),
        ("benjamini_hochberg", {"p": [None, 0.05]}, {"adjusted": [None, 0.05], "reject": [False, True]}),
        (
            "attribute_change",
            {"forecast": {"a": 1}, "actual": {"a": 1}},
            {"ep": {"a": None}, "surprise": {"a": 0.0}, "set": []},
        ),
        ("mix_decomposition", {"groups": {}}, {"total": None, "mix": None, "within": None, "by_group": {}}),
        ("cohen_kappa", {"a": ["v", "v"], "b": ["v", "v"]}, {"po": 1.0, "kappa": None}),
        ("ece", {"prob": [], "correct": []}, {"ece": None}),
        ("verdict_diff", {"est": 0.3, "lo": 0.1, "hi": 0.5, "n": 200, "better": "lower"}, {"verdict": "fail"}),
        ("verdict_rate_limit", {"k": 0, "n": 0, "limit": 0.1}, {"verdict": "inconclusive"}),
    ],
)
def test_it_answers_edge_cases_as_agreed(name: str, args: dict[str, Any], expected: dict[str, Any]) -> None:
    assert getattr(stats, name)(**args) == expected


def test_it_finds_the_shift_of_large_samples_without_all_pairs() -> None:
    y = [float(i % 1000) for i in range(2500)]
    x = [value + 7.0 for value in y]

    assert stats.mann_whitney(x=x, y=y)["hl_shift"] == pytest.approx(7.0, abs=1e-9)
