"""`foreach`: one row for each element, each with its own parameters, verdict, approval, lock and effect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.actors import Actor
from catalog.models import Team
from common.errors import Conflict
from incidents.models import Incident, Message, TimelineEntry
from runbooks import approvals, execution, items, repeating, runs, schema
from runbooks.actions.base import Refused
from runbooks.checks.base import Finding
from runbooks.models import Effect, Run, RunEvent, StepRun
from runbooks.verdicts import WORST_FIRST, worst
from tests.factories import make_actor
from tests.factories_runbooks import HEAD as HEADER
from tests.factories_runbooks import make_runbook, pump, start
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
HEAD = "inputs:\n  regions: {type: list, default: [eu, us, asia]}\n"
ASK = (
    "    - {id: each, foreach: inputs.regions, check: world.ask, with: {to: 'in {{ item }}'},"
    " pass_if: value == 1, attempts: 1}\n"
)


@pytest.fixture
def actor(team: Team) -> Actor:
    return make_actor(team)


def rows(run: Run, name: str = "each") -> list[StepRun]:
    return list(StepRun.objects.filter(run=run, step=name).order_by("item"))


def asking(team: Team, actor: Actor, more: str = "", incident: Incident | None = None, **given: Any) -> Run:
    return start(make_runbook(team, "  check:\n" + ASK + more, head=HEAD), actor, team, incident, **given)


def test_it_makes_a_row_for_each_element_in_one_transaction(team: Team, actor: Actor, world: World) -> None:
    run = asking(team, actor)
    assert [(row.item, row.item_value, row.state, row.params) for row in rows(run)] == [
        (0, "eu", "ready", {"to": "in eu"}),
        (1, "us", "ready", {"to": "in us"}),
        (2, "asia", "ready", {"to": "in asia"}),
    ]
    events = RunEvent.objects.filter(run=run, transition="S3").order_by("seq")
    assert [(event.step, event.item) for event in events] == [("each", 0), ("each", 1), ("each", 2)]


def test_its_verdict_is_the_worst_and_items_tell_each(team: Team, actor: Actor, world: World) -> None:
    more = (
        "    - id: after\n      check: result.test\n      pass_if: value == true\n"
        "      with: {value: \"{{ steps.each.verdict == 'fail' and steps.each.value is none and"
        " (steps.each.items | selectattr('verdict', 'eq', 'fail') | map(attribute='item') | list) == ['us'] }}\"}\n"
    )
    world.checks = [1.0, 2.0, 1.0]
    run = asking(team, actor, more)
    pump()
    assert [row.verdict for row in rows(run)] == ["pass", "fail", "pass"]
    assert rows(run, "after")[0].verdict == "pass", rows(run, "after")[0].summary
    run.refresh_from_db()
    assert (run.state, run.phase_verdicts["check"]) == ("finished", "fail")


@pytest.mark.slow
def test_one_worker_carries_out_hundreds_of_rows_and_lets_go_of_none(team: Team, actor: Actor, world: World) -> None:
    lists = "".join(
        f"    - {{id: s{number}, foreach: inputs.regions, check: world.ask, pass_if: value == 1}}\n"
        for number in range(5)
    )
    world.checks = [1.0] * 250
    regions = [f"r{number}" for number in range(50)]
    run = start(make_runbook(team, "  check:\n" + lists, head=HEAD), actor, team, regions=regions)
    execution.execute(StepRun.objects.filter(run=run, state="ready")[0].pk, "w")
    assert set(StepRun.objects.filter(run=run).values_list("state", "verdict")) == {("settled", "pass")}


def test_an_empty_list_is_skipped(team: Team, actor: Actor, world: World) -> None:
    run = asking(team, actor, regions=[])
    assert [(row.verdict, row.reason, row.item_value) for row in rows(run)] == [("skipped", "empty", None)]


@pytest.mark.parametrize(
    ("foreach", "says"),
    [
        ("inputs.regions", "gave 51 elements; at most 50"),
        ("inputs.regions | length", "gave a number, not a list"),
        ("inputs.regions[99]", "does not exist"),
    ],
)
def test_a_list_that_cannot_be_used_is_an_error(
    team: Team, actor: Actor, world: World, foreach: str, says: str
) -> None:
    steps = "  check:\n" + ASK.replace("foreach: inputs.regions", f'foreach: "{foreach}"')
    run = start(make_runbook(team, steps, head=HEAD), actor, team, regions=list(range(51)))
    found = rows(run)
    assert [(row.verdict, row.reason) for row in found] == [("error", "expression")]
    assert says in found[0].summary


def test_if_decides_for_all_of_it_before_the_list_is_evaluated(team: Team, actor: Actor, world: World) -> None:
    steps = "  check:\n" + ASK.replace("foreach: inputs.regions", "if: 1 > 2, foreach: inputs.nothing")
    head = HEAD + "  nothing: {type: list, required: false}\n"
    run = start(make_runbook(team, steps, head=head), actor, team)
    assert [(row.verdict, row.reason) for row in rows(run)] == [("skipped", "condition")]


def test_the_next_step_waits_for_every_row(team: Team, actor: Actor, world: World) -> None:
    run = asking(team, actor, "    - {id: last, if: steps.each.verdict == 'pass', manual: Look.}\n")
    StepRun.objects.filter(run=run, step="each", item__gt=0).update(state="leased")
    pump()
    assert rows(run, "last")[0].state == "pending"


def test_each_has_its_own_attempts(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    from_the_start = ASK.replace("attempts: 1", "attempts: 2")
    world.checks = [RuntimeError("down"), 1.0, 1.0, 1.0]
    run = start(make_runbook(team, "  check:\n" + from_the_start, head=HEAD), actor, team)
    pump()
    moved_clock.forward(seconds=10)
    pump()
    assert [(row.verdict, row.attempts) for row in rows(run)] == [("pass", 2), ("pass", 1), ("pass", 1)]


ACT = """\
  remediate:
    - id: each
      name: Switch the region
      foreach: inputs.regions
      action: world.set
      with: {to: "{{ item }}"}
      on_verdict: {fail: continue}
