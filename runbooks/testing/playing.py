"""Playing one case: the real verbs, worker and ticker, on a clock that jumps to what is due."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef

from catalog.actors import ALERT, ENGINE, Actor, person
from catalog.models import Group, Membership, Service, Team, User
from common import clock
from common.errors import DomainError, NotFound
from common.statements import Written
from incidents import lifecycle
from incidents.models import Alert as AlertRow
from incidents.models import Endpoint, Evidence, Incident
from runbooks import approvals, children, engine, execution, reading, repeating, runs, ticker, trigger
from runbooks.models import (
    AT_WORK_STATES,
    KEY_HOLDING_STATES,
    OPEN_RUN_STATES,
    ApprovalRequest,
    DiagnosisSnapshot,
    Effect,
    Run,
    Runbook,
    StepRun,
    Worker,
)
from runbooks.spec import RunbookSpec
from runbooks.steps import HARMLESS
from runbooks.testing import memory, standins
from runbooks.testing.cases import Alert, Case, Event, Tests
from runbooks.testing.family import Family
from runbooks.testing.stubs import EPOCH, Unstubbed, VirtualClock, WorkerLost, World, instead_of_the_world, place_of

WORKER = "test"
# Moments of one case: a watch of 2,000 samples fits.
MOMENTS = 5_000
FOR_EVER = timedelta(days=3650)
ROLES = ["responder", "approver"]
_PRINCIPAL = re.compile(r"\b(?:role|team|user):[A-Za-z0-9_.@-]+")


@dataclass
class Seen:
    """One step as it was when the case was over."""

    state: str
    blocked_on: str
    verdict: str
    proposed: str
    reason: str
    attempts: int
    started: bool
    result: Any = None
    value: Any = None
    # Every verdict and the rule that gave it: attempts, samples, overrides.
    rules: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass
class Played:
    """What a case came to, as plain data; its rows are gone."""

    started: bool = False
    because: str = ""
    state: str = ""
    outcome: str = ""
    took: timedelta = timedelta(0)
    top: str = ""
    confidence: float = 0.0
    tops: set[str] = field(default_factory=set)
    outputs: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, list[Seen]] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    asked: dict[str, list[str]] = field(default_factory=dict)
    # By the place of the event: what the engine said instead of doing it.
    refusals: dict[int, str] = field(default_factory=dict)
    # True and false of every trigger that was asked.
    triggers: dict[int, bool] = field(default_factory=dict)
    unstubbed: str = ""
    stuck: str = ""
    # How long playing it took, on a real clock.
    seconds: float = 0.0


_is_open = Written(lambda run: Run.objects.filter(pk=run, state__in=OPEN_RUN_STATES).order_by().only("pk"))
_first_ready = Written(
    lambda: (
        StepRun.objects.filter(state="ready", run__state__in=AT_WORK_STATES)
        .order_by("ready_at", "pk")
        .values_list("pk", flat=True)[:1]
    )
)
_deadlines = Written(
    lambda: (
        Run.objects.filter(state__in=OPEN_RUN_STATES).exclude(state="stopping").values_list("deadline_at", flat=True)
    )
)
_waits = Written(
    lambda: StepRun.objects.filter(
        run__state__in=OPEN_RUN_STATES, state__in=["sleeping", "blocked", "leased"]
    ).values_list("state", "blocked_on", "due_at", "tell_at", "lease_until")
)


def play(family: Family, tests: Tests, case: Case) -> Played:
    """Play a case from its start to the run's end (or `until`). Needs a database of `memory.database`."""
    begun = time.perf_counter()
    source = VirtualClock()
    world = World(family, tests.stubs | case.stubs, source)
    with (
        memory.scratch(),
        clock.replaced(source),
        instead_of_the_world(family.specs, world),
        _two_people(),
    ):
        played = _Story(family, tests, case, world).told()
    played.seconds = time.perf_counter() - begun
    return played


@contextmanager
def _two_people() -> Iterator[None]:
    """Four eyes are four eyes, whatever this machine is set to."""
    here = settings.BACKSTOP
    settings.BACKSTOP = here.model_copy(update={"two_person": "on"})
    try:
        yield
    finally:
        settings.BACKSTOP = here


