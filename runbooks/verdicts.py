"""How a finding becomes a verdict, and verdicts become an outcome: pure functions (docs/guide/runbook-language.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from common.expressions import Expression, ExpressionError
from runbooks.checks.base import Finding

Verdict = Literal["pass", "fail", "inconclusive", "error", "skipped"]
WORST_FIRST: tuple[Verdict, ...] = ("fail", "error", "inconclusive", "pass", "skipped")
# What people read; the YAML words stay in YAML, API and tooltips.
WORDS = {
    "fail": "Problem found",
    "pass": "Ruled out",
    "inconclusive": "Can't tell",
    "error": "Couldn't measure",
    "skipped": "Skipped",
}
# An action, a manual step or a wait answers no question of the kind "is this the cause?", so it reads otherwise.
ACT_WORDS = {
    "pass": "Done",
    "fail": "Refused",
    "inconclusive": "Not done",
    "error": "Went wrong",
    "skipped": "Skipped",
}


@dataclass(frozen=True)
class Judgement:
    """A verdict, the word for why, and the rule that decided, as shown on the evidence card."""

    verdict: Verdict
    reason: str = ""
    rule: str = ""


@dataclass(frozen=True)
class Rules:
    """The part of a check step that decides."""

    pass_if: Expression | None = None
    fail_if: Expression | None = None
    no_data: Verdict = "inconclusive"
    min_samples: int | None = None
    max_age: int | None = None


def is_nothing(value: Any) -> bool:
    """Whether a value is no measurement: None, NaN, an infinity, an empty list."""
    if value is None or value == []:
        return True
    return isinstance(value, float) and not math.isfinite(value)


def judge(finding: Finding, rules: Rules, context: dict[str, Any], now: datetime) -> Judgement:
    """The verdict on a finding, in the order of the language: no data, too few, stale, rules, the provider's own.

    `context` holds inputs, steps, incident …; value, result, samples and age are added here. Age is in seconds.
    """
    if finding.no_data or (not finding.verdict and is_nothing(finding.value)):
        return Judgement(rules.no_data, finding.reason or "no_data", f"no_data: {rules.no_data}")
    if rules.min_samples is not None and (finding.samples is None or finding.samples < rules.min_samples):
        return Judgement("inconclusive", "too_few_samples", f"samples {finding.samples} < {rules.min_samples}")
    age = None if finding.observed_at is None else max(0.0, (now - finding.observed_at).total_seconds())
    if rules.max_age is not None and (age is None or age > rules.max_age):
        return Judgement("inconclusive", "stale", f"age {age} s > {rules.max_age} s")
    if rules.pass_if is None and rules.fail_if is None:
        verdict: Verdict = next((known for known in WORST_FIRST if known == finding.verdict), "error")
        return Judgement(verdict, finding.reason, "the check's own statistics")
    names = context | {"value": finding.value, "result": finding.result, "samples": finding.samples, "age": age}
    try:
        if rules.fail_if is not None and _boolean(rules.fail_if, names):
            return Judgement("fail", finding.reason, f"fail_if: {rules.fail_if.source}")
        if rules.pass_if is None:
            return Judgement("pass", finding.reason, f"not fail_if: {_text(rules.fail_if)}")
        if _boolean(rules.pass_if, names):
            return Judgement("pass", finding.reason, f"pass_if: {rules.pass_if.source}")
    except ExpressionError as error:
        return Judgement("error", "expression", str(error))
    if rules.fail_if is None:
        return Judgement("fail", finding.reason, f"not pass_if: {rules.pass_if.source}")
    return Judgement("inconclusive", "between_limits", "neither fail_if nor pass_if")


def _text(expression: Expression | None) -> str:
    return expression.source if expression else ""


def _boolean(expression: Expression, context: dict[str, Any]) -> bool:
    value = expression.evaluate(context)
    if not isinstance(value, bool):
        raise ExpressionError(f"`{expression.source}` gave {type(value).__name__}, not true or false")
    return value


def boolean(expression: Expression, context: dict[str, Any]) -> bool:
    """Evaluate a condition; anything but true or false is an ExpressionError, never false."""
    return _boolean(expression, context)


def worst(verdicts: list[str]) -> Verdict:
    """The worst of several verdicts; cancelled parts (empty) are left out; of nothing it is skipped."""
    for verdict in WORST_FIRST:
        if verdict in verdicts:
            return verdict
    return "skipped"


def outcome(*, verify: str, stopped_early: bool, confirmed_effects: int) -> str:
    """A run's outcome once it leaves its last phase; the first rule that applies (runbook-language §2.8)."""
    if verify == "pass":
        return "resolved"
    if verify == "fail":
        return "not_resolved"
    if verify in ("error", "inconclusive"):
        return "unverified"
    if stopped_early:
        return "aborted"
    return "unverified" if confirmed_effects else "no_action"
