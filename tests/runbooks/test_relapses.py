"""A fix that is watched for a day: people know at once that it helps, and as soon as it no longer does."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from common import clock
from incidents import lifecycle
from incidents.models import Endpoint, Incident, Message, TimelineEntry
from runbooks import runs, trigger
from runbooks.models import Run, Sample
from tests.factories import make_actor
from tests.factories_intake import make_endpoint, make_notice, tell
from tests.factories_runbooks import make_runbook, pump, start, step
from tests.fakes.world import World
from tests.runbooks.test_watch import come

pytestmark = pytest.mark.django_db

FIX = """
  remediate:
    - {id: fix, action: world.set, with: {to: b}, lock: one, undo: {action: world.set, with: {to: a}}}
  verify:
    - {id: helped, check: world.ask, pass_if: value > 0, on_verdict: {fail: continue, inconclusive: continue}}
    - id: holds
      name: Does it hold for a day?
      if: steps.helped.verdict == 'pass'
      check: world.ask
      pass_if: value > 0
      watch: {every: 1h, for: 24h}
"""


@pytest.fixture
def run(team: Team, incident: Incident, world: World, moved_clock: Any) -> Run:
    """A run that has mended it, and watches."""
    made = start(make_runbook(team, FIX, head="concurrency: {key: one}\n"), make_actor(team), team, incident)
    pump()
    assert step(made, "holds").state == "sleeping"
    return made


def state(incident: Incident) -> str:
    incident.refresh_from_db()
    return incident.state


def told() -> list[str]:
    return list(TimelineEntry.objects.filter(kind="state").order_by("seq").values_list("text", flat=True))


def test_its_incident_is_mitigated_while_it_watches(run: Run, incident: Incident) -> None:
    assert state(incident) == "mitigated"
    assert told()[-1].endswith(f"Runbook {run.runbook.slug} verified the fix, and goes on to watch it.")
    assert incident.postmortem.clock_started_at == incident.mitigated_at


def test_a_watch_alone_is_no_proof_that_it_helped(team: Team, incident: Incident, world: World) -> None:
    only = """
  verify:
    - {id: settle, wait: 1s}
    - {id: holds, check: world.ask, pass_if: value > 0, watch: {every: 1h, for: 24h}}
"""
    start(make_runbook(team, only), make_actor(team), team, incident)
    pump()
    assert state(incident) == "open"


def test_what_did_not_help_is_not_watched(team: Team, incident: Incident, world: World) -> None:
    world.checks = [0.0]
    made = start(make_runbook(team, FIX), make_actor(team), team, incident)
    pump()
    made.refresh_from_db()
    assert (made.outcome, step(made, "holds").verdict, state(incident)) == ("not_resolved", "skipped", "open")


def test_a_relapse_at_hour_19_opens_it_again_within_one_interval(
    run: Run, incident: Incident, world: World, moved_clock: Any
) -> None:
    come(run, moved_clock, 18)
    lifecycle.resolve(incident, actor=make_actor(run.team))
    world.checks = [0.0]
    come(run, moved_clock)
    assert Sample.objects.filter(step_run__run=run).count() == 19
    assert state(incident) == "open"
    assert "reopened the incident: it came back. Does it hold for a day? Sample 19 of 24" in told()[-1]
    run.refresh_from_db()
    assert run.outcome == "not_resolved"
    assert Message.objects.filter(incident=incident, kind="run_ended").exists()


def test_after_a_day_it_is_resolved_and_stays_as_people_left_it(run: Run, incident: Incident, moved_clock: Any) -> None:
    come(run, moved_clock, 24)
    run.refresh_from_db()
    assert (run.outcome, state(incident)) == ("resolved", "mitigated")


def test_a_closed_incident_is_a_record(run: Run, incident: Incident, world: World, moved_clock: Any) -> None:
    person = make_actor(run.team)
    lifecycle.close(lifecycle.resolve(incident, actor=person), actor=person, reason="A drill.")
    world.checks = [0.0]
    come(run, moved_clock)
    run.refresh_from_db()
    assert (run.outcome, state(incident)) == ("not_resolved", "closed")


# --- the alert fires again --------------------------------------------------------------------------------------------
ALERTED = "triggers:\n  - alert: alert.status == 'firing'\nconcurrency: {key: one}\n"


def fires(endpoint: Endpoint, status: str = "firing") -> None:
    touched = tell(endpoint, make_notice(status=status))
    trigger.start_matching(endpoint.team, touched, now=clock.now())
    pump()


@pytest.fixture
def alerted(team: Team, world: World, moved_clock: Any) -> Endpoint:
    """Where the alert came from that started a run, whose fix is watched now."""
    make_runbook(team, FIX, head=ALERTED)
    endpoint = make_endpoint(team)
    fires(endpoint)
    fires(endpoint, "resolved")
    assert Incident.objects.get().state == "mitigated"
    return endpoint


def test_it_gives_way_to_a_run_for_the_alert_that_came_back(alerted: Endpoint, moved_clock: Any) -> None:
    moved_clock.forward(hours=3)
    fires(alerted)
    first, second = Run.objects.order_by("pk")
    assert (first.state, step(first, "holds").state, second.phase) == ("cancelled", "cancelled", "verify")
    assert any("reopened the incident: its alert fires again while the fix is watched." in text for text in told())
    assert second.stop_reason == ""
    assert Incident.objects.get().state == "mitigated", "its own verification passed"


def test_it_gives_way_to_no_person(alerted: Endpoint) -> None:
    run = Run.objects.get()
    person = make_actor(run.team)
    assert runs.start(run.runbook, given={}, actor=person, team=run.team, incident=run.incident).decision == "joined"
    assert Incident.objects.get().state == "mitigated"


def test_a_paused_watch_gives_way_to_nothing(alerted: Endpoint, moved_clock: Any) -> None:
    runs.pause(Run.objects.get(), actor=make_actor(alerted.team))
    moved_clock.forward(hours=3)
    fires(alerted)
    assert Run.objects.get().state == "paused"