"""
APPROVED = ACT + "      approval: {from: [role:oncall], message: 'Switch {{ item }}?'}\n"


def test_each_has_its_own_effect_under_its_own_key(team: Team, actor: Actor, world: World) -> None:
    world.actions = [None, Refused("No."), None]
    run = start(make_runbook(team, ACT, head=HEAD), actor, team)
    pump()
    assert [row.verdict for row in rows(run)] == ["pass", "fail", "pass"]
    assert [effect.state for effect in Effect.objects.order_by("step_run__item")] == [
        "confirmed",
        "refused",
        "confirmed",
    ]
    assert len(set(world.calls)) == 3


def test_each_is_approved_and_rejected_by_itself(team: Team, actor: Actor, incident: Incident, world: World) -> None:
    run = start(make_runbook(team, APPROVED, head=HEAD), actor, team, incident)
    pump()
    asked = [approvals.open_request(row) for row in rows(run)]
    assert [request.message for request in asked] == ["Switch eu?", "Switch us?", "Switch asia?"]
    assert len({request.digest for request in asked}) == 3
    first, second, third = rows(run)
    approvals.approve(first, digest=asked[0].digest, actor=actor)
    approvals.reject(second, digest=asked[1].digest, actor=actor, reason="Not there.")
    with pytest.raises(Conflict):
        approvals.approve(third, digest=asked[0].digest, actor=actor)
    runs.skip(third, actor=actor, reason="Done by hand.")
    pump()
    assert [row.verdict for row in rows(run)] == ["pass", "fail", "skipped"]
    assert len(world.calls) == 1
    told = "\n".join(TimelineEntry.objects.filter(incident=incident).values_list("text", flat=True))
    assert "Switch the region (us) Refused" in told
    assert Message.objects.filter(kind="waits_for_you").count() >= 3


def test_one_element_runs_again_alone(team: Team, actor: Actor, world: World) -> None:
    world.checks = [2.0, 1.0, 1.0, 1.0]
    run = asking(team, actor, "    - {id: hold, manual: Wait.}\n")
    pump()
    assert [row.verdict for row in rows(run)] == ["fail", "pass", "pass"]
    repeating.rerun(rows(run)[0], actor=actor)
    pump()
    assert [(row.verdict, row.generation, row.item_value) for row in rows(run)] == [
        ("pass", 2, "eu"),
        ("pass", 1, "us"),
        ("pass", 1, "asia"),
    ]


def test_a_verdict_with_policy_stop_cancels_the_other_elements(team: Team, actor: Actor, world: World) -> None:
    text = ACT.replace("      on_verdict: {fail: continue}\n", "      lock: one\n")
    world.actions = [Refused("No.")]
    run = start(make_runbook(team, text, head=HEAD), actor, team)
    pump()
    run.refresh_from_db()
    assert (run.state, run.outcome) == ("finished", "aborted")
    assert [row.verdict or row.state for row in rows(run)] == ["fail", "cancelled", "cancelled"]


def test_what_each_changed_is_taken_back(team: Team, actor: Actor, world: World) -> None:
    text = ACT + "      undo: {action: world.set, with: {to: 'old {{ item }}'}, auto: true}\n"
    text += "  verify:\n    - {id: better, check: world.ask, pass_if: value == 1}\n"
    world.checks = [2.0]
    run = start(make_runbook(team, text, head=HEAD), actor, team, regions=["eu", "us"])
    pump()
    assert [(row.item_value, row.params, row.verdict) for row in rows(run, "undo-each")] == [
        ("eu", {"to": "old eu"}, "pass"),
        ("us", {"to": "old us"}, "pass"),
    ]


def test_a_hypothesis_counts_the_worst_once_all_have_answered(team: Team, actor: Actor, world: World) -> None:
    head = HEAD + "hypotheses:\n  broken: {title: Broken, evidence: {each: {fail: 3, pass: -3}}}\n"
    more = "    - {id: hold, manual: Wait.}\n"
    world.checks = [2.0, 1.0, 1.0]
    run = start(make_runbook(team, "  check:\n" + ASK + more, head=head), actor, team)
    pump()
    run.refresh_from_db()
    line = {"step": "each", "verdict": "fail", "points": 3.0, "evidence": f"e{rows(run)[0].evidence_id}"}
    assert run.diagnosis["ranked"][0]["lines"] == [line]
    first = run.diagnoses.order_by("id").first()
    assert first is not None
    assert first.ranked[0]["not_checked"] == ["each"]


def test_conditions_of_a_check_know_their_element(team: Team, actor: Actor, world: World) -> None:
    text = "  check:\n" + ASK.replace("pass_if: value == 1", "fail_if: value > item.most").replace(
        "{{ item }}", "{{ item.name }}"
    )
    world.checks = [Finding(5.0, "Five."), Finding(5.0, "Five.")]
    regions = [{"name": "eu", "most": 9}, {"name": "us", "most": 1}]
    run = start(make_runbook(team, text, head=HEAD), actor, team, regions=regions)
    pump()
    assert [(row.name, row.verdict) for row in rows(run)] == [("each (eu)", "pass"), ("each (us)", "fail")]


def test_elements_that_are_nothing_are_elements(team: Team, actor: Actor, world: World) -> None:
    for regions in ([None], [None, None]):
        run = asking(team, actor, regions=regions)
        pump()
        assert [row.verdict for row in rows(run)] == ["pass"] * len(regions)


@pytest.mark.parametrize(("field", "code"), [("if", "RB035"), ("foreach", "RB036")])
def test_lint_knows_that_there_is_no_element_yet(field: str, code: str, world: World) -> None:
    more = "if: item == 1, foreach: inputs.regions" if field == "if" else "foreach: item"
    text = HEADER.format(slug="t") + HEAD + "phases:\n  check:\n" + ASK.replace("foreach: inputs.regions", more)
    assert [finding.code for finding in schema.check(text, file="t.yaml") if finding.severity == "error"] == [code]


VERDICTS = st.sampled_from([*WORST_FIRST, "cancelled", "open"])


@given(st.lists(VERDICTS, min_size=1, max_size=12))
def test_a_step_is_the_worst_of_its_settled_rows(found: list[str]) -> None:
    made = [
        StepRun(step="each", item=item, state=word, verdict="")
        if word == "cancelled"
        else StepRun(step="each", item=item, state="leased" if word == "open" else "settled", verdict=word)
        for item, word in enumerate(found)
    ]
    settled = [word for word in found if word not in ("cancelled", "open")]
    expected = {} if "open" in found or not settled else {"each": worst(settled)}
    for steps in (made, made[::-1]):
        assert items.verdicts_of(steps) == expected
