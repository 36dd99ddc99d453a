"""Cases of runbooks that run another: it is played with stubs for its steps, or ends as the case says."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from common.yaml import FileFaults
from runbooks import schema
from runbooks.testing import cases
from runbooks.testing.family import Family
from runbooks.testing.report import Report
from tests.factories_runbooks import HEAD as TOP
from tests.runbooks.testing.test_playing import says

Play = Callable[..., Report]
HEAD = "runbook: small\n"
OUTER = (
    TOP.format(slug="small")
    + """\
inputs: {place: {type: string, default: eu}}
outputs: {cause: steps.call.result.cause}
phases:
  check:
    - {id: call, runbook: other, with: {place: "{{ inputs.place }}"}, timeout: 1h, on_verdict: {inconclusive: continue}}
    - {id: after, if: steps.call.verdict == 'pass', check: http.json, with: {connection: c}, pass_if: value == 1}
"""
)
OTHER = (
    TOP.format(slug="other")
    + """\
inputs: {place: {type: string, enum: [eu, us]}}
outputs: {cause: steps.look.value}
phases:
  check:
    - {id: look, check: http.json, with: {connection: c, path: "{{ inputs.place }}"}, fail_if: value > 5}
  triage:
    - {id: read, if: steps.look.verdict == 'fail', manual: Read it., assign: role:lead}
  remediate:
    - id: act
      if: steps.look.verdict == 'fail'
      action: notify.send
      with: {text: It is bad.}
      approval: {from: [role:oncall]}
"""
)


def test_it_is_played_with_stubs_for_its_steps(played: Play) -> None:
    report = played(
        """\
stubs: {after: {value: 1}}
cases:
  - name: nothing found
    stubs: {call.look: {value: 1}}
    expect:
      outcome: no_action
      verdicts: {call: pass, call.look: pass, call.read: skipped, after: pass}
      outputs: {cause: 1}
      finished_after: 0s
  - name: found, read and told
    stubs: {call.look: [{error: It is away}, {value: 9}]}
    events:
      - {at: 5m, answer: call.read, by: ann}
      - {at: 7m, approve: call.act, by: ann}
    expect:
      verdicts: {call.look: fail, call.act: pass, call: pass}
      attempts: {call.look: 2}
      asked: {call.read: [role:lead], call.act: [role:oncall]}
      told: [call.act]
      effects: []
      finished_after: 7m
  - name: it waits inside
    stubs: {call.look: {value: 9}}
    until: 1m
    expect: {waiting: {call: child, call.read: human}}
  - name: a worker is lost inside, and the time is over
    stubs: {call.look: {value: 9}}
    events: [{at: 0s, worker_lost: call.look}]
    expect: {reasons: {call: timeout}, state: expired, attempts: {call.look: 2}}
""",
        runbook=OUTER,
        head=HEAD,
        others=(OTHER,),
    )
    assert says(report) == []


ENDS = {
    "resolved": ("pass", "resolved", "no_action"),
    "no_action": ("pass", "no_action", "no_action"),
    "not_resolved": ("fail", "not_resolved", "aborted"),
    "unverified": ("inconclusive", "unverified", "no_action"),
}


def test_it_ends_as_the_case_says_and_its_inputs_are_validated(played: Play) -> None:
    text = "stubs: {after: {value: 1}}\ncases:\n"
    for ends, (verdict, reason, outcome) in ENDS.items():
        text += f"""\
  - name: {ends}
    stubs: {{call: {{ends: {ends}, outputs: {{cause: rain}}, takes: 10m}}}}
    expect:
      verdicts: {{call: {verdict}}}
      reasons: {{call: {reason}}}
      outcome: {outcome}
      outputs: {{cause: rain}}
      finished_after: 10m
"""
    text += """\
  - name: a place that the other does not know
    inputs: {place: moon}
    stubs: {call: {ends: resolved}}
    until: 1m
    expect: {waiting: {call: ask}, reasons: {call: bad_input}}
  - name: it changed something
    stubs: {call: {ends: resolved, changed: true}}
    expect: {outcome: unverified, effects: [call]}
"""
    assert says(played(text, runbook=OUTER, head=HEAD, others=(OTHER,))) == []


@pytest.mark.parametrize("ends", ["aborted", "cancelled", "expired"])
def test_what_did_not_end_well_asks_and_runs_again_as_the_next_answer_says(played: Play, ends: str) -> None:
    report = played(
        f"""\
