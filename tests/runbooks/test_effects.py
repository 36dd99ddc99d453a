"""The ledger of effects: at most once, whatever dies in between, by class."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from catalog.models import Team
from common import clock
from common.errors import Conflict
from incidents.models import Gate, Incident
from runbooks import effects, execution, leases, runs, ticker
from runbooks.actions.base import Ambiguous, Applied, NotApplied
from runbooks.checks.base import CheckError
from runbooks.ledger import key_of
from runbooks.models import Effect, Lock, Run
from tests.factories import make_actor
from tests.factories_runbooks import ASKS, LOOKS, approve, make_runbook, pump, start, states, step, switching
from tests.fakes.world import Killed, World

pytestmark = pytest.mark.django_db

# One change at a time on the service, as every action of medium or high risk has it.
LOCKS = 'lock: "service:rag-chat"'


def acting(team: Team, incident: Incident | None, effect: str, more: str = "on_verdict: {fail: stop}") -> Run:
    return start(make_runbook(team, switching(effect, more) + LOOKS), make_actor(team), team, incident)


def killed(run: Run) -> None:
    """Its worker takes the step and dies inside."""
    ticker.tick("dies")
    with contextlib.suppress(Killed):
        execution.execute(step(run, "act").pk, "dies")


def ledger() -> list[tuple[str, int]]:
    return list(Effect.objects.order_by("pk").values_list("state", "times_sent"))


@pytest.fixture
def doubted(team: Team, incident: Incident, world: World, moved_clock: Any) -> Run:
    """A run whose action of class once was sent by a worker that died."""
    world.actions = [Killed()]
    run = acting(team, incident, "once", f"{ASKS}\n      risk: high")
    pump()
    approve(run, "act", make_actor(team))
    killed(run)
    moved_clock.forward(seconds=61)
    pump()
    return run


def test_it_is_cleared_by_a_late_answer(team: Team, incident: Incident, world: World, doubted: Run) -> None:
    fresh = step(doubted, "act")
    effects._confirmed(doubted, fresh, Effect.objects.get(), Applied("Switched to b."))
    assert step(doubted, "act").verdict == "pass"
    assert ledger() == [("confirmed", 1)]


@pytest.mark.parametrize(("truth", "sent"), [(True, 1), (False, 2)])
def test_it_looks_before_it_repeats_a_probe(
    team: Team, incident: Incident, world: World, moved_clock: Any, truth: bool, sent: int
) -> None:
    world.actions, world.lookups = [Killed()], [truth]
    run = acting(team, incident, "probe")
    killed(run)
    moved_clock.forward(seconds=61)
    pump()
    assert (states(run)["act"], len(world.calls), len(set(world.calls))) == ("pass", sent, 1)
    assert Effect.objects.get().state == "confirmed"


def test_it_asks_a_person_when_no_probe_can_tell(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.actions, world.lookups = [Ambiguous("no answer")], [None, CheckError("away", "Away."), None]
    run = acting(team, incident, "probe")
    for _ in range(4):
        pump()
        moved_clock.forward(minutes=1)
    assert (states(run)["act"], world.looked, len(world.calls)) == ("unknown", 3, 1)


def test_it_tries_again_what_surely_did_not_happen(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.actions = [NotApplied("Nobody listens."), NotApplied("Nobody listens.")]
    run = acting(team, incident, "set")
    pump()
    assert states(run)["act"] == "sleeping"
    # Others may work on the service while this one waits for its next try.
    assert not Lock.objects.exists()
    for _ in range(2):
        moved_clock.forward(seconds=10)
        pump()
    assert (states(run)["act"], len(world.calls)) == ("pass", 3)


def test_it_stays_in_doubt_after_a_clear_no_to_a_later_try(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.actions = [Ambiguous("The answer was lost."), *[NotApplied("Nobody listens.")] * 2]
    run = acting(team, incident, "set", LOCKS)
    for _ in range(3):
        pump()
        moved_clock.forward(seconds=10)
    assert states(run)["act"] == "unknown"
    assert ledger() == [("unknown", 3)]
    assert Lock.objects.exists()


def test_it_sends_nothing_without_the_lease(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    run = acting(team, incident, "set")
    claimed = execution.claim(step(run, "act").pk, "slow")
    assert claimed is not None
    _, taken, definition, _ = claimed
    held = leases.hold(taken.pk, taken.fence, seconds=300)
    moved_clock.forward(seconds=61)
    effects.carry_out(run, taken, definition, held, execution.context_of(run, taken, definition))
    leases.drop(held)
    assert world.calls == []
    assert ledger() == [("intended", 0)]


def test_it_does_not_believe_those_who_cannot_see_it(team: Team, incident: Incident, world: World) -> None:
    run = acting(team, incident, "set")
    claimed = execution.claim(step(run, "act").pk, "this one")
    assert claimed is not None
    held = leases.hold(claimed[1].pk, claimed[1].fence, seconds=300)
    with ThreadPoolExecutor(1) as other:
        other.submit(leases.renew_all).result()
        other.submit(lambda: connection.close()).result()
    assert leases.is_ours(held)


@pytest.mark.django_db(transaction=True)
def test_it_renews_what_it_works_on(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    run = acting(team, incident, "set")
    claimed = execution.claim(step(run, "act").pk, "this one")
    assert claimed is not None
    held = leases.hold(claimed[1].pk, claimed[1].fence, seconds=300)
    moved_clock.forward(seconds=40)
    leases.renew_all()
    moved_clock.forward(seconds=40)
    assert leases.is_ours(held)
    leases.drop(held)


def test_it_ends_when_it_kills_its_workers(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    world.actions = [Killed() for _ in range(9)]
    run = acting(team, incident, "set")
    for _ in range(6):
        killed(run)
        moved_clock.forward(seconds=61)
    ticker.tick("other")
    assert (len(world.calls), states(run)["act"]) == (3, "unknown")


def test_it_is_waited_for_when_sent_before_a_cancel(team: Team, incident: Incident, world: World) -> None:
    run = acting(team, incident, "set")
    actor = make_actor(team)
    world.actions = [lambda: runs.cancel(run, actor=actor)]
    pump()
    run.refresh_from_db()
    assert (run.state, states(run)) == ("cancelled", {"act": "pass", "look": "cancelled"})
    assert ledger() == [("confirmed", 1)]
    with pytest.raises(Conflict):
        runs.cancel(run, actor=actor)


def test_it_leaves_an_open_question_when_its_worker_is_lost_in_a_cancel(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.actions = [Killed()]
    run = acting(team, incident, "set")
    killed(run)
    runs.cancel(run, actor=make_actor(team))
    assert Run.objects.get().state == "stopping"
    moved_clock.forward(seconds=61)
    pump()
    assert (Run.objects.get().state, len(world.calls)) == ("cancelled", 1)
    assert Gate.objects.get(incident=incident).blocks == "resolve"


def test_it_is_not_skipped_while_it_may_have_happened(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    world.actions = [Ambiguous("The answer was lost.")]
    run = acting(team, incident, "set")
    pump()
    with pytest.raises(Conflict, match="may have happened"):
        runs.skip(step(run, "act"), actor=make_actor(team), reason="Not needed.")


def test_it_never_overlaps_with_another_on_the_same_service(team: Team, incident: Incident, world: World) -> None:
    head = "inputs:\n  service: {type: string}\n"
    text = switching("set", LOCKS) + LOOKS
    first, second = (
        start(make_runbook(team, text, head=head), make_actor(team), team, incident, service="rag-chat")
        for _ in range(2)
    )
    ticker.tick("test")
    assert {step(first, "act").state, step(second, "act").state} == {"ready", "blocked"}
    assert step(second, "act").blocked_on == "lock"
    pump()
    assert [states(run)["act"] for run in (first, second)] == ["pass", "pass"]


def test_it_keeps_no_lock_from_others_while_paused(team: Team, incident: Incident, world: World) -> None:
    first = acting(team, incident, "set", f"{ASKS}\n      {LOCKS}")
    second = acting(team, incident, "set", LOCKS)
    ticker.tick("test")
    assert Lock.objects.get().step_run == step(second, "act")
    execution.execute(step(first, "act").pk, "test")
    runs.pause(first, actor=make_actor(team))
    approve(first, "act", make_actor(team))
    third = acting(team, incident, "set", LOCKS)
    pump()
    assert states(third)["act"] == states(second)["act"] == "pass"
    assert states(first)["act"] == "blocked lock"
    runs.resume(Run.objects.get(pk=first.pk), actor=make_actor(team))
    pump()
    assert states(first)["act"] == "pass"


def test_it_is_not_sent_again_by_a_worker_that_finds_it_sent(team: Team, incident: Incident, world: World) -> None:
    run = acting(team, incident, "once", f"{ASKS}\n      risk: high")
    pump()
    approve(run, "act", make_actor(team))
    claimed = execution.claim(step(run, "act").pk, "w")
    assert claimed is not None
    Effect.objects.create(
        key=key_of(run, claimed[1]),
        step_run=claimed[1],
        provider="world.once",
        effect_class="once",
        state="sent",
        generation=1,
        params={},
        params_digest="",
        intended_at=clock.now(),
    )
    held = leases.hold(claimed[1].pk, claimed[1].fence, seconds=300)
    effects.carry_out(*claimed[:3], held, execution.context_of(*claimed))
    leases.drop(held)
    assert world.calls == []
    assert states(run)["act"] == "unknown"
