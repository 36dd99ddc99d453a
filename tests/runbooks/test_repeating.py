"""Doing a step again: what repeats with it, and a request that nobody answered put anew after fresh checks."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from common.errors import Conflict
from incidents.models import Evidence, Incident, TimelineEntry
from runbooks import repeating, runs
from runbooks.models import ApprovalRequest, Run
from tests.factories import make_actor
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

HEAD = """\
hypotheses:
  worse:
    title: The version is worse
    prior: 3
    evidence: {looks_bad: {fail: 4, pass: -4}}
"""
CITED = """
  measure:
    - {id: looks_bad, name: Is it worse?, check: world.ask, fail_if: value > 0, pass_if: value == 0}
    - {id: other, check: world.ask, pass_if: value > 0}
  remediate:
    - id: act
      name: Switch it?
      if: diagnosis.top == 'worse'
      action: world.set
      with: {to: b}
      risk: medium
      approval: {from: [role:oncall], timeout: 20m}
"""
CHAIN = """
  check:
    - {id: a, check: world.ask, pass_if: value > 0}
    - {id: b, check: world.ask, if: "steps.a.verdict == 'pass'", pass_if: value > 0}
    - {id: c, check: world.ask, pass_if: value > 0}
    - {id: d, check: world.ask, if: "steps.b.verdict == 'pass'", pass_if: value > 0}
    - {id: ask, manual: Done?}
"""


@pytest.fixture
def expired(team: Team, incident: Incident, world: World, moved_clock: Any) -> Run:
    """A run whose request ran out unanswered."""
    run = start(make_runbook(team, CITED, head=HEAD), make_actor(team), team, incident)
    pump()
    moved_clock.forward(minutes=21)
    pump()
    assert step(run, "act").blocked_on == "ask"
    run.refresh_from_db()
    return run


def test_it_asks_again_after_fresh_checks(team: Team, expired: Run, world: World) -> None:
    found = Evidence.objects.filter(kind="check").count()
    repeating.ask_again(step(expired, "act"), actor=make_actor(team))
    assert states(expired) == {"looks_bad": "ready", "other": "pass", "act": "pending"}
    pump()
    assert Evidence.objects.filter(kind="check").count() == found + 1
    assert list(ApprovalRequest.objects.order_by("pk").values_list("state", flat=True)) == ["expired", "open"]
    assert "Is it worse?" in TimelineEntry.objects.get(text__contains="asks again").text
    approve(expired, "act", make_actor(team))
    pump()
    assert len(world.calls) == 1


def test_it_asks_nobody_when_the_fresh_checks_no_longer_speak_for_it(team: Team, expired: Run, world: World) -> None:
    world.checks = [0.0]
    repeating.ask_again(step(expired, "act"), actor=make_actor(team))
    pump()
    assert (states(expired)["looks_bad"], states(expired)["act"]) == ("pass", "skipped")
    assert not ApprovalRequest.objects.filter(state="open").exists()
    assert world.calls == []


def test_it_asks_once_for_two_taps(team: Team, expired: Run) -> None:
    for _ in range(2):
        repeating.ask_again(step(expired, "act"), actor=make_actor(team))
    pump()
    repeating.ask_again(step(expired, "act"), actor=make_actor(team))
    assert ApprovalRequest.objects.count() == 2
    assert TimelineEntry.objects.filter(text__contains="asks again").count() == 1


def test_it_names_the_other_way_once_the_run_has_ended(team: Team, expired: Run) -> None:
    runs.cancel(expired, actor=make_actor(team))
    with pytest.raises(Conflict) as caught:
        repeating.ask_again(step(expired, "act"), actor=make_actor(team))
    assert "Act now" in caught.value.fix


def test_it_asks_again_of_no_request_that_was_answered(team: Team, incident: Incident, world: World) -> None:
    run = start(make_runbook(team, CITED, head=HEAD), make_actor(team), team, incident)
    pump()
    approve(run, "act", make_actor(team))
    pump()
    with pytest.raises(Conflict):
        repeating.ask_again(step(run, "act"), actor=make_actor(team))


def test_it_repeats_the_checks_that_read_it(team: Team, incident: Incident, world: World) -> None:
    run = start(make_runbook(team, CHAIN), make_actor(team), team, incident)
    pump()
    followers = repeating.followers(run, step(run, "a"), list(run.steps.all()))
    assert [row.step for row in followers] == ["b", "d"]
    world.checks = [0.0]
    repeating.rerun(step(run, "a"), actor=make_actor(team))
    pump()
    assert states(run) == {"a": "fail", "b": "skipped", "c": "pass", "d": "skipped", "ask": "blocked human"}


def test_it_repeats_no_step_of_a_phase_gone_by(team: Team, expired: Run) -> None:
    assert not repeating.may_rerun(expired, step(expired, "other"))
    with pytest.raises(Conflict):
        repeating.rerun(step(expired, "other"), actor=make_actor(team))