cases:
  - name: {ends}, then again
    stubs: {{call: [{{ends: {ends}, reason: no power}}, {{ends: no_action}}], after: {{value: 1}}}}
    events: [{{at: 5m, rerun: call}}]
    expect: {{verdicts: {{call: pass}}, finished_after: 5m}}
  - name: {ends}
    stubs: {{call: {{ends: {ends}}}}}
    until: 1m
    expect: {{waiting: {{call: ask}}, reasons: {{call: {ends}}}}}
""",
        runbook=OUTER,
        head=HEAD,
        others=(OTHER,),
    )
    assert says(report) == []


def test_one_that_takes_too_long_is_cut_off_and_one_that_is_cancelled_goes_along(played: Play) -> None:
    report = played(
        """\
stubs: {call: {ends: resolved, takes: 2h}}
cases:
  - name: cut off
    until: 61m
    expect: {waiting: {call: ask}, reasons: {call: timeout}}
  - name: cancelled
    events: [{at: 30m, cancel: true}]
    expect: {state: cancelled, finished_after: 30m}
""",
        runbook=OUTER,
        head=HEAD,
        others=(OTHER,),
    )
    assert says(report) == []


def test_a_step_inside_without_a_stub_is_a_failure_that_names_it(played: Play) -> None:
    report = played("cases:\n  - name: forgotten\n    expect: {}\n", runbook=OUTER, head=HEAD, others=(OTHER,))
    assert says(report) == [("RT020", "forgotten: Step `call.look` runs and has no stub.")]


def test_its_policies_are_branches(played: Play) -> None:
    text = """\
stubs: {after: {value: 1}}
cases:
  - name: good
    stubs: {call: {ends: resolved}}
    expect: {}
"""
    more = """\
  - name: bad
    stubs: {call: {ends: not_resolved}}
    expect: {outcome: aborted}
  - name: cancelled
    stubs: {call: {ends: cancelled}}
    events: [{at: 1m, answer: call, decision: accept}]
    expect: {outcome: no_action}
"""

    def missed(told: Report) -> list[str]:
        assert says(told) == []
        return [finding.message.partition(": ")[2] for finding in told.missed if "`call`" in finding.message]

    play = {"runbook": OUTER, "head": HEAD, "others": (OTHER,)}
    assert missed(played(text, **play)) == [
        "`call`: the run asks a person (error).",
        "`call`: the run stops (fail).",
    ]
    assert missed(played(text + more, **play)) == []


THIRD = OUTER.replace("id: small", "id: other").replace("runbook: other", "runbook: third")


def test_it_goes_down_to_the_third(played: Play) -> None:
    report = played(
        """\
stubs: {call.after: {value: 1}, after: {value: 1}}
cases:
  - name: all played
    stubs: {call.call.look: {value: 1}}
    expect: {verdicts: {call.call.look: pass, call.call: pass, call: pass}}
  - name: the third ends
    stubs: {call.call: {ends: no_action, outputs: {cause: rain}}}
    expect: {verdicts: {call.call: pass, call.after: pass}, outputs: {cause: rain}}
""",
        runbook=OUTER,
        head=HEAD,
        others=(THIRD, OTHER.replace("id: other", "id: third")),
    )
    assert says(report) == []


EACH = (
    TOP.format(slug="small")
    + """\
inputs: {places: {type: list, default: [eu, us]}}
phases:
  check:
    - {id: call, foreach: inputs.places, runbook: other, with: {place: "{{ item }}"}, on_verdict: {fail: continue}}
"""
)


def test_each_element_has_its_own_answers_and_people(played: Play) -> None:
    report = played(
        """\
cases:
  - name: played, one is bad
    stubs: {call.look: {items: [{value: 1}, [{error: It is away}, {value: 9}]]}}
    events: [{at: 1m, answer: call.read, item: 1}, {at: 2m, approve: call.act, item: 1}]
    expect: {items: {call: [pass, pass], call.look: [pass, fail]}, told: [call.act], finished_after: 2m}
  - name: one ends badly
    stubs: {call: {items: [{ends: no_action}, {ends: not_resolved, takes: 1m}]}}
    expect: {items: {call: [pass, fail]}, verdicts: {call: fail}, reasons: {call: not_resolved}, finished_after: 1m}
""",
        runbook=EACH,
        head=HEAD,
        others=(OTHER,),
    )
    assert says(report) == []


SPREAD = (
    TOP.format(slug="other")
    + """\
inputs: {place: {type: string}}
phases:
  remediate:
    - id: act
      foreach: "['a', 'b']"
      action: notify.send
      with: {text: "{{ item }} in {{ inputs.place }}"}
      approval: {from: [role:oncall]}
      on_verdict: {fail: continue}
"""
)


def test_an_event_names_an_element_of_each_spread_step(played: Play) -> None:
    report = played(
        """\
