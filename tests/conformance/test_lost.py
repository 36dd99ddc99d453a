"""Cases 10 to 16: dead and frozen workers, repeated and lost messages, no broker, no database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection

from catalog.models import Team
from common import background
from common import outage as outage_of_ours
from incidents.models import Evidence, Gate, Incident, Message
from runbooks import effects, execution, runs, ticker
from runbooks.actions.base import Applied, Refused
from runbooks.models import Attempt, Effect, Lock, Run, RunEvent, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import ASKS, LOOKS, approve, make_runbook, pump, start, states, step, switching
from tests.fakes.world import Killed, World
from tests.runbooks.test_races import together

pytestmark = pytest.mark.django_db

ASK = """
  check:
    - id: a
      check: world.ask
      {rules}
    - {{id: next, if: steps.a.verdict != '', manual: Go on.}}
"""


def asking(team: Team, incident: Incident | None = None, rules: str = "fail_if: value > 5") -> Run:
    return start(make_runbook(team, ASK.format(rules=rules)), make_actor(team), team, incident)


def acting(team: Team, incident: Incident, effect: str, more: str = "pin: always") -> Run:
    return start(make_runbook(team, switching(effect, more) + LOOKS), make_actor(team), team, incident)


def killed(run: Run, name: str = "act") -> None:
    """Its worker takes the step and dies inside."""
    ticker.tick("dies")
    with contextlib.suppress(Killed):
        execution.execute(step(run, name).pk, "dies")


def ledger() -> list[tuple[str, int]]:
    return list(Effect.objects.order_by("pk").values_list("state", "times_sent"))


def tries(run: Run, name: str) -> list[str]:
    return list(Attempt.objects.filter(step_run=step(run, name)).order_by("fence").values_list("outcome", flat=True))


@pytest.mark.parametrize(("attempts", "expected", "tried"), [(2, "pass", ["lost", "done"]), (1, "error", ["lost"])])
def test_case_10_kill_in_a_check(
    team: Team, world: World, moved_clock: Any, attempts: int, expected: str, tried: list[str]
) -> None:
    world.checks = [Killed()]
    run = asking(team, rules=f"fail_if: value > 5\n      attempts: {attempts}")
    killed(run, "a")
    moved_clock.forward(seconds=59)
    pump()
    assert step(run, "a").state == "leased"
    moved_clock.forward(seconds=2)
    pump()
    assert step(run, "a").verdict == expected
    assert (step(run, "a").reason == "worker_lost") is (expected == "error")
    assert tries(run, "a") == tried
    assert RunEvent.objects.filter(run=run, step="a", transition="S12").count() == 1


@pytest.mark.parametrize("effect", ["set", "keyed", "notify"])
def test_case_11_kill_after_the_send(
    team: Team, incident: Incident, world: World, moved_clock: Any, effect: str
) -> None:
    world.actions = [Killed()]
    run = acting(team, incident, effect)
    killed(run)
    assert ledger() == [("sent", 1)]
    moved_clock.forward(seconds=61)
    pump()
    assert list(world.effects.values()) == [2]
    assert ledger() == [("confirmed", 2)]
    assert states(run)["act"] == "pass"
    assert tries(run, "act") == ["lost", "done"]
    assert RunEvent.objects.filter(run=run, step="act", transition="S13").count() == 1


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


def test_case_12_nobody_sends_it_again(team: Team, world: World, doubted: Run, moved_clock: Any) -> None:
    for _ in range(48):
        moved_clock.forward(hours=1)
        pump()
    assert (len(world.calls), states(doubted)["act"]) == (1, "unknown")
    assert Lock.objects.get().name == "service:rag-chat"
    assert Message.objects.filter(kind="waits_for_you", subject__contains="switch it?").exists()
    assert RunEvent.objects.filter(run=doubted, step="act", transition="S14").count() == 1


def test_case_12_it_happened(team: Team, world: World, doubted: Run) -> None:
    runs.answer(step(doubted, "act"), actor=make_actor(team), decision="happened")
    pump()
    assert states(doubted) == {"act": "pass", "look": "pass"}
    assert (ledger(), len(world.calls)) == ([("confirmed", 1)], 1)
    assert not Lock.objects.exists()
    assert tries(doubted, "act").count("lost") == 1


def test_case_12_it_did_not_happen(team: Team, world: World, doubted: Run) -> None:
    runs.answer(step(doubted, "act"), actor=make_actor(team), decision="did_not_happen")
    assert not Lock.objects.exists()
    pump()
    assert states(doubted)["act"] == "blocked approval"
    approve(doubted, "act", make_actor(team))
    pump()
    assert (step(doubted, "act").generation, states(doubted)["act"]) == (2, "pass")
    assert ledger() == [("not_applied", 1), ("confirmed", 1)]
    assert len(set(world.calls)) == 2
    assert RunEvent.objects.filter(run=doubted, step="act", transition="S15").count() == 1


def test_case_12_nobody_answers(team: Team, incident: Incident, world: World, doubted: Run, moved_clock: Any) -> None:
    moved_clock.forward(hours=73)
    pump()
    doubted.refresh_from_db()
    assert doubted.state == "expired"
    assert (step(doubted, "act").verdict, step(doubted, "act").reason) == ("error", "effect_unknown")
    assert (ledger(), len(world.calls)) == ([("unknown", 1)], 1)
    gate = Gate.objects.get(incident=incident)
    assert (gate.blocks, gate.title.startswith("Did this happen?")) == ("resolve", True)
    assert RunEvent.objects.filter(run=doubted, step="act", transition="S20").count() == 1


def test_case_13_zombie_check(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    run = asking(team, incident)
    claimed = execution.claim(step(run, "a").pk, "zombie")
    assert claimed is not None
    moved_clock.forward(seconds=61)
    pump()
    assert states(run)["a"] == "pass"
    world.checks = [9.0]
    execution._check(*claimed)
    assert states(run)["a"] == "pass"
    late = Attempt.objects.filter(outcome="late").values("evidence_id")
    assert Evidence.objects.get(pk__in=late).verdict == "fail"


def test_case_13_zombie_action(team: Team, incident: Incident, world: World, moved_clock: Any) -> None:
    world.actions = [Killed(), Refused("No.")]
    run = acting(team, incident, "set")
    killed(run)
    zombie = step(run, "act")
    moved_clock.forward(seconds=61)
    pump()
    assert states(run)["act"] == "fail"
    effects._confirmed(run, zombie, Effect.objects.get(), Applied("Switched to b."))
    assert states(run)["act"] == "fail"
    assert Effect.objects.get().state == "confirmed"
    assert Attempt.objects.get(fence=zombie.fence, step_run=zombie).outcome == "late"


@pytest.mark.django_db(transaction=True)
def test_case_14_duplicate_delivery(team: Team, world: World) -> None:
    run = asking(team)
    pk = step(run, "a").pk
    together(lambda index: execution.execute(pk, f"w{index}"))
    execution.execute(pk, "after settle")
    assert Attempt.objects.count() == 1
    assert states(run)["a"] == "pass"


FIVE = "  check:\n" + "".join(f"    - {{id: c{n}, check: world.ask, pass_if: value > 0}}\n" for n in range(5))


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids for which workers were sent a hint; none of them ever arrives."""
    found: list[int] = []
    monkeypatch.setattr(background, "hint", lambda task, queue, *ids: found.extend(ids))
    return found


