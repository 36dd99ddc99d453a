"""Anything in any order: hypothesis drives runs through what people, workers, messages and clocks may do to them.

After every step all promises hold (tests/invariants.py), and at the end of each story every run comes to its end, with
nobody's help but that of the clock. The nightly mark tells many more and longer stories.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from catalog.actors import Actor, person
from common import clock
from common.errors import DomainError
from runbooks import approvals, engine, execution, leases, repeating, runs, ticker
from runbooks.actions.base import Ambiguous, NotApplied, Refused
from runbooks.checks.base import CheckError, Pending
from runbooks.models import OPEN_RUN_STATES, ApprovalRequest, Run, StepRun
from tests import invariants
from tests.factories import make_actor, make_incident, make_service, make_team, make_user
from tests.factories_runbooks import make_runbook
from tests.fakes.world import Killed, KilledBefore, known

pytestmark = pytest.mark.django_db

HEAD = """\
inputs:
  service: {type: string}
concurrency: {key: "{{ inputs.service }}", when_busy: queue}
deadline: 6h
"""
BOOK = """
  check:
    - {{id: a, check: world.ask, fail_if: value > 5, attempts: 2}}
    - {{id: b, if: steps.a.verdict != 'skipped', check: world.ask, fail_if: value > 5, on_verdict: {{fail: ask}}}}
  triage:
    - {{id: look, manual: Look at it., timeout: 1h}}
  remediate:
    - id: act
      action: world.{effect}
      with: {{to: b}}
      risk: {risk}
      {asks}
  verify:
    - {{id: settle, wait: 5m}}
    - {{id: better, check: world.ask, fail_if: value > 5{watch}}}
finally:
  - {{id: tell, action: world.notify, with: {{to: "{{{{ run.outcome }}}}"}}}}
"""
# The same with lists to go through, and with another runbook that asks, acts, takes back and tidies up.
FAMILY = """
  check:
    - {{id: call, {spread}runbook: other, with: {{service: "{{{{ inputs.service }}}}"}}{hurried}}}
  measure:
    - {{id: a, foreach: "[1, 2]", check: world.ask, fail_if: value > item + 4, attempts: 2, on_verdict: {{fail: ask}}}}
  remediate:
    - id: act
      foreach: "['x', 'y']"
      action: world.{effect}
      with: {{to: "{{{{ item }}}}"}}
      lock: one
      risk: {risk}
      {asks}
  verify:
    - {{id: again, if: "steps.a.items | selectattr('verdict', 'eq', 'fail') | list | length > 0", runbook: third}}
    - {{id: better, check: world.ask, fail_if: value > 5}}
"""
OTHER = """
  check:
    - {{id: call, runbook: third, timeout: 5m, on_verdict: {{error: continue}}}}
    - {{id: look, check: world.ask, fail_if: value > 5}}
  remediate:
    - id: act
      action: world.{effect}
      with: {{to: b}}
      risk: {risk}
      {asks}
  verify:
    - {{id: better, check: world.ask, fail_if: value > 5}}
finally:
  - {{id: tell, action: world.notify, with: {{to: "{{{{ run.outcome }}}}"}}}}
