"""A small world for the engine: one check and one action per effect class, which answer what a test tells them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, ClassVar

from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Applied, EffectClass, NotApplied, Preview, Refused, Risk
from runbooks.checks import CHECKS
from runbooks.checks.base import Check, Context, Finding, Params, Pending


class Killed(BaseException):
    """kill -9, as far as one process can play it: nothing of ours catches it, and nothing after it runs."""


class KilledBefore(Killed):
    """The same, a moment earlier: what was to be done has not left the machine."""


class World:
    """What was asked and done, by key; what comes next. An exception is raised, a function called at that moment."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        # How often each key really did something: not where it was refused, or was known not to have been applied.
        self.happened: Counter[str] = Counter()
        self.looked = 0
        self.checks: list[Any] = []
        # What a check answers each time that was asked with this `to`; others take the next of `checks`.
        self.says: dict[str, Any] = {}
        self.actions: list[Any] = []
        self.lookups: list[Any] = []
        # What a check finds at a time once no answer is told, and what every check was asked with.
        self.finds: Callable[[datetime], Any] = lambda moment: 1.0
        self.asked: list[Context] = []

    @property
    def effects(self) -> Counter[str]:
        """How often each key was sent."""
        return Counter(self.calls)

    def next(self, answers: list[Any], default: Any) -> Any:
        """The next answer told by the test; the default once there is none."""
        answer = answers.pop(0) if answers else default
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer


class WorldParams(Params):
    """One value."""

    to: str = "on"


class Ask(Check[WorldParams]):
    """Answers what the test tells it."""

    name: ClassVar[str] = "world.ask"
    title: ClassVar[str] = "Ask the world"
    gives_samples: ClassVar[bool] = True
    gives_age: ClassVar[bool] = True
    params = WorldParams

    def __init__(self, world: World) -> None:
        self.world = world

    def run(self, params: WorldParams, context: Context) -> Finding | Pending:
        """The next answer: a finding, "not yet", or a bare value."""
        self.world.asked.append(context)
        answers = [self.world.says[params.to]] if params.to in self.world.says else self.world.checks
        answer = self.world.next(answers, lambda: self.world.finds(context.moment))
        return answer if isinstance(answer, Finding | Pending) else Finding(answer, f"The value is {answer}.")


class AskPast(Ask):
    """The same, also about the past."""

    name: ClassVar[str] = "world.past"
    at_past_times: ClassVar[bool] = True


class Act(Action[WorldParams]):
    """Does one thing to the world, and notes the key."""

    title: ClassVar[str] = "Change the world"
    params = WorldParams

    def __init__(self, world: World) -> None:
        self.world = world

    def preview(self, params: WorldParams, context: Context) -> Preview:
        """Off to whatever was asked for."""
        return Preview(f"Switch off \u2192 {params.to}", before={"value": "off"}, after={"value": params.to})

    def apply(self, params: WorldParams, key: str, context: Context) -> Applied:
        """The call has left; then comes the answer."""
        self.world.calls.append(key)
        try:
            self.world.next(self.world.actions, None)
        except (Refused, NotApplied, KilledBefore):
            raise
        except BaseException:
            self.world.happened[key] += 1
            raise
        self.world.happened[key] += 1
        return Applied(f"Switched to {params.to}.", before={"value": "off"}, after={"value": params.to})

    def lookup(self, params: WorldParams, key: str, context: Context) -> bool | None:
        """What the test says; by default the truth."""
        self.world.looked += 1
        found: bool | None = self.world.next(self.world.lookups, key in self.world.happened)
        return found


def _act(world: World, effect: EffectClass, least: Risk) -> Act:
    """An action of one class, named for it: world.set, world.once …"""

    class One(Act):
        name: ClassVar[str] = f"world.{effect}"
        effect_class: ClassVar[EffectClass] = effect
        risk: ClassVar[Risk] = least

    return One(world)


@contextmanager
def known() -> Iterator[World]:
    """The engine knows world.ask, world.past and one action per class (world.set, world.keyed …) for a while."""
    world = World()
    with ExitStack() as stack:
        stack.enter_context(CHECKS.including(Ask(world), AskPast(world)))
        acts = [_act(world, effect, "low") for effect in ("set", "keyed", "probe", "once")]
        stack.enter_context(ACTIONS.including(*acts, _act(world, "notify", "low")))
        yield world
