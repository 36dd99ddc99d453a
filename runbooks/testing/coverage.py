"""Which branches of a runbook its tests take: conditions, rules, guards, policies, triggers and causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from common.yaml import Document, Finding, Path
from runbooks.lint import places
from runbooks.schema import RunbookSpec
from runbooks.steps import CheckStep, ManualStep, Step, WaitStep
from runbooks.testing.playing import Played, Seen

MISSED = "RT030"
DECIDED = ("fail", "inconclusive", "error")


@dataclass(frozen=True)
class Branch:
    """One way that a run can go: where it is written, in words, and whether some case took it."""

    path: Path
    words: str
    taken: bool


@dataclass
class Coverage:
    """All branches of a runbook."""

    branches: list[Branch] = field(default_factory=list)

    @property
    def missed(self) -> list[Branch]:
        """Those that no case took."""
        return [branch for branch in self.branches if not branch.taken]

    @property
    def share(self) -> float:
        """The share of branches taken, 0 to 1."""
        return 1 - len(self.missed) / len(self.branches) if self.branches else 1.0

    def findings(self, document: Document) -> list[Finding]:
        """What is missed, at its place in the runbook."""
        return [
            Finding(
                document.file,
                *document.key_position(branch.path),
                MISSED,
                "warning",
                f"No case takes this branch: {branch.words}.",
                "Add a case that does.",
            )
            for branch in self.missed
        ]

    def as_dict(self, document: Document) -> dict[str, Any]:
        """Plain data for JSON and pages."""
        return {
            "branches": len(self.branches),
            "taken": len(self.branches) - len(self.missed),
            "missed": [
                {"line": line, "column": column, "words": branch.words}
                for branch in self.missed
                for line, column in [document.key_position(branch.path)]
            ],
        }


def measure(spec: RunbookSpec, played: list[Played]) -> Coverage:
    """The branches of a runbook, and which of them these cases took."""
    found = [*_triggers(spec, played), *_causes(spec, played)]
    for path, step in places(spec):
        seen = [row for one in played for row in one.steps.get(step.id, [])]
        for field_name, words, taken in _of_step(step, seen):
            found.append(Branch((*path, *field_name), f"`{step.id}`: {words}", taken))
    return Coverage(found)


def _triggers(spec: RunbookSpec, played: list[Played]) -> Iterator[Branch]:
    for index, _ in enumerate(spec.triggers):
        for value in (True, False):
            taken = any(one.triggers.get(index) is value for one in played)
            yield Branch(("triggers", index, "alert"), f"trigger {index + 1} is {str(value).lower()}", taken)


def _causes(spec: RunbookSpec, played: list[Played]) -> Iterator[Branch]:
    tops = {one.top for one in played}
    for cause in [*spec.hypotheses, "unknown"] if spec.hypotheses else []:
        path: Path = ("hypotheses",) if cause == "unknown" else ("hypotheses", cause)
        yield Branch(path, f"`{cause}` is the likeliest cause", cause in tops)


Found = tuple[Path, str, bool]


def _of_step(step: Step, seen: list[Seen]) -> Iterator[Found]:
    ran = [row for row in seen if row.started or row.rules]
    if step.if_ is not None:
        yield ("if",), "`if` is true", bool(ran)
        yield ("if",), "`if` is false", any(row.reason == "condition" for row in seen)
    if step.foreach is not None:
        yield ("foreach",), "`foreach` has items", bool(ran)
        yield ("foreach",), "`foreach` is empty", any(row.reason == "empty" for row in seen)
    if isinstance(step, CheckStep):
        yield from _rules(step, [rule for row in ran for rule in row.rules])
    elif isinstance(step, ManualStep):
        yield from _answers(step, ran)
    yield from _policies(step, ran)


def _rules(step: CheckStep, judged: list[tuple[str, str, str]]) -> Iterator[Found]:
    """Each way a finding can be judged, told by the rule that evidence keeps."""
    rules = {rule for _, _, rule in judged}

    def by(*starts: str) -> bool:
        return any(rule.startswith(starts) for rule in rules)

    if step.pass_if is None and step.fail_if is None:
        own = {verdict for verdict, _, rule in judged if rule == "the check's own statistics"}
        for verdict in ("fail", "pass"):
            yield ("check",), f"its own verdict is {verdict}", verdict in own
    if step.fail_if is not None:
        yield ("fail_if",), "`fail_if` is true", by("fail_if:")
        yield ("fail_if",), "`fail_if` is false", by("not fail_if", "pass_if:", "neither")
    if step.pass_if is not None:
        yield ("pass_if",), "`pass_if` is true", by("pass_if:")
        yield ("pass_if",), "`pass_if` is false", by("not pass_if", "neither")
    if step.min_samples is not None:
        yield ("min_samples",), "fewer than `min_samples`", by("samples ")
    if step.max_age is not None:
        yield ("max_age",), "older than `max_age`", by("age ")
    if step.no_data != "inconclusive":
        yield ("no_data",), "there is no data", by("no_data:")


def _answers(step: ManualStep, ran: list[Seen]) -> Iterator[Found]:
    done = {row.verdict for row in ran if row.state == "settled" and row.reason in ("", "done")}
    if step.fail_if is not None:
        yield ("fail_if",), "`fail_if` is true", "fail" in done
        yield ("fail_if",), "`fail_if` is false", bool(done & {"pass", "inconclusive"})
    if step.pass_if is not None:
        yield ("pass_if",), "`pass_if` is true", "pass" in done
        other = "fail" if step.fail_if is None else "inconclusive"
        yield ("pass_if",), "`pass_if` is false", other in done


def _policies(step: Step, ran: list[Seen]) -> Iterator[Found]:
    """One verdict for each thing that a verdict of this step can do to the run."""
    if isinstance(step, WaitStep):
        # Its verdict is pass whatever happens.
        return
    # A manual step has no verdict `error` but that of an expression which does not work.
    possible = DECIDED[:2] if isinstance(step, ManualStep) else DECIDED
    given = {verdict for row in ran for verdict in (row.verdict, row.proposed) if verdict}
    done = {step.policy(verdict) for verdict in given if verdict in possible}
    if "pass" in given:
        done.add("continue")
    for policy in sorted({step.policy(verdict) for verdict in possible} | {"continue"}):
        at: Path = ("on_verdict",) if getattr(step.on_verdict, "model_fields_set", set()) else (step.kind,)
        which = [verdict for verdict in possible if step.policy(verdict) == policy]
        words = " or ".join(["pass"] * (policy == "continue") + which)
        yield at, f"the run {_DOES[policy]} ({words})", policy in done


_DOES = {"continue": "goes on", "stop": "stops", "ask": "asks a person"}
