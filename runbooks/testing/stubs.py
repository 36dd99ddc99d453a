"""What stands in for the world: every check and action a runbook names, answering what its test says.

Each keeps the name, the parameters, the effect class and the risk of the real one, so that the engine and the runbook
cannot tell the difference. Which step asks is read from the key that every call carries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Ambiguous, Applied, NotApplied, Preview, Refused
from runbooks.checks import CHECKS
from runbooks.checks.base import Check, CheckError, Context, Finding, Pending
from runbooks.models import Run
from runbooks.spec import RunbookSpec
from runbooks.steps import ActionStep, CheckStep
from runbooks.testing.cases import Stub
from runbooks.testing.family import Family

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


class Unstubbed(BaseException):
    """A step asked the world and the test does not say what it answers. No part of the engine may swallow this."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


class WorkerLost(BaseException):
    """The worker at this call dies, as far as one process can play it: nothing of ours catches it."""


class VirtualClock:
    """Time that stands still until the story moves it."""

    def __init__(self) -> None:
        self.time = EPOCH

    def __call__(self) -> datetime:
        return self.time

    @property
    def passed(self) -> timedelta:
        """Since the start."""
        return self.time - EPOCH


@dataclass(frozen=True)
class Place:
    """Which step asks: its path in the family, and the rows of `foreach` that lead to it."""

    path: str
    items: tuple[int, ...]


def place_of(run: Run, step: str, item: int) -> Place:
    """Where a step stands, seen from the run that nobody else's step is."""
    path, items = [step], [item]
    while (above := run.parent_step) is not None:
        path.insert(0, above.step)
        items.insert(0, above.item)
        run = above.run
    return Place(".".join(path), tuple(items))


class World:
    """What the world answers in one case; counts the calls, so that a list of answers is used up in order."""

    def __init__(self, family: Family, stubs: dict[str, list[Stub]], clock: VirtualClock) -> None:
        self.family = family
        self.stubs = stubs
        self.clock = clock
        # Steps whose next worker is lost.
        self.losing: set[str] = set()
        self._calls: Counter[Place] = Counter()
        self._runs: dict[str, Run] = {}

    def answer(self, context: Context, *, default: Stub | None = None) -> Stub:
        """The next answer for the step that asks; its last one repeats. Raises Unstubbed, WorkerLost."""
        place = self._asking(context)
        stub = self._next(place, default)
        self._calls[place] += 1
        self.clock.time += timedelta(seconds=stub.takes or 0)
        if stub.fault == "worker_lost" or place.path in self.losing:
            self.losing.discard(place.path)
            raise WorkerLost
        if stub.fault == "timeout":
            self.clock.time = max(self.clock.time, context.deadline)
        return stub

    def look(self, context: Context) -> Stub:
        """The answer that comes next, without using it up."""
        return self._next(self._asking(context), Stub())

    def ending(self, place: Place, generation: int) -> Stub:
        """How a runbook ends that is not played, the how-manieth time it is run. Raises Unstubbed."""
        return _nth(self._stubs(place), generation - 1, place)

    def is_stubbed(self, path: str) -> bool:
        """Whether something is said about that step."""
        return path in self.stubs

    def _next(self, place: Place, default: Stub | None) -> Stub:
        stubs = self._stubs(place)
        return default if default is not None and not stubs else _nth(stubs, self._calls[place], place)

    def _stubs(self, place: Place) -> list[Stub]:
        """All answers of a step, for the element that it is about."""
        stubs = self.stubs.get(place.path) or []
        if not stubs or not stubs[0].items:
            return stubs
        # Only a step on whose way something is spread has `items`; they count for the innermost of these.
        item = place.items[self.family.spread(place.path)[-1].count(".")]
        return stubs[0].items[item] if item < len(stubs[0].items) else []

    def _asking(self, context: Context) -> Place:
        """The step for which a call is made, read from the key that every call carries."""
        uuid, step, item, _ = context.step_key.rsplit(":", 3)
        if uuid not in self._runs:
            above = "parent_step__run__parent_step__run"
            self._runs[uuid] = Run.objects.select_related(above).get(uuid=uuid)
        return place_of(self._runs[uuid], step, int(item))


