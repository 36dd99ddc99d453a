"""Dry runs: everything is read, nothing is written, nobody is asked, and no run is in anybody's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from catalog.models import Service, Team
from common import clock
from incidents.models import Evidence, Incident, Message
from runbooks import going_on, library, repeating, runs
from runbooks.models import ApprovalRequest, Effect, Lock, Run, Runbook, StepRun
from tests.factories import make_actor, make_connection, make_incident, make_service, make_signal
from tests.factories_checks import make_versions
from tests.factories_runbooks import make_runbook, pump, step
from tests.fakes.prometheus import Answers
from tests.fakes.web import Asked, Reply, Web, serve
from tests.fakes.world import World

STEPS = """\
  check:
    - {id: look, check: world.ask, fail_if: value > 0.5}
  triage:
    - {id: read, manual: Read it., assign: role:oncall, timeout: 1h}
  remediate:
    - id: act
      action: world.set
      with: {to: "{{ inputs.to }}"}
      lock: a-lock
      approval: {from: [role:oncall], timeout: 20m, escalate: [{after: 10m, to: "team:default"}], message: Shall we?}
      undo: {action: world.set, with: {to: off}, auto: true}
  verify:
    - {id: settle, wait: 10m}
    - {id: holds, check: world.ask, fail_if: value > 0.5, watch: {every: 5m, for: 1h}}
finally:
  - {id: tell, action: world.notify, with: {to: all}}
"""
HEAD = "inputs: {to: {type: string, default: on}}\nconcurrency: {key: one, when_busy: skip}\n"


def plan(runbook: Runbook, team: Team, incident: Incident | None = None) -> Run:
    """A dry run, played to its end."""
    started = runs.start(runbook, given={}, actor=make_actor(team), team=team, incident=incident, plan=True)
    assert started.run is not None
    pump()
    return Run.objects.get(pk=started.run.pk)


def test_checks_run_and_everything_else_says_what_it_would_do(world: World, team: Team, incident: Incident) -> None:
    run = plan(make_runbook(team, STEPS, head=HEAD), team, incident)
    rows = {row.step: row for row in StepRun.objects.filter(run=run)}
    assert {name: (row.verdict, row.reason) for name, row in rows.items()} == {
        "look": ("fail", ""),
        "read": ("skipped", "dry_run"),
        "act": ("skipped", "dry_run"),
        "settle": ("skipped", "dry_run"),
        "holds": ("fail", ""),
        "tell": ("skipped", "dry_run"),
    }
    (name,) = [user.username for user in team.groups.get(slug="oncall").members.all()]
    assert rows["act"].summary == (
        f"Would do: Switch off → on. First 1 of role:oncall ({name}) would have to approve it; "
        "after 10m also team:default."
    )
    assert rows["act"].result == {
        "sentence": "Switch off → on",
        "before": {"value": "off"},
        "after": {"value": "on"},
        "lines": [],
        "warnings": [],
        "asks": ["role:oncall"],
        "people": [name],
    }
    assert rows["read"].summary == f"Would ask role:oncall ({name}), for at most 1h."
    assert rows["settle"].summary == "Would wait 10m."


def test_it_changes_nothing_asks_nobody_and_counts_nowhere(world: World, team: Team, incident: Incident) -> None:
    run = plan(make_runbook(team, STEPS, head=HEAD), team, incident)
    assert (run.state, run.outcome, run.is_plan, run.concurrency_key) == ("finished", "", True, "")
    assert world.calls == []
    assert [model.objects.count() for model in (Effect, ApprovalRequest, Lock, Message)] == [0, 0, 0, 0]
    incident.refresh_from_db()
    assert incident.state == "open"
    assert not Evidence.objects.filter(incident_id=incident.pk).exists()


def test_the_timeline_has_its_start_and_end_marked(world: World, team: Team, incident: Incident) -> None:
    run = plan(make_runbook(team, STEPS, head=HEAD, slug="dry_one"), team, incident)
    told = list(incident.timeline.order_by("seq"))
    assert [entry.text.split(" by ")[0] for entry in told] == [
        "Dry run, nothing was changed. Runbook dry_one (revision 1) was started",
        "Dry run, nothing was changed. Runbook dry_one ended, finished (step holds: fail).",
    ]
    assert all(entry.data["plan"] is True and not entry.pinned for entry in told)
    assert {entry.data["run"] for entry in told} == {str(run.uuid)}


def test_it_neither_holds_nor_waits_for_the_key(world: World, team: Team, incident: Incident) -> None:
    runbook, actor = make_runbook(team, STEPS, head=HEAD), make_actor(team)
    real = runs.start(runbook, given={}, actor=actor, team=team, incident=incident).run
    dry = runs.start(runbook, given={}, actor=actor, team=team, incident=incident, plan=True)
    assert (dry.decision, real is not None) == ("started", True)
    assert dry.run is not None
    assert dry.run.pk != real.pk  # type: ignore[union-attr]


def test_a_verdict_that_stops_the_run_stops_the_dry_run_and_one_that_asks_does_not(world: World, team: Team) -> None:
    steps = """\
  check:
    - {id: look, check: world.ask, fail_if: value > 0.5, on_verdict: {fail: POLICY}}
    - {id: after, if: steps.look.verdict == 'fail', check: world.ask, fail_if: value > 5}
