"""An effect in doubt: the state is read back, and a person says what happened or sends it again."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from common.errors import Conflict, Forbidden, Invalid
from incidents.models import Incident
from runbooks import execution, runs
from runbooks.actions.base import Ambiguous
from runbooks.checks.base import CheckError
from runbooks.models import ApprovalRequest, Effect, Run
from tests.factories import make_actor
from tests.factories_runbooks import ASKS, approve, make_runbook, pump, start, states, step, switching
from tests.fakes.world import World

pytestmark = pytest.mark.django_db


def doubted(team: Team, incident: Incident, world: World, effect: str, more: str = "pin: always") -> Run:
    world.actions = [Ambiguous("The answer was lost.")]
    run = start(make_runbook(team, switching(effect, "attempts: 1", more)), make_actor(team), team, incident)
    pump()
    if more == ASKS:
        approve(run, "act", make_actor(team))
        pump()
    assert states(run)["act"] == "unknown"
    return run


def test_it_reads_the_state_back_at_once(team: Team, incident: Incident, world: World) -> None:
    doubted(team, incident, world, "set")
    effect = Effect.objects.get()
    assert effect.seen == {"sentence": "value: off", "is_known": True}
    assert effect.seen_at is not None


def test_it_reads_again_when_asked_and_says_when_it_cannot(
    team: Team, incident: Incident, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = doubted(team, incident, world, "set")
    before = Run.objects.get().version

    def silent(*_: Any) -> str:
        raise CheckError("unreachable", "Nobody answers there.")

    monkeypatch.setattr("tests.fakes.world.Act.observe", silent)
    execution.read_now(step(run, "act"), actor=make_actor(team))
    assert Effect.objects.get().seen == {"sentence": "Nobody answers there.", "is_known": False}
    assert Run.objects.get().version == before + 1
    with pytest.raises(Forbidden):
        execution.read_now(step(run, "act"), actor=make_actor(team, ["viewer"], "looker"))


def test_it_reads_nothing_once_the_doubt_is_cleared(team: Team, incident: Incident, world: World) -> None:
    run = doubted(team, incident, world, "set")
    runs.answer(step(run, "act"), actor=make_actor(team), decision="happened")
    with pytest.raises(Conflict):
        execution.read_now(step(run, "act"), actor=make_actor(team))


@pytest.mark.parametrize("effect", ["set", "keyed"])
def test_it_sends_again_under_the_same_key_and_approval(
    team: Team, incident: Incident, world: World, effect: str
) -> None:
    run = doubted(team, incident, world, effect, ASKS)
    runs.answer(step(run, "act"), actor=make_actor(team), decision="send_again")
    pump()
    assert list(world.effects.values()) == [2]
    assert (states(run)["act"], ApprovalRequest.objects.count()) == ("pass", 1)


def test_it_looks_before_it_sends_again_what_can_be_looked_up(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.actions, world.lookups = [Ambiguous("The answer was lost.")], [None, None, None, True]
    run = start(make_runbook(team, switching("probe", "attempts: 1")), make_actor(team), team, incident)
    for _ in range(4):
        pump()
        moved_clock.forward(minutes=1)
    assert states(run)["act"] == "unknown"
    runs.answer(step(run, "act"), actor=make_actor(team), decision="send_again")
    pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 1)


def test_it_wants_a_note_where_it_may_happen_twice_and_asks_anew(team: Team, incident: Incident, world: World) -> None:
    run = doubted(team, incident, world, "once", ASKS)
    with pytest.raises(Invalid, match="may do it twice"):
        runs.answer(step(run, "act"), actor=make_actor(team), decision="send_again")
    runs.answer(step(run, "act"), actor=make_actor(team), decision="send_again", note="Twice does no harm.")
    pump()
    assert states(run)["act"] == "blocked approval"
    assert len(world.calls) == 1
    approve(run, "act", make_actor(team))
    pump()
    assert sorted(Effect.objects.values_list("state", flat=True)) == ["confirmed", "unknown"]
