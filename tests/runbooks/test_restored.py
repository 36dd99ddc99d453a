"""After a restore nothing acts by itself, whatever the copy saw under way."""

from __future__ import annotations

import pytest

from catalog.actors import ENGINE, person
from catalog.models import Team
from common import clock
from incidents import lifecycle
from incidents.models import Delivery, Message, TimelineEntry
from runbooks import execution, ledger, restored, runs
from runbooks.models import Effect, Lock, Run, StepRun, Worker
from tests.factories import make_incident, make_user
from tests.factories_intake import make_endpoint, take
from tests.factories_runbooks import make_runbook, pump, start, step

ACT = "  remediate:\n    - {id: act, name: Tell them, action: notify.send, with: {text: hello}}\n"


@pytest.fixture
def run(team: Team) -> Run:
    """A run that is about to act."""
    make_user("sam", team=team)
    made = start(make_runbook(team, ACT), ENGINE, team, make_incident(team))
    assert (step(made, "act").state, step(made, "act").stage) == ("ready", "apply")
    return made


def intend(run: Run, state: str) -> None:
    """A worker has taken the action and noted its effect."""
    claimed = execution.claim(step(run, "act").pk, "worker@gone")
    assert claimed is not None
    taken = claimed[1]
    Effect.objects.create(
        key=ledger.key_of(run, taken), step_run=taken, provider="notify.send", effect_class="notify", state=state,
        generation=taken.generation, params={}, params_digest="", intended_at=clock.now(),
    )  # fmt: skip


@pytest.mark.parametrize("seen", ["ready", "intended", "sent"])
def test_an_action_under_way_asks_a_person(run: Run, seen: str) -> None:
    if seen != "ready":
        intend(run, seen)
    doubt = restored.put_in_doubt()
    assert (doubt.actions, doubt.runs) == (1, 1)
    pump()
    assert step(run, "act").state == "unknown"
    assert list(Effect.objects.values_list("state", "times_sent")) == [("unknown", 0)]
    entry = TimelineEntry.objects.get(kind="engine", pinned=True)
    assert "This may have been done: Tell them. The database was restored from a copy" in entry.text


def test_an_action_that_this_release_does_not_have_counts_as_unsafe(run: Run) -> None:
    StepRun.objects.filter(step="act").update(provider="of.another.release")
    assert restored.put_in_doubt().actions == 1
    assert list(Effect.objects.values_list("effect_class", "state")) == [("once", "unknown")]


def test_it_finishes_what_was_begun_and_nothing_else(run: Run) -> None:
    assert restored.finish() is None
    restored.mark()
    assert restored.unfinished()
    doubt = restored.finish()
    assert doubt is not None
    assert doubt.actions == 1
    assert not restored.unfinished()


def test_a_run_waits_to_be_resumed(run: Run) -> None:
    restored.put_in_doubt()
    run.refresh_from_db()
    assert run.state == "paused"
    assert TimelineEntry.objects.filter(text__contains="paused the run: The database was restored").exists()


def test_a_person_may_have_it_done_after_all(run: Run) -> None:
    sam = person(make_user("kim", team=run.team))
    restored.put_in_doubt()
    runs.answer(step(run, "act"), actor=sam, decision="did_not_happen")
    assert step(run, "act").state == "ready"
    run.refresh_from_db()
    runs.resume(run, actor=sam)
    pump()
    assert step(run, "act").state == "settled"
    assert sorted(Effect.objects.values_list("state", flat=True)) == ["confirmed", "not_applied"]


def test_what_had_ended_stays_as_it_was(run: Run) -> None:
    pump()
    before = list(Effect.objects.values())
    assert restored.put_in_doubt().actions == 0
    assert list(Effect.objects.values()) == before
    assert step(run, "act").state == "settled"


def test_the_lock_of_a_step_in_doubt_is_kept(run: Run, team: Team) -> None:
    other = start(make_runbook(team, "  check:\n    - {id: look, manual: Look}\n"), ENGINE, team)
    for name, holder in (("one", step(run, "act")), ("another", step(other, "look"))):
        Lock.objects.create(name=name, step_run=holder, taken_at=clock.now())
    restored.put_in_doubt()
    assert list(Lock.objects.values_list("step_run__step", flat=True)) == ["act"]


def test_no_worker_counts_as_alive(run: Run) -> None:
    Worker.objects.create(name="gone", started_at=clock.now(), ticked_at=clock.now())
    StepRun.objects.update(state="leased", lease_until=clock.now())
    restored.put_in_doubt()
    assert not Worker.objects.exists()


def test_a_waiting_delivery_is_set_aside_for_replay(team: Team) -> None:
    take(make_endpoint(team), {})
    assert restored.put_in_doubt().deliveries == 1
    pump()
    row = Delivery.objects.get()
    assert row.status == "rejected"
    assert "Replay it if it still matters" in row.reason


def test_old_messages_are_not_sent_and_new_ones_are(run: Run, team: Team) -> None:
    lifecycle.acknowledge(make_incident(team), actor=person(make_user("lee", team=team)))
    Message.objects.create(
        team=team, key="old", kind="opened", recipient="sam", subject="Old", body="", due_at=clock.now(),
        created_at=clock.now(),
    )  # fmt: skip
    restored.put_in_doubt()
    old = Message.objects.get(key="old")
    assert (old.state, "may have arrived" in old.error) == ("failed", True)
