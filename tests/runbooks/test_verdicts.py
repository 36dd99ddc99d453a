"""How findings become verdicts: conformance cases 3 and 4 of the engine, and the composition rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from common import expressions
from runbooks.checks.base import Finding
from runbooks.verdicts import Judgement, Rules, judge, outcome, worst

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


def rule(source: str) -> expressions.Expression:
    return expressions.compile(source, names={"value", "result", "samples", "age", "inputs"})


def judged(finding: Finding, **rules: object) -> Judgement:
    return judge(finding, Rules(**rules), {"inputs": {"floor": 0.92}}, NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), None, [], float("inf")])
def test_it_never_passes_without_data(value: object) -> None:
    finding = Finding(value=value, summary="")
    assert judged(finding, fail_if=rule("value > 0.05")) == Judgement(
        "inconclusive", "no_data", "no_data: inconclusive"
    )
    assert judged(finding, fail_if=rule("value > 0.05"), no_data="pass").verdict == "pass"


def test_it_cannot_tell_from_too_few_samples() -> None:
    finding = Finding(value=0.80, samples=150, summary="")
    assert judged(finding, pass_if=rule("value >= inputs.floor"), min_samples=200).reason == "too_few_samples"


def test_it_lets_fail_win_over_pass() -> None:
    both = judged(Finding(value=1, samples=400, summary=""), pass_if=rule("value > 0"), fail_if=rule("value > 0"))
    neither = judged(Finding(value=1, summary=""), pass_if=rule("value > 5"), fail_if=rule("value > 3"))
    assert (both.verdict, neither.verdict) == ("fail", "inconclusive")


def test_it_fails_what_does_not_pass_when_only_pass_if_is_given() -> None:
    assert judged(Finding(value=1, summary=""), pass_if=rule("value > 5")).verdict == "fail"
    assert judged(Finding(value=1, summary=""), fail_if=rule("value > 5")).verdict == "pass"


def test_it_cannot_tell_from_an_old_observation() -> None:
    old = Finding(value=1, summary="", observed_at=NOW - timedelta(minutes=11))
    ahead = Finding(value=1, summary="", observed_at=NOW + timedelta(minutes=3))
    assert judged(old, pass_if=rule("value > 0"), max_age=600).reason == "stale"
    assert judged(ahead, pass_if=rule("value > 0 and age == 0"), max_age=600).verdict == "pass"


def test_it_is_an_error_when_a_rule_gives_no_boolean() -> None:
    assert judged(Finding(value=1, summary=""), pass_if=rule("value")).verdict == "error"


def test_it_takes_the_providers_verdict_when_the_step_has_no_rules() -> None:
    assert judged(Finding(value=None, verdict="fail", summary="")).verdict == "fail"
    assert judged(Finding(value=3, summary="")).verdict == "error"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "fail", "error"], "fail"),
        (["pass", "error", "inconclusive"], "error"),
        (["skipped", "pass"], "pass"),
        ([""], "skipped"),
        ([], "skipped"),
    ],
)
def test_it_composes_worst_of(verdicts: list[str], expected: str) -> None:
    assert worst(verdicts) == expected


@pytest.mark.parametrize(
    ("verify", "stopped", "effects", "expected"),
    [
        ("pass", False, 1, "resolved"),
        ("fail", False, 1, "not_resolved"),
        ("inconclusive", False, 1, "unverified"),
        ("skipped", True, 1, "aborted"),
        ("skipped", False, 1, "unverified"),
        ("skipped", False, 0, "no_action"),
    ],
)
def test_it_computes_the_outcome(verify: str, stopped: bool, effects: int, expected: str) -> None:
    assert outcome(verify=verify, stopped_early=stopped, confirmed_effects=effects) == expected
