"""A runbook in plain words: what starts it, what each step asks or does, and who is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.errors import DomainError
from runbooks import reading
from runbooks.actions import ACTIONS
from runbooks.checks import CHECKS
from runbooks.fields import PHASES
from runbooks.models import Revision
from runbooks.spec import RunbookSpec
from runbooks.steps import ActionStep, CheckStep, ManualStep, RunbookStep, Step, WaitStep
from web.pages import words

_FIRING = re.compile(r"alert\.status\s*==\s*'firing'")
_LABEL = re.compile(r"alert\.labels\.(\w+)\s*==\s*'([^']*)'")
_FIELD = re.compile(r"alert\.(severity|source|service|environment|title)\s*==\s*'([^']*)'")


@dataclass(frozen=True)
class Condition:
    """One condition of a trigger: in words, or as it is written where there are no better ones."""

    text: str
    is_code: bool = False


@dataclass(frozen=True)
class StepLine:
    """One step: its question, how it is answered or done, on what condition, and how long it may take (seconds)."""

    id: str
    kind: str
    title: str
    how: str
    provider: str
    condition: str
    asks: str
    doc: str
    rules: list[tuple[str, str]]
    seconds: int | None


@dataclass(frozen=True)
class PhaseLines:
    """One phase with its steps."""

    name: str
    word: str
    steps: list[StepLine]


def spec_of(revision: Revision | None) -> RunbookSpec | None:
    """The revision as it is run; None without one, or when this version cannot read it."""
    if revision is None:
        return None
    try:
        return reading.book_of(revision).spec
    except DomainError:
        return None


def triggers(revision: Revision | None) -> list[list[Condition]]:
    """What starts it: any of these, each when all its conditions hold. Empty: people only."""
    parsed = reading.written(revision).get("triggers")
    rows = parsed if isinstance(parsed, list) else []
    return [_conditions(str(row.get("alert", ""))) for row in rows if isinstance(row, dict)]


def starts(revision: Revision | None) -> str:
    """The same in one line, for lists."""
    found = triggers(revision)
    if not found:
        return "people only"
    # That it fires goes without saying here.
    first = " and ".join(condition.text.removeprefix("its ") for condition in found[0] if condition.text != "it fires")
    more = f", or {len(found) - 1} more" if len(found) > 1 else ""
    return (
        (f"an alert whose {first}{more}" if not found[0][-1].is_code else f"an alert, if {first}{more}")
        if first
        else "any alert"
    )


def _conditions(source: str) -> list[Condition]:
    # A text with `or` or brackets means more than its parts: it is shown as it is.
    if re.search(r"\bor\b|[()]", source):
        return [Condition(source, is_code=True)]
    found = []
    for part in re.split(r"\s+and\s+", source):
        if _FIRING.fullmatch(part.strip()):
            found.append(Condition("it fires"))
        elif label := _LABEL.fullmatch(part.strip()):
            found.append(Condition(f"its label {label[1]} is {label[2]}"))
        elif named := _FIELD.fullmatch(part.strip()):
            found.append(Condition(f"its {named[1]} is {named[2]}"))
        else:
            found.append(Condition(part.strip(), is_code=True))
    return found


def phases(spec: RunbookSpec) -> list[PhaseLines]:
    """Every phase that has steps, in order."""
    parts = [(str(phase), spec.phases.of(phase)) for phase in PHASES] + [("finally", spec.finally_)]
    return [PhaseLines(name, words.PHASES[name], [_line(step) for step in steps]) for name, steps in parts if steps]


def _line(step: Step) -> StepLine:
    rules = [
        (word, str(rule))
        for word, name in (("Problem found if", "fail_if"), ("Ruled out if", "pass_if"))
        if (rule := getattr(step, name, None))
    ]
    seconds = step.wait if isinstance(step, WaitStep) else step.timeout_seconds
    return StepLine(
        step.id, step.kind, step.title, _how(step), step.provider, step.if_ or "", _asks(step), step.doc, rules, seconds
    )


def _how(step: Step) -> str:
    if isinstance(step, CheckStep):
        title = CHECKS.get(step.check).title if step.check in CHECKS else "A check that this version does not know"
        signal = step.with_.get("signal")
        return f"{title}, signal {signal}" if isinstance(signal, str) else title
    if isinstance(step, ActionStep):
        known = ACTIONS.get(step.action) if step.action in ACTIONS else None
        risk = step.effective_risk(known.risk if known else "high")
        title = known.title if known else "An action that this version does not know"
        return f"{title}; {risk} risk{', cannot be undone' if step.irreversible else ''}"
    if isinstance(step, ManualStep):
        return "A person does this and answers"
    if isinstance(step, RunbookStep):
        return f"Runs {step.runbook}"
    return "Waits"


def _asks(step: Step) -> str:
    if isinstance(step, ManualStep):
        return principal(step.assign) if step.assign else "anybody who may answer"
    if isinstance(step, ActionStep) and step.approval is not None:
        wanted = f"{step.approval.count} of " if step.approval.count > 1 else ""
        return wanted + " or ".join(principal(name) for name in step.approval.from_)
    return ""


def principal(name: str) -> str:
    """`role:oncall` as "whoever is in oncall"."""
    kind, _, who = name.partition(":")
    if kind == "team":
        return "the team" if who == "default" else f"team {who}"
    return f"whoever is in {who}" if kind == "role" else who
