"""Runbooks that run another (engine.md S5; runbook-language.md, runbook): pinned, waited for, cancelled with it."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.actors import ENGINE, Actor
from catalog.models import Team
from common.errors import Conflict
from incidents.models import Incident, Message, TimelineEntry
from runbooks import children, execution, revisions, runs, schema, ticker
from runbooks.actions.base import Refused
from runbooks.models import Effect, Run, Runbook, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import HEAD, make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
CALL = "  check:\n    - {id: call, runbook: other, with: {place: '{{ inputs.place }}'}}\n"
PLACE = "inputs:\n  place: {type: string, default: eu}\n"
CHECKED = (
    "  check:\n    - {id: look, check: world.ask, with: {to: '{{ inputs.place }}'}, pass_if: value == 1, attempts: 1}\n"
)
ACTED = "  remediate:\n    - {id: act, action: world.set, with: {to: '{{ inputs.place }}'}}\n"
VERIFIED = "  verify:\n    - {id: better, check: world.ask, pass_if: value == 1, fail_if: value > 5}\n"


@pytest.fixture
def actor(team: Team) -> Actor:
    return make_actor(team)


def other(team: Team, steps: str = CHECKED, head: str = PLACE, slug: str = "other") -> Runbook:
    return make_runbook(team, steps, slug=slug, head=head)


def calling(team: Team, actor: Actor, incident: Incident | None = None, more: str = "", **given: Any) -> Run:
    return start(make_runbook(team, CALL + more, head=PLACE), actor, team, incident, **given)


def child_of(run: Run, generation: int = 1) -> Run:
    return Run.objects.get(parent_step__run=run, parent_generation=generation)


def finish(run: Run, moved_clock: Any) -> Run:
    """Until nothing is left to do, the parents' looks at their children included."""
    for _ in range(6):
        pump()
        moved_clock.forward(seconds=10)
    run.refresh_from_db()
    return run


def test_it_runs_the_other_one_for_the_same_incident_and_takes_its_outputs(
    team: Team, actor: Actor, incident: Incident, world: World, moved_clock: Any
) -> None:
    other(team, head=PLACE + "outputs:\n  where: inputs.place\n  found: steps.look.value\n")
    run = calling(team, actor, incident, place="asia")
    child = child_of(run)
    assert (child.incident, child.team, child.started_by, child.inputs) == (
        incident,
        team,
        actor.label,
        {"place": "asia"},
    )
    assert (step(run, "call").state, step(run, "call").blocked_on) == ("blocked", "child")
    finish(run, moved_clock)
    found = step(run, "call")
    assert (found.verdict, found.reason, found.result) == ("pass", "no_action", {"where": "asia", "found": 1.0})
    assert (run.state, Run.objects.get(pk=child.pk).state) == ("finished", "finished")


@pytest.mark.parametrize(
    ("steps", "answers", "outcome", "verdict"),
    [
        (CHECKED, [1.0], "no_action", "pass"),
        (ACTED + VERIFIED, [1.0], "resolved", "pass"),
        (ACTED + VERIFIED, [9.0], "not_resolved", "fail"),
        (ACTED + VERIFIED, [3.0], "unverified", "inconclusive"),
        (ACTED, [], "unverified", "inconclusive"),
        (
            "  check:\n    - {id: no, check: world.ask, pass_if: value == 1, on_verdict: {fail: stop}}\n",
            [2.0],
            "aborted",
            "error",
        ),
    ],
)
def test_its_verdict_follows_the_outcome(
    team: Team,
    actor: Actor,
    world: World,
    moved_clock: Any,
    steps: str,
    answers: list[float],
    outcome: str,
    verdict: str,
) -> None:
    other(team, steps)
    world.checks = list(answers)
    run = calling(team, actor)
    finish(run, moved_clock)
    found = step(run, "call")
    assert (child_of(run).outcome, found.verdict or found.proposed_verdict) == (outcome, verdict)


