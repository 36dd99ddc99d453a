"""Cases are played by the real engine on a clock that jumps, and nothing outside is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from incidents.models import Incident, Message
from runbooks.models import Run, Runbook
from runbooks.testing.report import Report

Play = Callable[..., Report]


def says(report: Report) -> list[tuple[str, str]]:
    """Code and sentence of every finding."""
    return [(finding.code, finding.message) for finding in report.findings]


def test_it_plays_a_whole_story_and_leaves_no_trace(played: Play) -> None:
    report = played("""\
cases:
  - name: rolled back after the lead was asked too
    events: [{at: 12m, approve: roll_back, by: lead1}]
    expect:
      outcome: resolved
      diagnosis: {top: ours, confidence_at_least: 0.9}
      verdicts: {errors: fail, look: skipped, roll_back: pass, quiet: pass}
      effects: [roll_back]
      told: [tell]
      asked: {roll_back: [role:oncall, role:lead]}
      finished_after: 22m
""")
    assert says(report) == []
    assert [case.passed for case in report.cases] == [True]
    assert [model.objects.count() for model in (Run, Runbook, Incident, Message)] == [0, 0, 0, 0]


def test_it_says_what_came_otherwise_and_where_that_was_expected(played: Play) -> None:
    report = played("""\
cases:
  - name: wrong in everything
    events: [{at: 3m, approve: roll_back}]
    expect:
      outcome: no_action
      verdicts: {quiet: fail}
      effects: []
      finished_after: 1h
""")
    assert says(report) == [
        ("RT021", "wrong in everything: The outcome is `resolved`, not `no_action`."),
        ("RT021", "wrong in everything: The order of effects is `['roll_back']`, not `[]`."),
        ("RT021", "wrong in everything: It took 13m, not 1h."),
        ("RT021", "wrong in everything: The verdict of `quiet` is `pass`, not `fail`."),
    ]
    assert [(finding.line, finding.column) for finding in report.findings] == [(10, 7), (12, 7), (13, 7), (11, 18)]
    assert not report.passed


def test_a_step_without_a_stub_is_a_failure_at_the_case(played: Play) -> None:
    report = played(
        "cases:\n  - name: forgotten\n    expect: {}\n", head="runbook: small\ninputs: {service: rag-chat}\n"
    )
    assert says(report) == [("RT020", "forgotten: Step `errors` runs and has no stub.")]
    assert report.findings[0].line == 4


ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "nobody answers": ("[]", {"state": "expired"}),
    "rejected": ("[{at: 1m, reject: roll_back, reason: No}]", {"outcome": "aborted"}),
    "cancelled": ("[{at: 1m, cancel: true}]", {"state": "cancelled"}),
    "skipped": ("[{at: 1m, skip: roll_back}]", {"outcome": "resolved", "effects": []}),
    "asked, accepted": ("[{at: 30m, answer: roll_back, decision: accept}]", {"outcome": "resolved", "effects": []}),
    "asked, stopped": ("[{at: 30m, answer: roll_back, decision: stop}]", {"outcome": "aborted"}),
    "asked, again": ("[{at: 30m, rerun: roll_back}, {at: 31m, approve: roll_back}]", {"effects": ["roll_back"]}),
    "overridden": ("[{at: 30m, override: roll_back, verdict: pass, note: Done by hand}]", {"outcome": "resolved"}),
    "paused": (
        "[{at: 1m, pause: true}, {at: 5m, approve: roll_back}, {at: 9m, resume: true}]",
        {"finished_after": "19m"},
    ),
}


def test_people_decide_how_it_ends(played: Play) -> None:
    text = "cases:\n"
    for name, (events, expect) in ENDS.items():
        words = ", ".join(f"{key}: {value}" for key, value in expect.items())
        text += f"  - name: {name}\n    events: {events}\n    expect: {{{words}}}\n"
    assert says(played(text)) == []


FAULTS = {
    "no_data": ("{fault: no_data}", "inconclusive", "no_data", 1),
    "429": ("{fault: 429}", "error", "rate_limited", 3),
    "timeout": ("{fault: timeout}", "error", "timeout", 3),
    "worker_lost": ("{fault: worker_lost}", "error", "worker_lost", 3),
    "once lost": ("[{fault: worker_lost}, {value: 0.01, samples: 400}]", "pass", "", 2),
    "permanent": ("{error: No such signal, permanent: true}", "error", "stubbed", 1),
    "too few": ("{value: 0.2, samples: 19}", "inconclusive", "too_few_samples", 1),
    "not yet": ("[{pending: 30s}, {value: 0.01, samples: 400}]", "pass", "", 1),
}


def test_the_world_may_fail_in_every_way(played: Play) -> None:
    text = "cases:\n"
    for name, (stub, verdict, reason, attempts) in FAULTS.items():
        text += f"""\
  - name: fault {name}
    stubs: {{errors: {stub}}}
    expect:
      verdicts: {{errors: {verdict}}}
      reasons: {{errors: "{reason}"}}
      attempts: {{errors: {attempts}}}
      effects: []
