"""Cases 1, 2, 6, 21, 25: what starts when, what a verdict does, how a run ends, and what it says the cause is."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from common import clock
from incidents.models import Incident
from runbooks import engine, runs
from runbooks.actions.base import Refused
from runbooks.checks.base import CheckError
from runbooks.models import DiagnosisSnapshot, Run, RunEvent, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import carry_out, claim, make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

ORDER = """
  check:
    - {id: a, check: world.ask, fail_if: value > 5}
    - {id: b, check: world.ask, fail_if: value > 5}
    - {id: c, check: world.ask, if: steps.a.value > 0, fail_if: value > 5}
    - {id: d, action: world.notify, with: {to: x}}
    - {id: e, check: world.ask, fail_if: value > 5}
"""


def test_case_01_order(team: Team, world: World) -> None:
    world.checks = [9.0, 9.0, 9.0]
    run = start(make_runbook(team, ORDER), make_actor(team), team)
    assert [name for name, state in states(run).items() if state == "ready"] == ["a", "b"]
    # One after the other: each gives the next, claimed as it was settled.
    claimed = carry_out(claim(run, "a"))
    assert (step(run, "b").state, step(run, "c").state, step(run, "d").state) == ("leased", "ready", "pending")
    claimed = carry_out(claimed)
    assert (step(run, "c").state, step(run, "d").state) == ("leased", "pending")
    assert carry_out(claimed) is None
    assert (step(run, "d").state, step(run, "e").state) == ("ready", "pending")
    pump()
    assert states(run) == {"a": "fail", "b": "fail", "c": "fail", "d": "pass", "e": "pass"}


def test_case_02_undefined_is_not_false(team: Team, world: World) -> None:
    steps = """
  check:
    - {id: a, if: 1 > 2, check: world.ask, pass_if: value > 0}
    - {id: b, if: steps.a.value > 3, check: world.ask, pass_if: value > 0}
    - {id: c, manual: Look.}
"""
    run = start(make_runbook(team, steps), make_actor(team), team)
    pump()
    assert states(run) == {"a": "skipped", "b": "error", "c": "blocked human"}
    assert step(run, "b").reason == "expression"
    told = dict(RunEvent.objects.filter(run=run, step__in=["a", "b"]).values_list("step", "transition"))
    assert told == {"a": "S1", "b": "S2"}


GATE = """
  check:
    - {id: look, check: world.ask, fail_if: value > 5}
  remediate:
    - {id: act, action: world.set, with: {to: b}}
  verify:
    - {id: better, check: world.ask, pass_if: value > 0}
"""


def test_case_06_checks_inform_actions_gate(team: Team, incident: Incident, world: World) -> None:
    world.checks, world.actions = [9.0], [Refused("Not allowed.")]
    run = start(make_runbook(team, GATE), make_actor(team), team, incident)
    pump()
    run.refresh_from_db()
    assert states(run) == {"look": "fail", "act": "fail", "better": "cancelled"}
    assert (run.state, run.outcome) == ("finished", "aborted")
    moments = RunEvent.objects.filter(run=run, transition__in=["R4", "S18", "R5"]).order_by("seq")
    # In one transaction with the verdict: nothing is read of the clock between.
    assert [row.transition for row in moments] == ["R4", "S18", "R5"]
    settled = RunEvent.objects.get(run=run, step="act", state="settled fail")
    assert {row.at for row in moments} == {settled.at}


SET = "    - {id: act, action: world.set, with: {to: b}}\n"
TELL = "    - {id: act, action: world.notify, with: {to: b}}\n"
LOOK = "    - {id: look, check: world.ask, fail_if: value > 5, no_data: inconclusive}\n"
NEVER = "    - {id: never, if: 1 > 2, check: world.ask, fail_if: value > 5}\n"


@pytest.mark.parametrize(
    ("remediate", "verify", "value", "outcome"),
    [
        (SET, NEVER, 1.0, "unverified"),
        (SET, "", 1.0, "unverified"),
        ("", NEVER, 1.0, "no_action"),
        ("", "", 1.0, "no_action"),
        (TELL, NEVER, 1.0, "no_action"),
        (SET, LOOK + NEVER, 1.0, "resolved"),
        (SET, LOOK, 9.0, "not_resolved"),
        (SET, LOOK, None, "unverified"),
        ("", LOOK.replace("no_data", "on_verdict: {fail: stop}, no_data"), 9.0, "not_resolved"),
    ],
)
def test_case_21_outcome(
    team: Team, world: World, remediate: str, verify: str, value: float | None, outcome: str
) -> None:
    world.checks = [value]
    steps = (f"  remediate:\n{remediate}" if remediate else "") + (f"  verify:\n{verify}" if verify else "")
    steps = steps or "  check:\n    - {id: a, check: world.ask, pass_if: value > 0}\n"
    run = start(make_runbook(team, steps), make_actor(team), team)
    pump()
    run.refresh_from_db()
    assert run.outcome == outcome


CAUSES = """\
hypotheses:
  model_regression:
    title: The serving model version is worse than the previous one
    prior: 3
    evidence: {recent_model_deploy: {fail: 2, pass: -4}, candidate_vs_previous: {fail: 5, pass: -5}}
  data_drift:
    title: Live inputs moved away from the training data
    prior: 2
    evidence: {pipeline_changes: {fail: 2}, input_drift: {fail: 4, pass: -3}, candidate_vs_previous: {pass: 1}}
  upstream_change:
    title: The upstream changed or is degraded
    evidence: {upstream_status: {fail: 4, pass: -2}, candidate_vs_previous: {pass: 1, fail: -2}}
  bad_evaluation:
    title: The evaluation is broken
    evidence: {eval_health: {fail: 5, pass: -3}}
