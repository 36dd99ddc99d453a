"""Several at once, in real threads with connections of their own: one wins, the others see it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from catalog.models import Team
from common.errors import Conflict
from incidents import notices
from incidents.models import Incident, Message
from runbooks import approvals, execution, runs, ticker
from runbooks.models import Decision, Effect, Run
from tests.factories import make_actor, make_incident
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE = 4


def together(act: Callable[[int], Any]) -> list[Any]:
    """What each of several threads came to that begin at the same moment; a Conflict counts as its word."""
    gate = Barrier(AT_ONCE)

    def one(index: int) -> Any:
        gate.wait(10)
        try:
            return act(index)
        except Conflict:
            return "conflict"
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def test_it_is_approved_once_by_one_person_and_applied_once(team: Team, incident: Incident, world: World) -> None:
    steps = "  remediate:\n    - {id: act, action: world.once, risk: high, approval: {from: [role:oncall]}}\n"
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    pump()
    waiting, actor = step(run, "act"), make_actor(team)
    digest = approvals.open_request(waiting).digest
    said = together(lambda _: approvals.approve(waiting, digest=digest, actor=actor).state)
    assert sorted(said) == ["approved"] + ["conflict"] * (AT_ONCE - 1)

    def take(index: int) -> None:
        ticker.tick(f"w{index}")
        execution.execute(waiting.pk, f"w{index}")

    together(take)
    assert (Decision.objects.count(), len(world.calls), Effect.objects.get().times_sent) == (1, 1, 1)


def test_it_works_on_one_service_one_at_a_time(team: Team, incident: Incident, world: World) -> None:
    at_work: list[int] = []
    most: list[int] = []

    def switching() -> None:
        at_work.append(1)
        most.append(len(at_work))
        at_work.pop()

    world.actions = [switching for _ in range(AT_ONCE)]
    steps = "  remediate:\n    - {id: act, action: world.set, with: {to: b}}\n"
    all_runs = [start(make_runbook(team, steps), make_actor(team), team, incident) for _ in range(AT_ONCE)]
    for _ in range(AT_ONCE):
        ticker.tick("w")
        together(lambda index: execution.execute(step(all_runs[index], "act").pk, f"w{index}"))
    assert [states(run)["act"] for run in all_runs] == ["pass"] * AT_ONCE
    assert max(most) == 1


def test_starts_that_join_each_others_incidents_do_not_deadlock(team: Team, incident: Incident) -> None:
    other = make_incident(team, incident.service)
    steps = "  check:\n    - {id: a, manual: Look.}\n"
    head = "inputs:\n  service: {type: string, default: rag-chat}\n"
    runbooks = [make_runbook(team, steps, head=head) for _ in range(2)]
    incidents = [incident, other]
    for runbook, where in zip(runbooks, incidents, strict=True):
        start(runbook, make_actor(team), team, where)
    actor = make_actor(team)

    def crosswise(index: int) -> list[str]:
        way = index % 2
        return [
            runs.start(runbooks[way], given={}, actor=actor, team=team, incident=incidents[1 - way]).decision
            for _ in range(10)
        ]

    assert together(crosswise) == [["joined"] * 10] * AT_ONCE


def test_of_starts_at_the_same_moment_one_holds_the_key(team: Team, incident: Incident) -> None:
    head = "inputs:\n  service: {type: string, default: rag-chat}\n"
    runbook = make_runbook(team, "  check:\n    - {id: a, manual: Look.}\n", head=head)
    actor = make_actor(team)
    said = together(lambda _: runs.start(runbook, given={}, actor=actor, team=team).decision)
    assert sorted(said) == ["joined"] * (AT_ONCE - 1) + ["started"]
    assert Run.objects.get().concurrency_key


def test_what_several_tell_at_the_same_moment_is_told_once(team: Team, incident: Incident) -> None:
    def say(_: int) -> list[Message]:
        return notices.tell(team=team, incident=incident, kind="opened", key="race", subject="s", body="b", link="/")

    found = together(say)
    [message] = Message.objects.filter(key__startswith="opened:race:")
    assert all(row == message for rows in found for row in rows)
    assert incident.timeline.filter(kind="message", text__contains="could be told").count() == 1
