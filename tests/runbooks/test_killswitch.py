"""One switch stops every effect at once; what is in flight is recorded, what waits goes on once, afterwards."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import pytest
from django.db import connection, transaction

from catalog import people
from catalog.actors import ENGINE, Actor, person
from catalog.models import KillSwitch, Team
from common.errors import Conflict, Forbidden, Invalid
from incidents.models import Incident, Message, TimelineEntry
from runbooks import execution, killswitch, runs, ticker
from runbooks.actions.base import Ambiguous
from runbooks.models import Effect, Lock, Run, RunEvent
from tests.factories import make_actor, make_incident, make_service
from tests.factories_runbooks import ASKS, approve, make_runbook, pump, start, states, step, switching
from tests.fakes.world import Killed, World

pytestmark = pytest.mark.django_db

RECHECKED = """
  check:
    - {id: bad, name: Is it bad?, check: world.ask, fail_if: value > 5, attempts: 1}
  remediate:
    - {id: act, name: Switch it?, action: world.set, with: {to: b}, recheck: [bad], approval: {from: [role:oncall]}}
"""


def acting(team: Team, incident: Incident | None, more: str = ASKS, effect: str = "set", risk: str = "medium") -> Run:
    runbook = make_runbook(team, switching(effect, f"risk: {risk}", more))
    return start(runbook, make_actor(team), team, incident)


def approved(team: Team, incident: Incident | None, **how: Any) -> Run:
    """A run whose action has its yes, and is before the workers or in line for its lock."""
    run = acting(team, incident, **how)
    execution.execute(step(run, "act").pk, "test")
    approve(run, "act", make_actor(team))
    return run


def stop(actor: Actor = ENGINE) -> KillSwitch:
    return killswitch.pull(reason="The flag service is broken.", actor=actor)


def allow(actor: Actor = ENGINE) -> KillSwitch:
    return killswitch.release(reason="It is mended.", actor=actor)


def waits(run: Run) -> tuple[str, str]:
    row = step(run, "act")
    return row.state, row.blocked_on


def test_it_stops_ten_actions_wherever_they_are_and_lets_each_go_on_once(
    team: Team, world: World, moved_clock: Any
) -> None:
    incidents = [make_incident(team, make_service(team, f"s{number}")) for number in range(10)]
    in_flight = approved(team, incidents[0])
    ready = [approved(team, incident) for incident in incidents[1:4]]
    in_preview = [acting(team, incident) for incident in incidents[4:7]]
    asked = [acting(team, incident) for incident in incidents[7:9]]
    for run in asked:
        execution.execute(step(run, "act").pk, "test")
    looking = start(make_runbook(team, RECHECKED), make_actor(team), team, incidents[9])
    world.checks = [9.0]
    execution.execute(step(looking, "bad").pk, "test")
    execution.execute(step(looking, "act").pk, "test")
    approve(looking, "act", make_actor(team))
    # Pulled while the first is in flight; the last holds its lock and is asking its check again.
    world.actions = [lambda: execution.execute(step(looking, "act").pk, "other")]
    world.checks = [lambda: (stop(), 9.0)[1]]
    execution.execute(step(in_flight, "act").pk, "test")
    pump()
    for run in asked:
        approve(run, "act", make_actor(team))
    for _ in range(3):
        moved_clock.forward(minutes=2)
        pump()
    assert len(world.calls) == 1
    assert (states(in_flight)["act"], Effect.objects.get(state="confirmed").times_sent) == ("pass", 1)
    assert {waits(run) for run in [*ready, *asked, looking]} == {("blocked", "stop")}
    assert {waits(run) for run in in_preview} == {("blocked", "approval")}
    assert not Lock.objects.exists()
    allow()
    world.checks = [9.0]
    for run in in_preview:
        approve(run, "act", make_actor(team))
    pump()
    everything = [in_flight, *ready, *in_preview, *asked, looking]
    assert [states(run)["act"] for run in everything] == ["pass"] * 10
    assert (len(world.calls), max(world.effects.values())) == (10, 1)


def test_what_waited_is_asked_again_before_it_goes_on(team: Team, incident: Incident, world: World) -> None:
    run = start(make_runbook(team, RECHECKED), make_actor(team), team, incident)
    world.checks = [9.0]
    pump()
    approve(run, "act", make_actor(team))
    stop()
    pump()
    world.checks = [1.0]
    allow()
    pump()
    row = step(run, "act")
    assert (world.calls, row.blocked_on, row.reason) == ([], "ask", "stale_evidence")


def test_it_uses_up_no_attempt_and_writes_no_event_while_it_waits(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = approved(team, incident)
    stop()
    pump()
    before = RunEvent.objects.filter(run=run).count()
    for _ in range(30):
        moved_clock.forward(minutes=2)
        pump()
    assert (RunEvent.objects.filter(run=run).count(), step(run, "act").attempts) == (before, 0)
    # Its waking was lost: it looks by itself.
    KillSwitch.objects.update(engaged=False)
    moved_clock.forward(minutes=2)
    pump()
    assert states(run)["act"] == "pass"


def test_a_repeat_is_a_send_and_keeps_its_lock_while_it_waits(
    team: Team, incident: Incident, world: World, moved_clock: Any
) -> None:
    run = approved(team, incident)
    world.actions = [Killed()]
    with contextlib.suppress(Killed):
        execution.execute(step(run, "act").pk, "dies")
    stop()
    moved_clock.forward(seconds=61)
    pump()
    assert (len(world.calls), waits(run)) == (1, ("blocked", "stop"))
    assert Lock.objects.get().step_run == step(run, "act")
    allow()
    pump()
    assert (states(run)["act"], list(world.effects.values())) == ("pass", [2])


def test_what_was_sent_is_looked_up_and_may_be_cancelled_into_an_open_question(
    team: Team, incident: Incident, world: World
) -> None:
    run = approved(team, incident, effect="set")
    world.actions = [Ambiguous("No answer.")]
    pump()
    stop()
    runs.cancel(run, actor=make_actor(team))
    pump()
    run.refresh_from_db()
    assert (run.state, len(world.calls)) == ("cancelled", 1)
    assert incident.gates.get().title.startswith("Did this happen?")


def test_it_lets_messages_to_people_through(team: Team, incident: Incident, world: World) -> None:
    run = acting(team, incident, "pin: always", effect="notify", risk="low")
    stop()
    pump()
    assert states(run)["act"] == "pass"


def test_it_can_be_cancelled_and_skipped_while_it_waits(team: Team, incident: Incident, world: World) -> None:
    first, second = approved(team, incident), approved(team, make_incident(team, make_service(team, "other")))
    stop()
    pump()
    runs.cancel(first, actor=make_actor(team))
    runs.skip(step(second, "act"), actor=make_actor(team), reason="Done by hand.")
    allow()
    pump()
    assert (waits(first)[0], states(second)["act"], world.calls) == ("cancelled", "skipped", [])


def test_it_tells_the_teams_and_every_incident_with_an_action_in_waiting(
    team: Team, incident: Incident, world: World
) -> None:
    calm = make_incident(team, make_service(team, "calm"))
    run = approved(team, incident)
    ada = make_actor(team, username="ada")
    stop(ada)
    pump()
    allow(ada)
    texts = list(TimelineEntry.objects.filter(incident=incident).values_list("text", flat=True))
    told = [text for text in texts if "effects" in text]
    assert told[0] == "ada stopped all effects: The flag service is broken. Waiting here: Switch it?."
    assert told[1].startswith("Not sent: Switch it?. All effects are stopped by ada: The flag service is broken.")
    assert "ada allowed effects again: It is mended." in told[2]
    assert not TimelineEntry.objects.filter(incident=calm, text__contains="effects").exists()
    assert Message.objects.filter(kind="effects", team=team).count() == 2
    assert step(run, "act").summary == ""


def test_it_is_for_those_who_may(team: Team) -> None:
    approver, responder, boss = (make_actor(team, [role]) for role in ("approver", "responder", "admin"))
    org_admin = person(people.create_user(username="boss", email="boss@example.com", is_org_admin=True))
    with pytest.raises(Forbidden, match="stop effects"):
        stop(responder)
    with pytest.raises(Invalid, match="needs a reason"):
        killswitch.pull(reason=" ", actor=approver)
    stop(approver)
    with pytest.raises(Conflict, match="already"):
        stop(boss)
    with pytest.raises(Forbidden, match="allow effects"):
        allow(approver)
    allow(boss)
    with pytest.raises(Conflict, match="not stopped"):
        allow(org_admin)
    stop(org_admin)
    allow(org_admin)
    assert KillSwitch.objects.filter(engaged=False).count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_stop_waits_for_a_send_that_is_being_marked_and_no_other_follows(
    team: Team, incident: Incident, world: World
) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's transactions take turns anyway")
    run = approved(team, incident)
    stopped = threading.Event()

    def pull() -> None:
        stop()
        stopped.set()
        connection.close()

    with transaction.atomic():
        killswitch.take_turn()
        thread = threading.Thread(target=pull)
        thread.start()
        time.sleep(0.3)
        assert not stopped.is_set()
    thread.join(10)
    assert stopped.is_set()
    ticker.tick("test")
    execution.execute(step(run, "act").pk, "test")
    assert (world.calls, waits(run)) == ([], ("blocked", "stop"))
