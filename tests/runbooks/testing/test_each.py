"""Cases of steps with `foreach`: answers, people and verdicts of each element, and their branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from catalog.models import Team
from runbooks import schema
from runbooks.testing.cases import Stub
from runbooks.testing.family import Family
from runbooks.testing.report import Report
from runbooks.testing.stubs import VirtualClock, World
from tests.factories import make_actor
from tests.factories_checks import make_context
from tests.factories_runbooks import HEAD as TOP
from tests.factories_runbooks import make_runbook, start
from tests.runbooks.testing.test_playing import says

Play = Callable[..., Report]
HEAD = "runbook: small\ninputs: {places: [eu, us, asia]}\n"
EACH = (
    TOP.format(slug="small")
    + """\
inputs: {places: {type: list}}
phases:
  check:
    - {id: look, foreach: inputs.places, check: http.json, with: {connection: c, path: x}, fail_if: value > 5}
    - id: worse
      if: steps.look.items | selectattr('verdict', 'eq', 'fail') | list | length > 1
      check: http.json
      with: {connection: c}
      pass_if: value == 1
  remediate:
    - id: act
      foreach: inputs.places
      action: model.rollback
      with: {to: "{{ item }}"}
      risk: high
      lock: "{{ item }}"
      approval: {from: [role:oncall], timeout: 10m, message: "Switch {{ item }}?"}
      undo: {action: model.rollback, with: {to: "old {{ item }}"}, auto: true}
      on_verdict: {fail: continue}
  verify:
    - {id: better, check: http.json, with: {connection: c}, fail_if: value > 0}
"""
)
FINE = "stubs: {look: {value: 1}, worse: {value: 1}, better: {value: 0}}\n"


def test_each_element_has_its_answers_attempts_and_verdict(played: Play) -> None:
    report = played(
        FINE
        + """\
cases:
  - name: one answer for all
    events: [{at: 1m, reject: act, item: 0}, {at: 1m, reject: act, item: 1}, {at: 1m, reject: act, item: 2}]
    expect: {items: {look: [pass, pass, pass], act: [fail, fail, fail]}, verdicts: {look: pass}, effects: []}
  - name: one is bad, one is lost, one comes late
    stubs:
      look: {items: [{value: 9}, {fault: worker_lost}, [{pending: 30s}, {error: It is away}, {value: 1}]]}
    events:
      - {at: 10m, approve: act, item: 2}
      - {at: 10m, reject: act, item: 0, reason: Not there}
      - {at: 10m, skip: act, item: 1}
    expect:
      verdicts: {look: fail, worse: skipped, act: fail}
      items: {look: [fail, error, pass], act: [fail, skipped, pass]}
      reasons: {look: "", act: rejected}
      attempts: {look: 3}
      effects: [act]
      outcome: resolved
""",
        runbook=EACH,
        head=HEAD,
    )
    assert says(report) == []


def test_what_each_changed_is_taken_back_and_one_may_be_refused(played: Play) -> None:
    report = played(
        FINE
        + """\
cases:
  - name: it was no help
    stubs:
      better: {value: 1}
      act: {items: [{before: {version: v1}}, {refused: Not there}, [{unclear: No answer}, {summary: Done}]]}
    events:
      - {at: 1m, approve: act, item: 0}
      - {at: 2m, approve: act, item: 1}
      - {at: 3m, approve: act, item: 2}
    expect:
      items: {act: [pass, fail, pass], undo-act: [pass, pass]}
      effects: [act, act, undo-act, undo-act]
      outcome: not_resolved
""",
        runbook=EACH,
        head=HEAD,
    )
    assert says(report) == []


def test_what_its_approval_shows_is_that_of_the_element(team: Team) -> None:
    run = start(make_runbook(team, "  check:\n    - {id: look, manual: Look.}\n"), make_actor(team), team)
    each = [Stub(items=[[Stub(before={"version": "v1"})], [Stub(before={"version": "v2"})]])]
    world = World(Family(schema.parse(EACH, file="small.yaml")), {"act": each}, VirtualClock())
    shown = [
        world.look(replace(make_context(None), step_key=f"{run.uuid}:act:{item}:1")).before["version"]
        for item in (0, 1)
    ]
    assert shown == ["v1", "v2"]


ALL = ["pass", "pass", "pass"]


def test_an_element_without_an_answer_or_a_row_is_told(played: Play) -> None:
    report = played(
        """\
cases:
  - name: two answers for three
    stubs: {look: {items: [{value: 1}, {value: 1}]}}
    expect: {}
  - name: nobody is the fourth
    stubs: {look: {value: 1}, worse: {value: 1}, better: {value: 0}}
    events: [{at: 1m, approve: act, item: 3}]
    until: 5m
    expect: {items: {look: [pass, pass]}}
""",
        runbook=EACH,
        head=HEAD,
    )
    assert says(report) == [
        ("RT020", "two answers for three: Step `look` runs and has no stub."),
        ("RT022", "nobody is the fourth: approve act at 1m: The run has no such step yet, or no such item of it."),
        ("RT021", f"nobody is the fourth: The verdict of each element of `look` is `{ALL}`, not `{ALL[:2]}`."),
    ]


SMALL = (
    TOP.format(slug="small")
    + """\
inputs: {places: {type: list}}
phases:
  check:
    - id: look
      foreach: inputs.places
      check: metric.query
      with: {signal: "{{ item.name }}", window: 5m}
      fail_if: value > item.most + 5
      min_samples: 20
      on_verdict: {fail: stop}
"""
)
TWO = """\
cases:
  - name: one below, one above
    inputs: {places: [{name: us, most: 100}, {name: eu, most: 1}]}
    stubs: {look: {items: [{value: 105, samples: 20}, {value: 6.1, samples: 20}]}}
    expect: {items: {look: [pass, fail]}, outcome: aborted}
"""
MORE = """\
  - name: nobody to look at
    inputs: {places: []}
    expect: {reasons: {look: empty}}
  - name: too few of one
    inputs: {places: [{name: eu, most: 1}]}
    stubs: {look: {value: 9, samples: 19}}
    expect: {reasons: {look: too_few_samples}}
"""


def test_its_branches_are_those_of_all_elements_and_of_none(played: Play) -> None:
    report = played(TWO, runbook=SMALL, head="runbook: small\n")
    assert says(report) == []
    assert {finding.message.removeprefix("No case takes this branch: ") for finding in report.missed} == {
        "`look`: `foreach` is empty.",
        "`look`: fewer than `min_samples`.",
    }
    report = played(TWO + MORE, runbook=SMALL, head="runbook: small\n")
    assert (says(report), report.missed) == ([], [])


def test_a_number_of_its_rule_is_guarded_by_an_element_on_each_side(played: Play) -> None:
    report = played(TWO + MORE, runbook=SMALL, head="runbook: small\n", thresholds=True)
    assert (says(report), report.survivors) == ([], [])
    loose = (TWO + MORE).replace("6.1", "60").replace("105", "1")
    report = played(loose, runbook=SMALL, head="runbook: small\n", thresholds=True)
    told = [finding.message for finding in report.survivors or []]
    assert told == ["No case fails when this 5 is 4.", "No case fails when this 5 is 6."]