"""
    assert says(played(text)) == []


def test_an_event_may_lose_the_worker_right_after_it_sent(played: Play) -> None:
    report = played("""\
cases:
  - name: lost in the middle of a rollback
    events: [{at: 0s, worker_lost: roll_back}, {at: 3m, approve: roll_back}]
    expect: {effects: [roll_back], attempts: {roll_back: 2}, outcome: resolved}
""")
    assert says(report) == []


def test_it_can_be_cut_off_to_look_at_what_waits(played: Play) -> None:
    report = played("""\
cases:
  - name: it waits for the team
    until: 5m
    expect: {state: active, waiting: {roll_back: approval}, effects: []}
""")
    assert says(report) == []


def test_an_alert_starts_it_only_where_a_trigger_matches(played: Play) -> None:
    report = played(
        """\
cases:
  - name: firing
    alert: {labels: {kind: small, service: rag-chat}}
    until: 1m
    expect: {state: active}
  - name: resolved
    alert: {status: resolved, labels: {kind: small, service: rag-chat}}
    expect: {starts: false}
  - name: without a service
    alert: {labels: {kind: small}}
    expect: {starts: false}
""",
        head="runbook: small\nstubs: {errors: {value: 0.2, samples: 400}}\n",
    )
    assert says(report) == []


def test_who_may_not_approve_is_refused(played: Play) -> None:
    report = played("""\
people: {ann: [role:oncall], eve: []}
cases:
  - name: only the group that is asked
    events:
      - {at: 1m, approve: roll_back, by: eve, refused: true}
      - {at: 2m, approve: roll_back, by: ann}
    expect: {effects: [roll_back]}
  - name: not expected
    events: [{at: 1m, approve: roll_back, by: eve}]
    expect: {}
""")
    assert says(report) == [
        ("RT022", "not expected: approve roll_back at 1m: This asks role:oncall, and you are not among them.")
    ]


WATCHED = """\
spec: 1
id: small
title: A watch
incident_type: other
owner: role:oncall
phases:
  verify:
    - id: calm
      check: metric.query
      with: {connection: c, query: q}
      fail_if: value > 1
      watch: {every: 1h, for: 24h, max_fails: 2, fail_streak: 2}
"""


def test_a_watch_takes_an_answer_per_sample_and_a_day_in_no_time(played: Play) -> None:
    report = played(
        """\
cases:
  - name: calm for a day although a worker dies
    stubs: {calm: [{value: 0}, {value: 2}, {fault: no_data}, {value: 0}]}
    events: [{at: 90m, worker_lost: calm}]
    expect: {outcome: resolved, verdicts: {calm: pass}, finished_after: 24h}
  - name: a relapse at hour nineteen
    stubs: {calm: [%s{value: 9}]}
    expect: {outcome: not_resolved, verdicts: {calm: fail}, finished_after: 20h}
"""
        % (18 * "{value: 0}, "),
        runbook=WATCHED,
        head="runbook: small\n",
    )
    assert says(report) == []
    assert [case.passed for case in report.cases] == [True, True]