"""
THIRD = "  check:\n    - {id: wait, wait: 2m}\n    - {id: look, manual: Look at it., timeout: 1h}\n"
UNDO = "undo: {action: world.keyed, with: {to: a}, auto: true}"
WATCH = ", watch: {every: 20m, for: 1h, max_fails: 1, fail_streak: 2}"
ASKS = "approval: {from: [role:oncall], timeout: 30m, escalate: [{after: 10m, to: team:search}]}"
ANSWERS: dict[str, Any] = {
    "fine": 1.0,
    "problem": 9.0,
    "nothing": None,
    "broken": CheckError("timeout", "No answer."),
    "not yet": Pending(30.0, "half done"),
    "killed": Killed(),
}
ACTS: dict[str, Any] = {
    "done": None,
    "refused": Refused("Not allowed."),
    "not applied": NotApplied("Nobody listens."),
    "ambiguous": Ambiguous("The answer was lost."),
    "killed": Killed(),
    "killed before": KilledBefore(),
}
DECISIONS = ["done", "could_not", "skip", "accept", "override", "again", "stop"]
DOUBTS = ["happened", "did_not_happen", "send_again"]


class Story(RuleBasedStateMachine):
    """Up to three runs of one runbook on one service."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.stack.callback(lambda: transaction.set_rollback(rollback=True))
        self.time = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
        self.stack.enter_context(clock.replaced(lambda: self.time))
        self.world = self.stack.enter_context(known())
        ticker._done_at.clear()
        self.memory = invariants.Memory()
        self.frozen: list[execution.Claimed] = []
        self.ticked = False
        self.team = make_team("search")
        self.incident = make_incident(self.team, make_service(self.team, "rag-chat"))
        self.people: list[Actor] = [make_actor(self.team), make_actor(self.team)]
        self.people.append(person(make_user(team=self.team, oncall=False, roles=["viewer"])))

    @initialize(
        effect=st.sampled_from(["set", "keyed", "probe", "once", "notify"]),
        asks=st.booleans(),
        undone=st.booleans(),
        watched=st.booleans(),
    )
    def begin(self, effect: str, asks: bool, undone: bool, watched: bool) -> None:
        """A runbook with one action of that class; what is of high risk asks."""
        more = {"risk": "high" if effect != "notify" else "low", "asks": ASKS} if asks else {"risk": "low", "asks": ""}
        more["asks"] += f"\n      {UNDO}" if undone else ""
        more["watch"] = WATCH if watched else ""
        self.book = make_runbook(self.team, BOOK.format(effect=effect, **more), head=HEAD)
        self.start(0)

    def roots(self) -> int:
        """How many runs were started that are no step of another."""
        return Run.objects.filter(parent_step=None).count()

    # --- people -------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.roots() < 3)
    @rule(who=st.integers(0, 1))
    def start(self, who: int) -> None:
        """One more, which is queued while another is open."""
        given = {"service": "rag-chat"}
        runs.start(self.book, given=given, actor=self.people[who], team=self.team, incident=self.incident)

    @precondition(lambda self: ApprovalRequest.objects.exists())
    @rule(who=st.integers(0, 2), data=st.data(), yes=st.sampled_from([True, True, True, False]))
    def decide(self, who: int, data: st.DataObject, yes: bool) -> None:
        """Somebody clicks on any request there ever was, also one who may not, and on a page that is old."""
        request = data.draw(st.sampled_from(list(ApprovalRequest.objects.order_by("-pk"))))
        with contextlib.suppress(DomainError):
            if yes:
                approvals.approve(request.step_run, digest=request.digest, actor=self.people[who])
            else:
                approvals.reject(request.step_run, digest=request.digest, actor=self.people[who], reason="No.")

    @precondition(lambda self: StepRun.objects.filter(blocked_on__in=["human", "ask"]).exists())
    @rule(decision=st.sampled_from(DECISIONS), verdict=st.sampled_from(["pass", "fail", "skipped"]), data=st.data())
    def answer(self, decision: str, verdict: str, data: st.DataObject) -> None:
        """A manual step, or a verdict that asks."""
        self._answer(data.draw(st.sampled_from(list(StepRun.objects.filter(state="blocked")))), decision, verdict)

    @precondition(lambda self: StepRun.objects.filter(state="unknown").exists())
    @rule(decision=st.sampled_from(DOUBTS))
    def answer_doubt(self, decision: str) -> None:
        """What became of an effect in doubt."""
        self._answer(StepRun.objects.filter(state="unknown")[0], decision, "")

    def _answer(self, step: StepRun, decision: str, verdict: str) -> None:
        with contextlib.suppress(DomainError):
            runs.answer(step, actor=self.people[0], decision=decision, verdict=verdict, note="I looked.")

    @rule(data=st.data(), verb=st.sampled_from(["skip", "rerun", "ask_again"]))
    def change_course(self, data: st.DataObject, verb: str) -> None:
        """Skip a step, run it again, or ask anew what nobody answered."""
        step = data.draw(st.sampled_from(list(StepRun.objects.order_by("pk"))))
        with contextlib.suppress(DomainError):
            if verb == "skip":
                runs.skip(step, actor=self.people[0], reason="Not needed.")
            elif verb == "rerun":
                repeating.rerun(step, actor=self.people[0])
            else:
                repeating.ask_again(step, actor=self.people[0])

    @rule(data=st.data(), verb=st.sampled_from([runs.pause, runs.resume, runs.resume, runs.cancel]))
    def steer(self, data: st.DataObject, verb: Any) -> None:
        """Pause, resume or cancel any run."""
        run = data.draw(st.sampled_from(list(Run.objects.order_by("pk"))))
        with contextlib.suppress(DomainError):
            verb(run, actor=self.people[1])

    # --- workers and messages -----------------------------------------------------------------------------------
    @precondition(lambda self: StepRun.objects.filter(state="ready").exists())
    @rule(answer=st.sampled_from(["fine", "fine", *ANSWERS]), act=st.sampled_from(["done", "done", *ACTS]))
    def work(self, answer: str, act: str) -> None:
        """A worker takes what is ready; it may die in it."""
        self.world.checks, self.world.actions = [ANSWERS[answer]], [ACTS[act]]
        with contextlib.suppress(Killed):
            self.one(StepRun.objects.filter(state="ready").order_by("ready_at")[0].pk, "w")

    def one(self, pk: int, worker: str) -> None:
        """A message of a step: a worker takes it if it is ready, and does no more than that."""
        claimed = execution.claim(pk, worker)
        if claimed is not None:
            self.goes_on(execution._carry_out(*claimed))

    def goes_on(self, following: execution.Claimed | None) -> None:
        """The check that it claimed with the verdict of the one before: it goes on with it some time, or never."""
        if following is not None and len(self.frozen) < 3:
            self.frozen.append(following)

    @precondition(lambda self: StepRun.objects.filter(state="ready").exists() and len(self.frozen) < 3)
    @rule()
    def freeze(self) -> None:
        """A worker takes what is ready, and stops there for as long as it pleases."""
        claimed = execution.claim(StepRun.objects.filter(state="ready").order_by("ready_at")[0].pk, "frozen")
        if claimed is not None:
            self.frozen.append(claimed)

    @precondition(lambda self: self.frozen)
    @rule(answer=st.sampled_from([*ANSWERS]), act=st.sampled_from([*ACTS]))
    def wake(self, answer: str, act: str) -> None:
        """One that was frozen goes on, as if no time had passed."""
        run, step, definition, now = self.frozen.pop(0)
        self.world.checks, self.world.actions = [ANSWERS[answer]], [ACTS[act]]
        held = leases.hold(step.pk, step.fence, seconds=definition.timeout)
        with contextlib.suppress(Killed):
            if step.kind == "check":
                self.goes_on(execution._check(run, step, definition, now))
            elif step.stage == "preview":
                execution._preview(run, step, definition)
            else:
                execution._act(run, step, definition, held)

    @rule(data=st.data())
    def deliver_again(self, data: st.DataObject) -> None:
        """A message of any step comes once more, early or late."""
        self.world.checks, self.world.actions = [], []
        self.one(data.draw(st.sampled_from(list(StepRun.objects.order_by("pk")))).pk, "again")

    @rule(data=st.data())
    def news(self, data: st.DataObject) -> None:
        """A hint that a run may go on comes: in time, too early, too late, or twice."""
        engine.advance(data.draw(st.sampled_from(list(Run.objects.order_by("pk")))).pk)

    # --- time ---------------------------------------------------------------------------------------------------
    @rule(seconds=st.sampled_from([1, 31, 61, 61, 600, 1801, 3601, -1, -600]))
    def time_passes(self, seconds: int) -> None:
        """The database's clock moves on, or is set."""
        self.time += timedelta(seconds=seconds)

    @rule()
    def tick(self) -> None:
        """One round of a living worker's ticker."""
        ticker.tick("w")
        self.ticked = True

    @invariant()
    def promises(self) -> None:
        """All that is promised, after every step."""
        invariants.hold(ticked=self.ticked)
        self.ticked = False
        self.memory.look()
        invariants.once_each(self.world.happened)

    def teardown(self) -> None:
        """Left alone, every run ends: by its deadline at the latest, for the clock asks nobody."""
        try:
            self.world.checks, self.world.actions = [], []
            for hour in range(3 * 7):
                self.time += timedelta(hours=1)
                self.tick()
                if hour < 2:
                    # Whatever was due in the story has come now, all at once.
                    self.promises()
                for pk in StepRun.objects.filter(state="ready").values_list("pk", flat=True):
                    execution.execute(pk, "w")
            assert not Run.objects.filter(state__in=OPEN_RUN_STATES).exists(), "a run does not end"
            self.promises()
        finally:
            self.stack.close()