def test_a_hint_that_never_comes_delays_it_by_seconds(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    other(team)
    run = calling(team, actor)
    pump()
    assert child_of(run).state == "finished"
    assert step(run, "call").state == "blocked"
    moved_clock.forward(seconds=6)
    ticker.tick("w")
    assert step(run, "call").verdict == "pass"


def test_the_revisions_are_those_of_the_start_all_the_way_down(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    third = other(team, slug="third")
    second = other(team, CALL.replace("other", "third"), slug="other")
    run = calling(team, actor, more="  measure:\n    - {id: again, runbook: third}\n")
    child = child_of(run)
    for runbook in (second, third):
        text = HEAD.format(slug=runbook.slug) + "phases:\n  check:\n    - {id: new, manual: Look.}\n"
        revisions.publish(
            revisions.save(runbook, text=text, actor=ENGINE, team=team, note="", source="file"), actor=ENGINE
        )
    finish(run, moved_clock)
    numbers = Run.objects.exclude(pk=run.pk).order_by("pk").values_list("runbook__slug", "revision__number")
    assert list(numbers) == [("other", 1), ("third", 1), ("third", 1)]
    assert (run.state, child_of(child).state) == ("finished", "finished")


def test_inputs_that_do_not_fit_are_an_error(team: Team, actor: Actor, world: World) -> None:
    other(team, head="inputs:\n  place: {type: string, enum: [eu, us]}\n")
    run = calling(team, actor, place="moon")
    found = step(run, "call")
    assert (found.proposed_verdict, found.blocked_on, found.reason) == ("error", "ask", "bad_input")
    assert "place must be one of eu, us" in found.summary
    assert Run.objects.count() == 1


def test_a_busy_key_queues_it(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    head = PLACE + "concurrency: {key: '{{ inputs.place }}', when_busy: skip}\n"
    runbook = other(team, "  check:\n    - {id: look, manual: Look.}\n", head=head)
    first = start(runbook, actor, team)
    run = calling(team, actor)
    assert child_of(run).state == "queued"
    runs.cancel(first, actor=actor)
    pump()
    assert child_of(run).state == "active"
    runs.answer(step(child_of(run), "look"), actor=actor, decision="done")
    finish(run, moved_clock)
    assert states(run) == {"call": "pass"}


def test_cancelling_it_cancels_the_other_one_at_every_depth(team: Team, actor: Actor, world: World) -> None:
    other(team, "  check:\n    - {id: look, manual: Look.}\n", slug="third")
    other(team, CALL.replace("other", "third"))
    run = calling(team, actor)
    runs.cancel(run, actor=actor)
    assert set(Run.objects.values_list("state", flat=True)) == {"cancelled"}
    assert set(StepRun.objects.values_list("state", flat=True)) == {"cancelled"}
    told = Run.objects.get(parent_step__run=run)
    assert told.stop_reason == "the run that it is part of is ending"


def test_cancelling_it_waits_for_what_the_other_one_has_sent(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    other(team, ACTED)
    run = calling(team, actor)
    seen: list[tuple[str, str]] = []

    def while_it_is_sent() -> None:
        runs.cancel(run, actor=actor)
        seen.append((Run.objects.get(pk=run.pk).state, child_of(run).state))

    world.actions = [while_it_is_sent]
    ticker.tick("w")
    execution.execute(step(child_of(run), "act").pk, "w")
    assert seen == [("stopping", "stopping")]
    finish(run, moved_clock)
    assert (run.state, child_of(run).state) == ("cancelled", "cancelled")
    assert Effect.objects.get().state == "confirmed"
    assert step(run, "call").state == "cancelled"


def test_the_other_one_alone_can_be_cancelled(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    other(team, "  check:\n    - {id: look, manual: Look.}\n")
    run = calling(team, actor)
    with pytest.raises(Conflict, match="a run of its own"):
        runs.skip(step(run, "call"), actor=actor, reason="Not needed.")
    runs.cancel(child_of(run), actor=actor, reason="wrong place")
    finish(run, moved_clock)
    found = step(run, "call")
    assert (run.state, found.blocked_on, found.proposed_verdict, found.reason) == (
        "active",
        "ask",
        "error",
        "cancelled",
    )
    assert "wrong place" in found.summary


def test_running_it_again_is_another_run(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    other(team, ACTED)
    world.actions = [Refused("No.")]
    run = calling(team, actor)
    finish(run, moved_clock)
    assert step(run, "call").blocked_on == "ask"
    runs.answer(step(run, "call"), actor=actor, decision="again")
    finish(run, moved_clock)
    assert [child_of(run, generation).outcome for generation in (1, 2)] == ["aborted", "unverified"]
    assert len(set(world.calls)) == 2


def test_what_the_other_one_changed_counts_for_the_outcome(
    team: Team, actor: Actor, incident: Incident, world: World, moved_clock: Any
) -> None:
    other(team, ACTED + VERIFIED, slug="third")
    other(team, CALL.replace("other", "third") + VERIFIED)
    run = calling(team, actor, incident)
    finish(run, moved_clock)
    assert (states(run), run.outcome) == ({"call": "pass"}, "unverified")


def test_its_end_is_told_by_the_outer_run_alone(
    team: Team, actor: Actor, incident: Incident, world: World, moved_clock: Any
) -> None:
    other(team, ACTED + VERIFIED)
    run = calling(team, actor, incident)
    finish(run, moved_clock)
    assert (child_of(run).outcome, run.outcome) == ("resolved", "unverified")
    incident.refresh_from_db()
    assert incident.state == "open"
    ends = Message.objects.filter(kind="run_ended").values_list("link", flat=True)
    assert {link.rpartition("/")[2] for link in ends} == {str(run.uuid)}
    told = "\n".join(TimelineEntry.objects.filter(incident=incident).values_list("text", flat=True))
    assert "Runbook other (revision 1) starts for «call»." in told


def test_each_element_has_a_run_of_its_own(team: Team, actor: Actor, world: World, moved_clock: Any) -> None:
    other(team)
    steps = "  check:\n    - {id: call, foreach: inputs.all, runbook: other, with: {place: '{{ item }}'}}\n"
    run = start(make_runbook(team, steps, head="inputs:\n  all: {type: list}\n"), actor, team, all=["eu", "us"])
    finish(run, moved_clock)
    children = Run.objects.filter(parent_step__run=run).order_by("parent_step__item")
    assert [child.inputs["place"] for child in children] == ["eu", "us"]
    assert list(run.steps.values_list("verdict", flat=True)) == ["pass", "pass"]


def test_a_sensitive_input_goes_only_where_it_stays_hidden(
    team: Team, actor: Actor, world: World, moved_clock: Any
) -> None:
    head = "inputs:\n  place: {type: string, sensitive: true}\n"
    runbook = make_runbook(team, CALL, head=head)
    other(team)
    open_run = start(runbook, actor, team, place="canary-of-the-outer-run")
    assert (step(open_run, "call").reason, Run.objects.count()) == ("sensitive", 1)
    other(team, head=head)
    run = start(runbook, actor, team, place="canary-of-the-outer-run")
    child = child_of(run)
    assert child.inputs == {"place": "•••"}
    assert step(run, "call").params == {"pinned": {"other": 2}, "with": {"place": "•••"}}
    finish(run, moved_clock)
    assert states(run) == {"call": "pass"}
    assert step(child, "look").summary == "The value is 1.0."


def test_nesting_ends_at_three(team: Team, actor: Actor, world: World) -> None:
    other(team, slug="r4")
    for number in (3, 2):
        other(team, CALL.replace("other", f"r{number + 1}"), slug=f"r{number}")
    assert start(Runbook.objects.get(slug="r2"), actor, team).state == "active"
    assert Run.objects.count() == 3
    with pytest.raises(Conflict, match="more than 3 deep: r1 → r2 → r3 → r4"):
        other(team, CALL.replace("other", "r2"), slug="r1")


def test_a_circle_is_neither_published_nor_started(team: Team, actor: Actor, world: World) -> None:
    top = other(team, slug="one")
    other(team, CALL.replace("other", "one"), slug="two")
    text = HEAD.format(slug="one") + PLACE + "phases:\n" + CALL.replace("other", "two")
    revision = revisions.save(top, text=text, actor=ENGINE, team=team, note="", source="file")
    with pytest.raises(Conflict, match="in a circle: one → two → one"):
        revisions.publish(revision, actor=ENGINE)
    Runbook.objects.filter(pk=top.pk).update(current=revision)
    with pytest.raises(Conflict, match="in a circle: one → two → one"):
        start(Runbook.objects.get(slug="one"), actor, team)


@pytest.mark.parametrize(
    ("steps", "head", "code", "says"),
    [
        (CALL.replace("other", "othre"), PLACE, "RB053", "There is no runbook `othre`."),
        (CALL.replace("place:", "plaice:"), PLACE, "RB042", "`other` has no input `plaice`."),
        (CALL.replace(", with: {place: '{{ inputs.place }}'}", ""), PLACE, "RB042", "`other` needs the input `place`."),
        (CALL, "inputs:\n  place: {type: string, sensitive: true}\n", "RB015", "is not sensitive"),
        (CALL.replace("other", "back"), PLACE, "RB053", "in a circle: new → back → new"),
        (CALL.replace("other", "deep"), PLACE, "RB053", "at most 3 deep: new → deep → deeper → other"),
    ],
)
def test_lint_knows_the_other_runbooks(team: Team, world: World, steps: str, head: str, code: str, says: str) -> None:
    other(team, head="inputs:\n  place: {type: string}\n")
    other(team, CALL, slug="deeper")
    other(team, CALL.replace("other", "deeper"), slug="deep")
    other(team, CALL.replace("other", "new"), slug="back")
    text = HEAD.format(slug="new") + head + "phases:\n" + steps
    found = [
        one for one in schema.check(text, file="new.yaml", others=children.others(team)) if one.severity == "error"
    ]
    assert code in [one.code for one in found]
    assert any(says in one.message for one in found), [one.message for one in found]


def test_an_output_that_cannot_be_computed_is_told_and_left_out(
    team: Team, actor: Actor, incident: Incident, world: World
) -> None:
    head = PLACE + "outputs:\n  good: inputs.place\n  bad: steps.look.value / 0\n  how: run.outcome\n"
    run = start(other(team, head=head), actor, team, incident)
    pump()
    run.refresh_from_db()
    assert run.outputs == {"good": "eu", "how": "no_action"}
    told = "\n".join(TimelineEntry.objects.filter(incident=incident).values_list("text", flat=True))
    assert "Output bad is left out: `steps.look.value / 0` divides by zero." in told
