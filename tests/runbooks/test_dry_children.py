"""Dry runs of runbooks that run another: that one is run dry too, and nothing of it is done, asked or told either."""

from __future__ import annotations

from typing import Any

from catalog.models import Team
from incidents.models import Evidence, Incident, Message
from runbooks import library, runs
from runbooks.models import ApprovalRequest, Effect, Lock, Run
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, step
from tests.fakes.world import World
from tests.runbooks.test_dry import HEAD, STEPS, Recorder, plan, recorded, served

__all__ = ["recorded"]
CALL = "  check:\n    - {id: call, runbook: other, with: {to: b}}\n"


def child_of(run: Run) -> Run:
    return Run.objects.get(parent_step__run=run)


def finished(run: Run, moved_clock: Any) -> Run:
    """Until the outer run has looked at the other one."""
    for _ in range(4):
        moved_clock.forward(seconds=6)
        pump()
    return Run.objects.get(pk=run.pk)


def test_the_other_is_run_dry_and_said_in_a_sentence(world: World, team: Team, moved_clock: Any) -> None:
    make_runbook(team, STEPS, head=HEAD + "outputs: {look: steps.look.value}\n", slug="other")
    run = plan(
        make_runbook(team, CALL + "    - {id: reads, check: world.ask, pass_if: steps.call.result.look > 0}\n"), team
    )
    run = finished(run, moved_clock)
    child, called = child_of(run), step(run, "call")
    assert (run.state, child.state, child.is_plan, child.inputs) == ("finished", "finished", True, {"to": "b"})
    assert (called.verdict, called.reason, called.result) == ("skipped", "dry_run", {"look": 1.0})
    (name,) = [user.username for user in team.groups.get(slug="oncall").members.all()]
    assert called.summary == (
        "Would run other (revision 1): its checks ran (2 × Problem found); "
        f"read: Would ask role:oncall ({name}), for at most 1h; "
        f"act: Would do: Switch off → b. First 1 of role:oncall ({name}) would have to approve it; "
        "after 10m also team:default; tell: Would do: Switch off → all; it would stop there (step holds: fail)."
    )
    assert step(run, "reads").verdict == "pass"


def test_nothing_is_changed_asked_told_or_held_at_any_depth(
    world: World, team: Team, incident: Incident, moved_clock: Any
) -> None:
    make_runbook(team, STEPS, head=HEAD, slug="third")
    make_runbook(team, CALL.replace("other", "third"), slug="other", head="inputs: {to: {type: string}}\n")
    run = finished(plan(make_runbook(team, CALL), team, incident), moved_clock)
    assert [(row.state, row.is_plan, row.outcome, row.concurrency_key) for row in Run.objects.all()] == [
        ("finished", True, "", "")
    ] * 3
    assert world.calls == []
    assert [model.objects.count() for model in (Effect, ApprovalRequest, Lock, Message)] == [0, 0, 0, 0]
    assert not Evidence.objects.filter(incident_id=incident.pk).exists()
    told = incident.timeline.order_by("seq").values_list("data__run", flat=True)
    assert list(told) == [str(run.uuid), str(run.uuid)]


def test_each_element_is_run_dry(world: World, team: Team, moved_clock: Any) -> None:
    make_runbook(team, STEPS, head=HEAD, slug="other")
    text = CALL.replace("runbook: other", "foreach: '[1, 2]', runbook: other").replace("to: b", "to: 'r{{ item }}'")
    run = finished(plan(make_runbook(team, text), team), moved_clock)
    assert [row.verdict for row in run.steps.all()] == ["skipped", "skipped"]
    assert sorted(child.inputs["to"] for child in Run.objects.exclude(pk=run.pk)) == ["r1", "r2"]


def test_a_dry_one_waits_for_no_real_one(world: World, team: Team, moved_clock: Any) -> None:
    other = make_runbook(team, STEPS, head=HEAD, slug="other")
    start(other, make_actor(team), team)
    run = finished(plan(make_runbook(team, CALL), team), moved_clock)
    assert (run.state, step(run, "call").verdict) == ("finished", "skipped")


def test_inputs_that_do_not_fit_are_told(world: World, team: Team) -> None:
    make_runbook(
        team,
        STEPS,
        head=HEAD.replace("type: string", "type: integer").replace("default: on", "default: 1"),
        slug="other",
    )
    run = plan(make_runbook(team, CALL), team)
    assert (step(run, "call").verdict, step(run, "call").reason) == ("error", "bad_input")


def test_cancelling_it_cancels_the_other(world: World, team: Team, moved_clock: Any) -> None:
    make_runbook(team, STEPS, head=HEAD, slug="other")
    actor = make_actor(team)
    run = runs.start(make_runbook(team, CALL), given={}, actor=actor, team=team, plan=True).run
    assert run is not None
    runs.cancel(run, actor=actor)
    finished(run, moved_clock)
    assert {row.state for row in Run.objects.all()} == {"cancelled"}
    again = runs.start(make_runbook(team, CALL), given={}, actor=actor, team=team, plan=True).run
    assert again is not None
    runs.cancel(child_of(again), actor=actor)
    again = finished(again, moved_clock)
    assert (again.state, step(again, "call").verdict) == ("finished", "error")
    assert step(again, "call").summary.startswith("The dry run of other (revision 1) was cancelled (cancelled by ")


def test_a_shipped_runbook_as_a_step_writes_nothing_anywhere(
    team: Team, recorded: tuple[Recorder, Any], moved_clock: Any
) -> None:
    recorder, web = recorded
    served(team, web.url)
    lines = (library.FOLDER / "accuracy_drop.yaml").read_text().splitlines()
    # As if every remedy were called for: conditions are no protection here.
    text = "\n".join(line for line in lines if "if: diagnosis.top" not in line)
    phases = text[text.index("phases:\n") + len("phases:\n") : text.index("outputs:")]
    make_runbook(team, phases, head=text[text.index("inputs:") : text.index("phases:\n")], slug="other")
    run = plan(make_runbook(team, CALL.replace("to: b", "service: rag-chat")), team)
    run = finished(run, moved_clock)
    assert (run.state, step(run, "call").verdict) == ("finished", "skipped")
    assert recorder.writes == []
    assert Effect.objects.count() == Message.objects.count() == 0
    assert step(child_of(run), "roll_back").summary.startswith("Would do: ")
    assert {"/flags/chat-model", "/api/v1/query_range"} <= recorder.reads
