"""Rows edited by hand or written by a newer release: the run says so and waits, and nothing else stops (F26)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from catalog.models import Team
from common.errors import Invalid
from incidents.models import Incident, Message, TimelineEntry
from runbooks import damage, execution, runs, ticker
from runbooks.models import Effect, Revision, Run, Runbook, StepRun
from runbooks.reading import Unreadable
from tests.factories import make_actor, make_user
from tests.factories_postmortems import make_address
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import Killed, World
from web.operate import doctor

pytestmark = pytest.mark.django_db
STEPS = """\
  check:
    - {id: pause, wait: 1m}
    - {id: look, check: world.ask, pass_if: value > 0}
  remediate:
    - {id: act, action: world.set, lock: one, irreversible: It can be switched again.}
"""


def rewrite(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit the stored form of a run's revision by hand; the new digest is what a new process would read."""
    parsed = run.revision.parsed
    change(parsed)
    overwrite(run.revision, parsed)


def overwrite(revision: Revision, parsed: object) -> None:
    """Put something else into the row."""
    Revision.objects.filter(pk=revision.pk).update(parsed=parsed, sha256=secrets.token_hex(32))


def without_look(parsed: dict[str, Any]) -> None:
    del parsed["phases"]["check"][1]


BY_HAND: dict[str, tuple[Callable[[Run], object], str]] = {
    "wrong type": (lambda run: rewrite(run, lambda parsed: parsed.update(phases=7)), "cannot be read: phases:"),
    "not a map": (lambda run: overwrite(run.revision, []), "cannot be"),
    "unknown spec": (lambda run: rewrite(run, lambda parsed: parsed.update(spec=99)), "in `spec: 99`, which"),
    "removed step": (lambda run: rewrite(run, without_look), "a step `look`, but its revision 1 has none"),
    "unknown step": (lambda run: run.steps.filter(step="look").update(step="lok"), "The run has a step `lok`"),
    "unknown phase": (lambda run: Run.objects.filter(pk=run.pk).update(phase="limbo"), "in phase `limbo`, which"),
}


@pytest.fixture
def pair(team: Team, world: World, incident: Incident, moved_clock: Any) -> tuple[Run, Run]:
    """Two runs of runbooks of their own that wait for a timer; the first belongs to the incident."""
    broken = start(make_runbook(team, STEPS, slug="broken"), make_actor(team), team, incident)
    return broken, start(make_runbook(team, STEPS, slug="sound"), make_actor(team), team)


@pytest.mark.parametrize("what", BY_HAND)
def test_a_run_that_cannot_be_read_says_so_and_the_other_goes_on(
    what: str, pair: tuple[Run, Run], team: Team, world: World, moved_clock: Any
) -> None:
    broken, sound = pair
    spoil, said = BY_HAND[what]
    make_address("http://127.0.0.1:9/", team=team)
    spoil(broken)
    for _ in range(3):
        moved_clock.forward(minutes=2)
        pump()
    sound.refresh_from_db()
    assert (sound.state, sound.outcome) == ("finished", "unverified")
    assert states(broken)["act"] == "pending"
    assert Effect.objects.filter(step_run__run=broken).count() == 0
    told = TimelineEntry.objects.get(incident=broken.incident, data__has_key="damage")
    assert said in told.text
    assert [message.subject for message in Message.objects.filter(kind="engine_down")] == [
        "A run of broken waits: its rows cannot be read"
    ]


@pytest.mark.parametrize("what", BY_HAND)
def test_its_page_lists_the_api_and_doctor_name_it_and_it_can_be_cancelled(
    what: str, pair: tuple[Run, Run], team: Team, client: Client
) -> None:
    broken, _ = pair
    spoil, said = BY_HAND[what]
    spoil(broken)
    client.force_login(make_user("anna", team=team))
    page = client.get(f"/runs/{broken.uuid}")
    assert page.status_code == 200
    assert "This run waits." in page.content.decode()
    assert said in page.content.decode().replace("&#39;", "'")
    assert said in client.get(f"/api/v1/runs/{broken.uuid}").json()["warning"]
    assert broken.incident is not None
    incident = f"/incidents/{broken.incident.number}"
    for address in ("/", "/runs", "/runbooks", incident, "/runbooks/broken", "/api/v1/runs"):
        assert client.get(address).status_code == 200, address
    assert [run.pk for run, fault in damage.everywhere() if said in fault] == [broken.pk]
    assert any(said in found.seen and found.level == "problem" for found in doctor.look())
    runs.cancel(Run.objects.get(pk=broken.pk), actor=make_actor(team))
    broken.refresh_from_db()
    assert broken.state == "cancelled"
    assert set(states(broken).values()) == {"cancelled"}