class _Story:
    def __init__(self, family: Family, tests: Tests, case: Case, world: World) -> None:
        self.spec, self.tests, self.case, self.world = family.top, tests, case, world
        self.clock = world.clock
        self.family = family
        self.text = " ".join(json.dumps(spec.stored()) for spec in family.specs)
        self.events = sorted(enumerate(case.events), key=lambda pair: (pair[1].at, pair[0]))
        self.played = Played()
        self.team = Team.objects.create(slug="default", name="Default", created_at=EPOCH)
        self.people: dict[str, Actor] = {}
        self._make_people()
        # It knows everything and never dies; of a tick, only what moves runs has something to do here.
        ever = EPOCH + FOR_EVER
        Worker.objects.create(name=WORKER, started_at=EPOCH, ticked_at=ever, providers=execution.known())
        self.run_id = 0

    # The world before the run.

    def _make_people(self) -> None:
        named = sorted({*_PRINCIPAL.findall(self.text), "role:oncall"})
        groups = {name[5:] for name in named if name.startswith("role:")}
        given = self.tests.people
        for principals in (given or {}).values():
            groups |= {name[5:] for name in principals if name.startswith("role:")}
        rows = {slug: Group.objects.create(team=self.team, slug=slug) for slug in sorted(groups)}
        users = {name[5:] for name in named if name.startswith("user:")}
        names = {self.case.started_by, *(event.by for event in self.case.events), *(given or {}), *users}
        for name in sorted(names):
            user = User.objects.create(username=name, email=f"{name}@example.com", created_at=EPOCH)
            Membership.objects.create(user=user, team=self.team, roles=ROLES)
            mine = groups if given is None else {p[5:] for p in given.get(name, []) if p.startswith("role:")}
            for slug in sorted(mine):
                rows[slug].members.add(user)
            self.people[name] = person(user)

    def _runbook(self, spec: RunbookSpec) -> Runbook:
        runbook = Runbook.objects.create(
            team=self.team, slug=spec.id, title=spec.title, incident_type=spec.incident_type, created_at=EPOCH
        )
        runbook.current = standins.revision(runbook, spec, number=standins.REAL)
        runbook.save(update_fields=["current"])
        return runbook

    def _service(self, given: dict[str, Any], alert: Alert | None) -> Service | None:
        slug = given.get("service") or (alert and (alert.service or alert.labels.get("service")))
        if not isinstance(slug, str):
            return None
        return Service.objects.create(team=self.team, slug=slug, title=slug, created_at=EPOCH)

    def _incident(self, service: Service | None) -> Incident:
        return lifecycle.declare(
            team=self.team,
            title="An incident of a test",
            severity=2,
            actor=ENGINE,
            service=service,
            incident_type=self.spec.incident_type,
        )

    def _alert(self, alert: Alert, service: Service | None, incident: Incident | None) -> AlertRow:
        endpoint = Endpoint.objects.create(
            team=self.team, source=alert.source, name="test", token_sha256="", token_encrypted=b"", created_at=EPOCH
        )
        return AlertRow.objects.create(
            endpoint=endpoint,
            dedup_key="test",
            status=alert.status,
            severity=alert.severity,
            title=alert.title,
            description=alert.description,
            service=service,
            service_name=alert.service,
            environment=alert.environment,
            labels=alert.labels,
            starts_at=EPOCH,
            first_seen_at=EPOCH,
            last_seen_at=EPOCH,
            incident=incident,
        )

    # The story.

    def told(self) -> Played:
        """Play it and say what it came to."""
        try:
            if self._start():
                self._go()
        except Unstubbed as missing:
            self.played.unstubbed = missing.step
        for number, _ in self.events:
            self.played.refusals[number] = "The run was over, or cut off, before that."
        if self.run_id:
            self._look()
        return self.played

    def _start(self) -> bool:
        runbook = self._runbook(self.spec)
        for other in self.family.others.values():
            standins.add(self._runbook(other), other)
        given = self.tests.inputs | self.case.inputs
        service = self._service(given, self.case.alert)
        # Its timeline is a third of the work of a run, so there is one only where something can tell the difference.
        incident = self._incident(service) if self.case.alert or "incident." in self.text else None
        alert = self._alert(self.case.alert, service, incident) if self.case.alert else None
        actor = ALERT if alert else self.people[self.case.started_by]
        try:
            if alert is not None and not self._matches(runbook, alert):
                self.played.because = "No trigger matches the alert."
                return False
            started = runs.start(
                runbook,
                given=given,
                actor=actor,
                team=self.team,
                incident=incident,
                alert=alert,
                reason="a test",
                prepare=lambda run: standins.pin(run, self.world),
            )
        except DomainError as error:
            self.played.because = error.sentence
            return False
        assert started.run is not None, "the first run of a key starts"
        self.run_id, self.played.started = started.run.pk, True
        return True

    def _matches(self, runbook: Runbook, alert: AlertRow) -> bool:
        assert runbook.current is not None
        data = reading.alert_data(alert)
        for index, source in enumerate(reading.book_of(runbook.current).triggers):
            self.played.triggers[index] = trigger.matches(source, data)
        return any(self.played.triggers.values())

    def _go(self) -> None:
        end = None if self.case.until is None else EPOCH + timedelta(seconds=self.case.until)
        for _ in range(MOMENTS):
            self._happen()
            self._work()
            if not _is_open(self.run_id):
                return
            moment = self._next_moment(end)
            if end is not None and (moment is None or moment > end):
                self.clock.time = end
                return
            if moment is None:
                self.played.stuck = "Nothing will ever move this run."
                return
            self.clock.time = max(moment, self.clock.time + timedelta(seconds=1))
            # What people do in a moment comes before what is due in it.
            self._happen()
            ticker.move_runs(clock.now())
        self.played.stuck = f"It is not over after {MOMENTS:,} moments."

    def _work(self) -> None:
        """Do all that is ready, as workers do, and give the hints that follow a commit."""
        while True:
            # A run alone waits for no other, and most are.
            while self.family.others and (standins.end_due(self.world) or self._hint()):
                pass
            pk = _first_ready.first()
            if pk is None:
                return
            try:
                execution.execute(pk, WORKER)
            except WorkerLost:
                continue

    def _hint(self) -> bool:
        """A run that has ended is told to the step that waits for it and to the next in line; whether one was told."""
        open_child = Run.objects.filter(
            parent_step=OuterRef("pk"), parent_generation=OuterRef("generation"), state__in=OPEN_RUN_STATES
        )
        told = StepRun.objects.filter(
            ~Exists(open_child), state="blocked", blocked_on="child", run__state__in=KEY_HOLDING_STATES
        )
        holders = Run.objects.filter(
            runbook=OuterRef("runbook"), concurrency_key=OuterRef("concurrency_key"), state__in=KEY_HOLDING_STATES
        )
        first = Run.objects.filter(~Exists(holders), state="queued").order_by("pk")
        hints = [*told.values_list("run_id", flat=True)[:1], *first.values_list("pk", flat=True)[:1]]
        for run_id in hints:
            engine.advance(run_id)
        return bool(hints)

    def _next_moment(self, end: datetime | None) -> datetime | None:
        found = _deadlines()
        for state, on, due, tell, lease in _waits():
            if state == "leased":
                # A lease has run out once its time is over, not at that time.
                found += [lease + timedelta(seconds=1)] if lease is not None else []
            else:
                # Who waits for another run is told at once here, and need not look now and then.
                found += [moment for moment in (due, tell if on != "child" else None) if moment is not None]
        found += standins.endings(self.world) if self.family.others else []
        if self.events:
            found.append(EPOCH + timedelta(seconds=self.events[0][1].at))
        return min(found, default=None)

    def _happen(self) -> None:
        """Events whose time has come."""
        while self.events and self.clock.passed >= timedelta(seconds=self.events[0][1].at):
            number, event = self.events.pop(0)
            try:
                self._do(event)
            except DomainError as error:
                self.played.refusals[number] = error.sentence

    def _do(self, event: Event) -> None:
        if event.verb == "worker_lost":
            self.world.losing.add(event.step)
            return
        actor = self.people[event.by]
        run = Run.objects.get(pk=self.run_id)
        said = event.reason or event.note or "because a test says so"
        if event.verb == "cancel":
            runs.cancel(run, actor=actor, reason=said)
        elif event.verb == "pause":
            runs.pause(run, actor=actor, reason=said)
        elif event.verb == "resume":
            runs.resume(run, actor=actor, reason=said)
        else:
            self._do_to_step(event, self._step(run, event), actor, said)

    def _step(self, run: Run, event: Event) -> StepRun:
        """The row that an event means: `call.look` is a step of the run that `call` is now."""
        elements = event.item if isinstance(event.item, list) else [event.item]
        # One alone counts for the innermost step that has `foreach`.
        chosen = dict(zip(reversed(self.family.spread(event.step)), reversed(elements), strict=False))
        path = ""
        found: StepRun | None = None
        for name in event.step.split("."):
            path = f"{path}.{name}" if path else name
            if found is not None:
                run = children.child_of(found) or run
            found = StepRun.objects.filter(run=run, step=name, item=chosen.get(path, 0)).first()
            if found is None:
                raise NotFound("The run has no such step yet, or no such item of it.")
        assert found is not None, "a path has a name"
        return found

    def _do_to_step(self, event: Event, step: StepRun, actor: Actor, said: str) -> None:
        if event.verb == "approve":
            approvals.approve(step, digest=approvals.open_request(step).digest, actor=actor, note=event.note)
        elif event.verb == "reject":
            approvals.reject(step, digest=approvals.open_request(step).digest, actor=actor, reason=said)
        elif event.verb == "override":
            verdict = event.verdict or ""
            runs.answer(step, actor=actor, decision="override", verdict=verdict, note=said)
        elif event.verb == "answer":
            verdict, decision = event.verdict or "", event.decision
            runs.answer(step, actor=actor, fields=event.fields, decision=decision, verdict=verdict, note=event.note)
        elif event.verb == "skip":
            runs.skip(step, actor=actor, reason=said)
        else:
            repeating.rerun(step, actor=actor)

    # What it came to.

    def _look(self) -> None:
        run = Run.objects.get(pk=self.run_id)
        played = self.played
        played.state, played.outcome, played.because = run.state, run.outcome, run.stop_reason
        played.took = (run.ended_at or self.clock.time) - EPOCH
        played.top = run.diagnosis.get("top", "")
        played.confidence = run.diagnosis.get("confidence", 0.0)
        played.tops = set(DiagnosisSnapshot.objects.filter(run=run).values_list("top", flat=True))
        played.outputs = run.outputs
        for one in [run, *children.below(run)]:
            self._look_at(one)
        done = Effect.objects.filter(state="confirmed").order_by("ended_at", "pk").select_related("step_run__run")
        for effect in done:
            kind = played.told if effect.effect_class in HARMLESS else played.effects
            kind.append(standins.path_of(effect.step_run))

    def _look_at(self, run: Run) -> None:
        """The steps of one run of the family; of one that was run again, those of the last time."""
        played, above = self.played, run.parent_step
        if above is not None and (above.generation != run.parent_generation or standins.is_one(run)):
            return
        rules: dict[str, list[tuple[str, str, str]]] = {}
        for shown in Evidence.objects.filter(run_id=run.pk).order_by("pk"):
            rules.setdefault(shown.step, []).append((shown.verdict, shown.reason, shown.rule))
        for row in StepRun.objects.filter(run=run).order_by("position", "item"):
            path = place_of(run, row.step, row.item).path
            seen = Seen(
                row.state,
                row.blocked_on,
                row.verdict,
                row.proposed_verdict,
                row.reason,
                row.attempts,
                (row.started_at or row.t0) is not None,
                row.result,
                row.value,
                rules.get(row.step, []),
            )
            played.steps.setdefault(path, []).append(seen)
            if row.kind == "manual" and row.params is not None:
                played.asked[path] = row.params.get("asked", [])
        for request in ApprovalRequest.objects.filter(step_run__run=run).select_related("step_run").order_by("pk"):
            played.asked[place_of(run, request.step_run.step, 0).path] = request.principals