"""
    asked = plan(make_runbook(team, steps.replace("POLICY", "ask")), team)
    assert step(asked, "look").verdict == "fail"
    assert step(asked, "after").verdict == "pass"
    stopped = plan(make_runbook(team, steps.replace("POLICY", "stop")), team)
    assert (stopped.state, step(stopped, "after").state) == ("finished", "cancelled")


def test_nothing_of_it_can_be_done_again_or_gone_on_from(world: World, team: Team, incident: Incident) -> None:
    run = plan(make_runbook(team, STEPS, head=HEAD), team, incident)
    assert not any(repeating.may_rerun(run, row) or going_on.may_go_on(run, row, []) for row in run.steps.all())


READS = {("POST", "/api/v1/query"), ("POST", "/api/v1/query_range")}


class Recorder:
    """The outer world of a shipped runbook; whatever is not a read is noted, and refused."""

    def __init__(self) -> None:
        self.prometheus = Answers()
        self.writes: list[tuple[str, str]] = []
        self.reads: set[str] = set()

    def answer(self, asked: Asked) -> Reply:
        """A query, a flag, a status page."""
        if asked.method not in ("GET", "HEAD") and (asked.method, asked.path) not in READS:
            self.writes.append((asked.method, asked.path))
            return Reply(b"this world takes no writes", 500)
        self.reads.add(asked.path)
        if asked.path == "/flags/chat-model":
            return Reply(json.dumps({"name": "chat-model", "value": "v43"}).encode())
        if asked.path.startswith("/api/v1/"):
            return self.prometheus.reply(asked)
        return Reply(json.dumps({"status": {"indicator": "none", "description": "All good"}}).encode())


@pytest.fixture
def recorded() -> Iterator[tuple[Recorder, Web]]:
    """A world that only answers."""
    recorder = Recorder()
    with serve(recorder.answer) as web:
        yield recorder, web


def served(team: Team, url: str) -> Service:
    """A service with every signal, flag and status page in that world."""
    service = make_service(team, "rag-chat")
    prometheus = make_connection(team, "prometheus", url=url)
    for name in ("latency", "error_rate", "cost", "accuracy", "null_rate", "violation_rate"):
        make_signal(service, name, query=f"{name}_query", connection=prometheus)
    make_connection(team, "flags", connector="flag", url=url)
    make_connection(team, "llm-status", connector="http_json", url=url)
    service.rollback = {"connection": "flags", "flag": "chat-model"}
    service.save()
    make_versions(service, ("v42", "kept"), ("v43", "serving"))
    return service


@pytest.mark.parametrize("path", library.files(library.FOLDER), ids=lambda path: path.stem)
def test_a_shipped_runbook_writes_nothing_anywhere(team: Team, recorded: tuple[Recorder, Web], path: Path) -> None:
    recorder, web = recorded
    service = served(team, web.url)
    # As if every remedy were called for: conditions are no protection here.
    text = "\n".join(line for line in path.read_text().splitlines() if "if: diagnosis.top" not in line)
    phases = text[text.index("phases:\n") + len("phases:\n") : text.index("outputs:")]
    head = text[text.index("inputs:") : text.index("phases:\n")]
    runbook = make_runbook(team, phases, head=head)
    started = runs.start(
        runbook,
        given={"service": "rag-chat"},
        actor=make_actor(team),
        team=team,
        incident=make_incident(team, service, started_at=clock.now() - timedelta(hours=1)),
        plan=True,
    )
    pump()
    assert recorder.writes == []
    assert started.run is not None
    rolled = StepRun.objects.filter(run=started.run, provider="model.rollback").first()
    if rolled is not None:
        assert rolled.summary.startswith("Would do: ")
        assert "/flags/chat-model" in recorder.reads
    assert "/api/v1/query_range" in recorder.reads
    assert Effect.objects.count() == Message.objects.count() == 0
