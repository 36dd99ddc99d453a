"""Which branches the cases take, and which numbers could be moved without any of them noticing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common import yaml
from runbooks.spec import RunbookSpec
from runbooks.testing.report import Report
from runbooks.testing.thresholds import moves, shifts
from tests.factories_testing import RUNBOOK

Play = Callable[..., Report]
ALL = """\
cases:
  - name: rolled back
    alert: {labels: {kind: small, service: rag-chat}}
    stubs: {errors: {value: 0.0505, samples: 20}}
    events: [{at: 1m, approve: roll_back}]
    expect: {verdicts: {errors: fail}, outcome: resolved, told: [tell]}
  - name: no trigger
    alert: {status: resolved, labels: {kind: small, service: rag-chat}}
    expect: {starts: false}
  - name: nothing wrong
    stubs: {errors: {value: 0.0495, samples: 20}, quiet: {value: 0.0195}}
    events: [{at: 1m, answer: look, fields: {bad: 5}}]
    expect: {verdicts: {errors: pass, look: pass, quiet: pass}, diagnosis: {top: unknown}}
  - name: too few, and looked at
    stubs: {errors: {value: 0.2, samples: 19}, quiet: {value: 0.0202}, tell: {error: It is away, permanent: true}}
    events: [{at: 1m, answer: look, fields: {bad: 6}}, {at: 30m, answer: tell, decision: accept}]
    expect: {verdicts: {errors: inconclusive, look: fail, quiet: inconclusive}, diagnosis: {top: unknown}}
  - name: nobody approves, and it says no
    stubs: {tell: {refused: No}}
    events: [{at: 30m, override: roll_back, verdict: pass, note: Done by hand}]
    expect: {verdicts: {tell: fail}, outcome: aborted}
  - name: rejected
    events: [{at: 1m, reject: roll_back}]
    expect: {outcome: aborted}
  - name: still bad
    stubs: {quiet: [{value: 0.0505}]}
    events: [{at: 1m, approve: roll_back}]
    expect: {verdicts: {quiet: fail}, outcome: not_resolved}
  - name: not so bad
    stubs: {quiet: [{value: 0.0495}]}
    events: [{at: 1m, approve: roll_back}]
    expect: {verdicts: {quiet: inconclusive}, outcome: unverified}
"""
FIRST = ALL[: ALL.index("  - name: no trigger")]


def test_it_lists_every_branch_that_no_case_takes(played: Play) -> None:
    report = played(FIRST)
    assert report.passed
    told = {finding.message.removeprefix("No case takes this branch: ") for finding in report.missed}
    assert told == {
        "trigger 1 is false.",
        "`unknown` is the likeliest cause.",
        "`errors`: `fail_if` is false.",
        "`errors`: fewer than `min_samples`.",
        "`look`: `if` is true.",
        "`look`: `fail_if` is true.",
        "`look`: `fail_if` is false.",
        "`look`: the run goes on (pass or fail or inconclusive).",
        "`roll_back`: `if` is false.",
        "`roll_back`: the run asks a person (inconclusive or error).",
        "`roll_back`: the run stops (fail).",
        "`tell`: the run asks a person (inconclusive or error).",
        "`tell`: the run stops (fail).",
        "`quiet`: `fail_if` is true.",
        "`quiet`: `pass_if` is false.",
    }
    assert {(f.file, f.code, f.severity) for f in report.missed} == {("small.yaml", "RT030", "warning")}
    at = {f.message: (f.line, f.column) for f in report.missed}
    assert at["No case takes this branch: `errors`: fewer than `min_samples`."] == (21, 7)


def test_cases_for_every_branch_cover_all(played: Play) -> None:
    report = played(ALL)
    assert [str(finding) for finding in (*report.findings, *report.missed)] == []
    assert report.coverage["taken"] == report.coverage["branches"] > 20


TINY = """\
spec: 1
id: small
title: Tiny
incident_type: other
owner: team:default
phases:
  check:
    - id: errors
      check: metric.query
      with: {signal: error_rate, window: 5m}
      fail_if: "value > 0.05"
      min_samples: 20
"""
BESIDE = """\
  - name: just above, just enough
    stubs: {errors: {value: 0.0505, samples: 20}}
    expect: {verdicts: {errors: fail}}
"""
BELOW = """\
  - name: just below, just too few
    stubs: {errors: [{value: 0.0495, samples: 20}]}
    expect: {verdicts: {errors: pass}}
  - name: too few
    stubs: {errors: {value: 0.2, samples: 19}}
    expect: {reasons: {errors: too_few_samples}}
"""


def test_it_names_the_numbers_that_nobody_guards(played: Play) -> None:
    report = played("cases:\n" + BESIDE, runbook=TINY, head="runbook: small\n", thresholds=True)
    assert [(f.code, f.line, f.column, f.message.split(" when this ")[1]) for f in report.survivors or []] == [
        ("RT031", 11, 25, "0.05 is 0.0475."),
        ("RT031", 12, 20, "20 is 19."),
    ]


def test_cases_beside_a_limit_let_no_number_move(played: Play) -> None:
    report = played("cases:\n" + BESIDE + BELOW, runbook=TINY, head="runbook: small\n", thresholds=True)
    assert report.passed
    assert report.survivors == []


@pytest.mark.parametrize(
    ("number", "moved"),
    [
        ("0", ["-1", "1"]),
        ("6", ["5", "7"]),
        ("200", ["190", "210"]),
        ("0.05", ["0.0475", "0.0525"]),
        ("0.0", ["-0.05", "0.05"]),
    ],
)
def test_numbers_move_a_little(number: str, moved: list[str]) -> None:
    assert moves(number) == moved


RULES = {
    "value > 0.05": ["0.05", "0.05"],
    "value in [1, 20]": ["1", "1", "20", "20"],
    "result.x[0] > 3": ["3", "3"],
    "value | round(2) > 1.5": ["1.5", "1.5"],
    "steps.errors2.value > 7 and '5' != '6'": ["7", "7"],
}


@pytest.mark.parametrize("rule", RULES)
def test_only_what_is_compared_is_moved(rule: str) -> None:
    text = RUNBOOK.replace("value > 0.05\n      min_samples: 20", rule)
    data = yaml.read(text, file="small.yaml").data
    found = shifts(RunbookSpec.model_validate(data), data)
    assert [shift.was for shift in found if shift.step == "errors"] == RULES[rule]


def test_guards_watches_and_defaults_are_moved_too() -> None:
    text = RUNBOOK.replace("min_samples: 20", "min_samples: 200\n      max_age: 10m")
    text = text.replace("fail_if: value > 0.05\n", "fail_if: value > inputs.most\n", 1)
    text = text.replace("\nhypotheses:", "\n  most: {type: number, default: 0.05}\nhypotheses:")
    text += "      watch: {every: 5m, for: 1h, max_fails: 2, fail_streak: 2}\n"
    data = yaml.read(text, file="small.yaml").data
    found = shifts(RunbookSpec.model_validate(data), data)
    alone = [(shift.path[-1], shift.was, shift.now) for shift in found if shift.offset is None]
    assert alone == [
        ("min_samples", "200", "190"),
        ("min_samples", "200", "210"),
        ("max_age", "10m", "570s"),
        ("max_age", "10m", "630s"),
        ("max_fails", "2", "1"),
        ("max_fails", "2", "3"),
        ("fail_streak", "2", "1"),
        ("fail_streak", "2", "3"),
        ("default", "0.05", "0.0475"),
        ("default", "0.05", "0.0525"),
    ]