cases:
  - name: one of four is refused
    events:
      - {at: 1m, reject: call.act, item: [1, 0], reason: Not there}
      - {at: 2m, approve: call.act, item: [1, 1]}
      - {at: 3m, approve: call.act, item: 0}
      - {at: 4m, approve: call.act, item: [0, 1]}
    expect: {items: {call.act: [pass, pass, fail, pass]}, told: [call.act, call.act, call.act], finished_after: 4m}
""",
        runbook=EACH,
        head=HEAD,
        others=(SPREAD,),
    )
    assert says(report) == []


def test_an_element_too_many_is_a_finding(played: Play) -> None:
    events = "cases:\n  - {name: a, events: [{at: 1m, reject: call.act, item: [1, 0, 2]}], expect: {}}\n"
    [(code, told)] = says(played(events, runbook=EACH, head=HEAD, others=(SPREAD,)))
    assert (code, told) == ("RT006", "`item` names 3 elements; `foreach` stands on the way at: `call`, `call.act`.")


def test_one_waits_in_line_for_the_key_of_another(played: Play) -> None:
    report = played(
        """\
cases:
  - name: one after the other
    stubs: {call: {ends: no_action, takes: 5m}}
    expect: {items: {call: [pass, pass]}, finished_after: 10m}
""",
        runbook=EACH,
        head=HEAD,
        others=(OTHER.replace("outputs:", "concurrency: {key: one}\noutputs:"),),
    )
    assert says(report) == []


WRONG = {
    "stubs: {call: {value: 1, ends: resolved}}": ("RT006", "`value` has no meaning for runbook steps"),
    "stubs: {call: {error: away, ends: resolved}}": ("RT006", "`error` has no meaning for runbook steps"),
    "stubs: {call: {takes: 1m}}": ("RT006", "say how the other runbook `ends`"),
    "stubs: {after: {ends: resolved}}": ("RT006", "`ends` has no meaning for check steps"),
    "stubs: {call: {ends: cured}}": ("RT003", "`ends`"),
    "stubs: {call: {items: [{ends: resolved}]}}": ("RT006", "`items` are for steps with `foreach`"),
    "stubs: {call.luck: {value: 1}}": ("RT004", "There is no step `call.luck`"),
    "stubs: {after.look: {value: 1}}": ("RT004", "There is no step `after.look`"),
    "stubs: {call.read: {value: 1}}": ("RT006", "`call.read` is a manual step"),
    "events: [{at: 1m, approve: call.look.x}]": ("RT004", "There is no step `call.look.x`"),
}


@pytest.mark.parametrize("part", WRONG)
def test_every_fault_has_code_place_and_fix(part: str) -> None:
    family = Family(schema.parse(OUTER, file="small.yaml"), {"other": schema.parse(OTHER, file="other.yaml")})
    try:
        tests, document = cases.read(f"{HEAD}cases:\n  - name: a\n    {part}\n    expect: {{}}\n", file="t")
        (found,) = cases.check(tests, document, family)
    except FileFaults as faults:
        (found,) = faults.findings
    code, words = WRONG[part]
    assert (found.code, found.line) == (code, 4), found
    assert words in found.message
    assert found.fix


def test_the_nearest_step_inside_is_offered() -> None:
    family = Family(schema.parse(OUTER, file="small.yaml"), {"other": schema.parse(OTHER, file="other.yaml")})
    assert family.beside("call.luck") == ["call.look", "call.read", "call.act"]
    assert family.beside("gone.luck") == ["call", "after"]


def command(path: Path) -> tuple[int, str]:
    """Exit code and output of `manage.py runbook test`."""
    out = StringIO()
    try:
        call_command("runbook", "test", str(path), "--json", "--processes", "1", stdout=out, stderr=out)
    except SystemExit as left:
        return int(left.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_the_command_finds_the_other_beside_and_says_when_it_is_not(db: None, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(OUTER)
    (tmp_path / "other.yaml").write_text(OTHER)
    path = tmp_path / "small.test.yaml"
    path.write_text(
        HEAD
        + "cases:\n  - {name: a, stubs: {call.look: {value: 1}, after: {value: 1}}, expect: {outcome: no_action}}\n"
    )
    assert command(path)[0] == 0
    (tmp_path / "other.yaml").write_text("spec: 1\n")
    code, told = command(path)
    assert (code, json.loads(told)["findings"][0]["code"]) == (1, "RT005")
    (tmp_path / "other.yaml").unlink()
    code, told = command(path)
    assert (code, [found["code"] for found in json.loads(told)["findings"]]) == (1, ["RB053"])