def test_case_15_redis_emptied(team: Team, world: World, moved_clock: Any, hints: list[int]) -> None:
    run = start(make_runbook(team, FIVE), make_actor(team), team)
    ready = set(StepRun.objects.filter(run=run, state="ready").values_list("pk", flat=True))
    assert (len(ready), ready <= set(hints)) == (5, True)
    hints.clear()
    moved_clock.forward(seconds=31)
    ticker.tick("w")
    assert sorted(set(hints) & ready) == sorted(ready), "each was announced again, once"
    hints.clear()
    ticker.tick("another")
    assert not set(hints) & ready


def test_case_15_redis_unreachable(team: Team, world: World, moved_clock: Any, hints: list[int]) -> None:
    run = start(make_runbook(team, FIVE), make_actor(team), team)
    moved_clock.forward(seconds=4)
    assert ticker.run_pending("w", ("checks",), older_than=5) == 0
    moved_clock.forward(seconds=2)
    assert ticker.run_pending("w", ("checks",), older_than=5) == 5
    assert set(states(run).values()) == {"pass"}
    assert Attempt.objects.count() == 5


class Outage:
    """The database is away: whatever is asked of it fails, and each pause of a worker is a time without it."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.away = False
        self.then = then

    def __call__(self, execute: Any, *rest: Any) -> Any:
        """Every statement of this connection."""
        if self.away:
            raise OperationalError("the server closed the connection unexpectedly")
        return execute(*rest)

    def pause(self, _: float) -> None:
        """What a worker does in place of sleeping."""
        self.away = False
        self.then()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("seconds", "calls", "tried"), [(20, 1, ["done"]), (90, 2, ["late", "done"])])
def test_case_16_database_away_during_settle(
    team: Team,
    incident: Incident,
    world: World,
    moved_clock: Any,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    calls: int,
    tried: list[str],
) -> None:
    def back_again() -> None:
        moved_clock.forward(seconds=seconds)
        ticker.tick("other")
        execution.execute(step(run, "act").pk, "other")

    outage = Outage(back_again)
    monkeypatch.setattr(outage_of_ours, "pause", outage.pause)
    world.actions = [lambda: setattr(outage, "away", True)]
    run = acting(team, incident, "set")
    ticker.tick("w")
    with connection.execute_wrapper(outage):
        execution.execute(step(run, "act").pk, "w")
    assert states(run)["act"] == "pass"
    assert (len(world.calls), len(set(world.calls))) == (calls, 1)
    assert ledger() == [("confirmed", calls)]
    assert tries(run, "act") == tried
    assert RunEvent.objects.filter(run=run, step="act", state="settled pass").count() == 1