class Families(Story):
    """The same of runbooks that go through lists and run other runbooks, two levels down."""

    @initialize(
        effect=st.sampled_from(["set", "keyed", "probe", "once", "notify"]),
        asks=st.booleans(),
        undone=st.booleans(),
        spread=st.booleans(),
        hurried=st.booleans(),
    )
    def begin(self, effect: str, asks: bool, undone: bool, spread: bool, hurried: bool) -> None:
        """Who is asked and what is taken back is the same above and below."""
        more = {"risk": "high" if effect != "notify" else "low", "asks": ASKS} if asks else {"risk": "low", "asks": ""}
        more["asks"] += f"\n      {UNDO}" if undone else ""
        more["spread"] = "foreach: '[1, 2]', " if spread else ""
        more["hurried"] = ", timeout: 20m" if hurried else ""
        make_runbook(self.team, THIRD, slug="third")
        make_runbook(self.team, OTHER.format(effect=effect, **more), slug="other", head=HEAD)
        self.book = make_runbook(self.team, FAMILY.format(effect=effect, **more), head=HEAD)
        self.start(0)


def tell(machine: type[Story], *, stories: int, steps: int, shrink: bool = False) -> None:
    """Run that many stories."""
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    how = settings(
        max_examples=stories,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=phases,
        derandomize=not shrink,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.parametrize(("machine", "stories"), [(Story, 4), (Families, 2)])
def test_any_order_keeps_every_promise(machine: type[Story], stories: int) -> None:
    tell(machine, stories=stories, steps=25)


@pytest.mark.nightly
@pytest.mark.parametrize("machine", [Story, Families])
def test_any_order_keeps_every_promise_all_night(machine: type[Story]) -> None:
    tell(machine, stories=int(os.environ.get("BACKSTOP_TEST_STORIES", "1500")), steps=60, shrink=True)