def test_an_expression_that_does_not_compile_is_an_error_of_its_step(pair: tuple[Run, Run], moved_clock: Any) -> None:
    broken, _ = pair
    rewrite(broken, lambda parsed: parsed["phases"]["check"][1].update(pass_if="value >"))
    moved_clock.forward(minutes=2)
    pump()
    look = step(broken, "look")
    assert (look.verdict, look.reason) == ("error", "expression")


def test_a_person_can_still_say_could_not_where_the_rule_does_not_compile(
    team: Team, world: World, moved_clock: Any
) -> None:
    run = start(
        make_runbook(team, "  check:\n    - {id: a, manual: Look., fail_if: result == 1}\n"), make_actor(team), team
    )
    rewrite(run, lambda parsed: parsed["phases"]["check"][0].update(fail_if="result =="))
    with pytest.raises(Invalid, match="cannot be judged"):
        runs.answer(step(run, "a"), actor=make_actor(team), decision="done")
    runs.answer(step(run, "a"), actor=make_actor(team), decision="could_not")
    assert step(run, "a").verdict == "fail"


def test_a_mended_run_goes_on(pair: tuple[Run, Run], moved_clock: Any) -> None:
    broken, _ = pair
    broken.steps.filter(step="look").update(step="lok")
    moved_clock.forward(minutes=2)
    pump()
    assert states(broken)["pause"] == "sleeping"
    broken.steps.filter(step="lok").update(step="look")
    moved_clock.forward(minutes=2)
    pump()
    broken.refresh_from_db()
    assert (broken.state, broken.outcome) == ("finished", "unverified")


def test_nothing_is_sent_for_a_run_that_could_not_take_it_down(
    team: Team, world: World, incident: Incident, moved_clock: Any
) -> None:
    run = start(make_runbook(team, STEPS), make_actor(team), team, incident)
    moved_clock.forward(minutes=2)
    ticker.tick("w")
    execution.execute(step(run, "look").pk, "w")
    StepRun.objects.filter(run=run, step="act").update(state="ready", queue="actions", stage="apply", params={})
    StepRun.objects.filter(run=run, step="look").update(step="lok")
    execution.execute(step(run, "act").pk, "w")
    assert step(run, "act").state == "ready"
    assert world.calls == []


def test_what_was_sent_before_the_damage_becomes_a_question_when_the_run_is_cancelled(
    team: Team, world: World, incident: Incident, moved_clock: Any
) -> None:
    run = start(make_runbook(team, STEPS), make_actor(team), team, incident)
    world.actions = [Killed()]
    moved_clock.forward(minutes=2)
    with pytest.raises(Killed):
        pump()
    overwrite(run.revision, [])
    runs.cancel(run, actor=make_actor(team))
    moved_clock.forward(minutes=10)
    pump()
    run.refresh_from_db()
    assert (run.state, step(run, "act").reason) == ("cancelled", "effect_unknown")
    assert [gate.blocks for gate in incident.gates.all()] == ["resolve"]
    assert len(world.calls) == 1


def test_rows_that_fail_each_time_do_not_crowd_out_the_others(
    team: Team, world: World, moved_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "BATCH", 2)
    waiting = make_runbook(team, "  check:\n    - {id: a, wait: 1m}\n")
    broken = [start(waiting, make_actor(team), team) for _ in range(3)]
    sound = start(waiting, make_actor(team), team)
    Run.objects.filter(pk__in=[run.pk for run in broken]).update(phase="limbo")
    moved_clock.forward(minutes=2)
    for _ in range(3):
        ticker.tick("w")
    assert states(sound) == {"a": "pass"}


def test_a_runbook_that_cannot_be_read_starts_nothing_and_says_why(team: Team, world: World) -> None:
    runbook = make_runbook(team, STEPS)
    overwrite(runbook.revisions.get(), {"spec": 99})
    with pytest.raises(Unreadable, match="`spec: 99`"):
        runs.start(Runbook.objects.get(pk=runbook.pk), given={}, actor=make_actor(team), team=team)
    assert Run.objects.count() == 0


def test_a_provider_that_vanished_is_asked_about_while_others_go_on(
    pair: tuple[Run, Run], team: Team, world: World, moved_clock: Any
) -> None:
    broken, sound = pair
    broken.steps.filter(step="look").update(provider="world.gone")
    rewrite(broken, lambda parsed: parsed["phases"]["check"][1].update(check="world.gone"))
    for _ in range(3):
        moved_clock.forward(minutes=6)
        pump()
    sound.refresh_from_db()
    assert sound.state == "finished"
    look = step(broken, "look")
    assert (look.blocked_on, look.reason) == ("ask", "provider_missing")