def _nth(stubs: list[Stub], number: int, place: Place) -> Stub:
    """That answer of a list; the last one repeats."""
    if not stubs:
        raise Unstubbed(place.path)
    return stubs[min(number, len(stubs) - 1)]


class StubbedCheck(Check[Any]):
    """A check with the face of a real one, answering from the test."""

    def __init__(self, real: Check[Any], world: World) -> None:
        self.world = world
        gives = ("gives_verdict", "gives_samples", "gives_age", "at_past_times")
        for part in ("name", "title", "version", "params", *gives):
            setattr(self, part, getattr(real, part))

    def run(self, params: Any, context: Context) -> Finding | Pending:
        """The next answer."""
        stub = self.world.answer(context)
        if stub.fault == "429":
            raise CheckError("rate_limited", "429: too many requests.", retry_after=30)
        if stub.fault == "timeout":
            raise CheckError("timeout", "No answer within the step's time.")
        if stub.error is not None:
            raise CheckError(stub.reason or "stubbed", stub.error, permanent=stub.permanent)
        if stub.pending is not None:
            return Pending(stub.pending, stub.summary or "Not done yet.")
        return Finding(
            value=stub.value,
            summary=stub.summary or f"The answer is {stub.value}.",
            verdict=stub.verdict or "",
            reason=stub.reason or "",
            no_data=stub.fault == "no_data",
            samples=stub.samples,
            observed_at=context.moment - timedelta(seconds=stub.age or 0),
            source="test",
            result=dict(stub.result),
        )


class StubbedAction(Action[Any]):
    """An action with the face of a real one, changing nothing."""

    def __init__(self, real: Action[Any], world: World) -> None:
        self.world = world
        for part in ("name", "title", "version", "effect_class", "risk", "params"):
            setattr(self, part, getattr(real, part))

    def preview(self, params: Any, context: Context) -> Preview:
        """What the test says it would change."""
        stub = self.world.look(context)
        return Preview(self.title, before=dict(stub.before), after=dict(stub.after))

    def apply(self, params: Any, key: str, context: Context) -> Applied:
        """The next answer; without one it is applied."""
        stub = self.world.answer(context, default=Stub())
        if stub.refused is not None:
            raise Refused(stub.refused)
        if stub.fault == "429":
            raise NotApplied("429: too many requests.")
        if stub.error is not None:
            raise NotApplied(stub.error)
        if stub.fault is not None or stub.unclear is not None:
            raise Ambiguous(stub.unclear or "No answer within the step's time.")
        before, after = dict(stub.before), dict(stub.after)
        return Applied(stub.summary or f"{self.title}: done.", before=before, after=after, result=dict(stub.result))

    def observe(self, params: Any, context: Context) -> str:
        """Nobody looks."""
        return "not looked at in a test"

    def lookup(self, params: Any, key: str, context: Context) -> bool | None:
        """What the test says."""
        return self.world.look(context).found


@contextmanager
def instead_of_the_world(specs: list[RunbookSpec], world: World) -> Iterator[None]:
    """While it lasts, every check and action that the runbooks name is a stub."""
    steps = [step for spec in specs for step in [*(step for _, step in spec.steps()), *spec.finally_]]
    checks = {step.check for step in steps if isinstance(step, CheckStep)}
    actions = {step.action for step in steps if isinstance(step, ActionStep)}
    actions |= {step.undo.action for step in steps if isinstance(step, ActionStep) and step.undo}
    with ExitStack() as stack:
        stack.enter_context(CHECKS.including(*(StubbedCheck(CHECKS.get(name), world) for name in sorted(checks))))
        stack.enter_context(ACTIONS.including(*(StubbedAction(ACTIONS.get(name), world) for name in sorted(actions))))
        yield
