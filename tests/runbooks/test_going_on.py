"""Going on from a step of an ended run: what came before is taken over, nothing is asked or done twice."""

from __future__ import annotations

import pytest

from catalog.actors import ENGINE
from catalog.models import Team
from common.errors import Conflict, Forbidden
from incidents.models import Incident, TimelineEntry
from runbooks import going_on, revisions, runs
from runbooks.actions.base import Refused
from runbooks.models import Attempt, Effect, Run
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

LONG = """
  check:
    - {id: look, check: world.ask, fail_if: value > 5}
  remediate:
    - {id: first, action: world.set, with: {to: b}}
    - {id: second, action: world.keyed, with: {to: c}, if: "steps.look.verdict == 'pass'"}
  verify:
    - {id: quiet, check: world.ask, pass_if: value > 0}
"""


def stopped(team: Team, incident: Incident | None, world: World) -> Run:
    """A run that ended because its second action was refused."""
    world.actions = [None, Refused("Not now.")]
    run = start(make_runbook(team, LONG), make_actor(team), team, incident)
    pump()
    run.refresh_from_db()
    assert (run.outcome, states(run)["second"], states(run)["quiet"]) == ("aborted", "fail", "cancelled")
    return run


def test_it_goes_on_from_the_failed_step_and_repeats_nothing(team: Team, incident: Incident, world: World) -> None:
    old = stopped(team, incident, world)
    new = going_on.from_step(old, step(old, "second"), given={}, actor=make_actor(team))
    pump()
    new.refresh_from_db()
    assert states(new) == {"look": "pass", "first": "pass", "second": "pass", "quiet": "pass"}
    assert (new.state, new.outcome, new.phase_verdicts["check"]) == ("finished", "resolved", "pass")
    assert set(Attempt.objects.filter(step_run__run=new).values_list("step_run__step", flat=True)) == {
        "second",
        "quiet",
    }
    assert Effect.objects.filter(step_run__run=new).count() == 1
    assert step(new, "look").evidence_id == step(old, "look").evidence_id
    assert TimelineEntry.objects.filter(incident=incident, text__contains="goes on from «second»").exists()


def test_it_keeps_the_revision_of_the_run_that_ended(team: Team, world: World) -> None:
    old = stopped(team, None, world)
    text = old.revision.text.replace("value > 5", "value > 7")
    newest = revisions.save(old.runbook, text=text, actor=ENGINE, team=team, note="", source="file")
    revisions.publish(newest, actor=ENGINE)
    old.refresh_from_db()
    new = going_on.from_step(old, step(old, "second"), given={}, actor=make_actor(team))
    assert new.revision_id == old.revision_id
    assert Run.objects.get(pk=new.pk).runbook.current_id == newest.pk


def test_it_does_not_go_on_from_what_was_applied_or_from_an_open_run(team: Team, world: World) -> None:
    old = stopped(team, None, world)
    with pytest.raises(Conflict, match="was applied"):
        going_on.from_step(old, step(old, "first"), given={}, actor=make_actor(team))
    world.checks = [9.0]
    waiting = start(make_runbook(team, "  check:\n    - {id: a, manual: Look.}\n"), make_actor(team), team)
    with pytest.raises(Conflict, match="still open"):
        going_on.from_step(waiting, step(waiting, "a"), given={}, actor=make_actor(team))


def test_it_asks_for_the_permission_to_run(team: Team, world: World) -> None:
    old = stopped(team, None, world)
    with pytest.raises(Forbidden):
        going_on.from_step(old, step(old, "second"), given={}, actor=make_actor(team, ["viewer"]))


def test_it_goes_on_with_other_inputs_and_says_which(team: Team, incident: Incident, world: World) -> None:
    steps = "  check:\n    - {id: a, check: world.ask, with: {to: '{{ inputs.where }}'}, pass_if: value > 0}\n"
    runbook = make_runbook(team, steps, head="inputs:\n  where: {type: string, default: here}\n")
    old = start(runbook, make_actor(team), team, incident)
    runs.cancel(old, actor=make_actor(team))
    old.refresh_from_db()
    new = going_on.from_step(old, step(old, "a"), given={"where": "there"}, actor=make_actor(team))
    pump()
    assert step(new, "a").params == {"to": "there"}
    assert TimelineEntry.objects.filter(incident=incident, text__contains="with where changed").exists()