"""
CHECKED = (
    "recent_model_deploy", "pipeline_changes", "upstream_status", "eval_health", "input_drift", "candidate_vs_previous",
)  # fmt: skip
ONE_CHECK = "    - {{id: {id}, check: world.ask, with: {{to: {id}}}, fail_if: value > 0, attempts: 1}}\n"
THEN = """\
  triage:
    - {id: read_failures, if: diagnosis.top == 'unknown', manual: Open the ten worst answers.}
  remediate:
    - {id: roll_back, if: diagnosis.top == 'model_regression', action: world.set, with: {to: v41}}
    - {id: wait, wait: 1h}
"""
EXAMPLE = "  measure:\n" + "".join(ONE_CHECK.format(id=name) for name in CHECKED) + THEN
FOUND: dict[str, Any] = dict.fromkeys(CHECKED, 0.0) | {
    "recent_model_deploy": 1.0, "candidate_vs_previous": 1.0, "input_drift": None,
}  # fmt: skip


def diagnosed(team: Team, incident: Incident, world: World, **found: Any) -> Run:
    world.says = FOUND | found
    run = start(make_runbook(team, EXAMPLE, head=CAUSES), make_actor(team), team, incident)
    pump()
    run.refresh_from_db()
    return run


def test_case_25_diagnosis(team: Team, incident: Incident, world: World) -> None:
    run = diagnosed(team, incident, world)
    best = run.diagnosis["ranked"][0]
    assert (run.diagnosis["top"], round(best["confidence"], 3), best["coverage"]) == ("model_regression", 0.992, 1.0)
    lines = {line["step"]: (line["verdict"], line["points"]) for line in best["lines"]}
    assert lines == {"recent_model_deploy": ("fail", 2.0), "candidate_vs_previous": ("fail", 5.0)}
    assert all(line["evidence"].startswith("E") for line in best["lines"])
    assert (states(run)["read_failures"], states(run)["roll_back"]) == ("skipped", "pass")


def test_case_25_unknown_when_too_little_was_decided(team: Team, incident: Incident, world: World) -> None:
    away = CheckError("timeout", "No answer.")
    run = diagnosed(team, incident, world, candidate_vs_previous=None, upstream_status=away)
    best = run.diagnosis["ranked"][0]
    assert (run.diagnosis["top"], best["id"]) == ("unknown", "model_regression")
    assert (round(best["confidence"], 3), round(best["coverage"], 2)) == (0.744, 0.44)
    assert states(run)["read_failures"] == "blocked human"
    runs.answer(step(run, "read_failures"), actor=make_actor(team), decision="done")
    pump()
    assert states(run)["roll_back"] == "skipped"


def test_case_25_what_is_said_later_decides_nothing(team: Team, incident: Incident, world: World) -> None:
    run = diagnosed(team, incident, world)
    before, snapshots = run.diagnosis, DiagnosisSnapshot.objects.filter(run=run).order_by("pk")
    known = snapshots.count()
    StepRun.objects.filter(run=run, step="candidate_vs_previous").update(verdict="pass")
    engine.rank_again(run, list(run.steps.all()), after="candidate_vs_previous", now=clock.now())
    run.refresh_from_db()
    assert run.diagnosis == before
    later = snapshots[known]
    assert (later.after_step, later.frozen, later.top) == ("candidate_vs_previous", True, "unknown")
    assert not snapshots[known - 1].frozen
