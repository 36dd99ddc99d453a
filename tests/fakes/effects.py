"""One action for each class of effects that Backstop itself ships none of: each posts to a counting upstream.

They have no other wit, so what the upstream counts is what the engine let happen. And two checks: one that looks there,
and one that kills whoever runs it.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

from common import http
from runbooks.actions.base import Action, Ambiguous, Applied, EffectClass, Preview, Risk
from runbooks.checks.base import Check, Context, Finding, Params

KINDS: tuple[EffectClass, ...] = ("keyed", "notify", "probe", "once")


class Effect(Action[Params]):
    """One request to BACKSTOP_TEST_UPSTREAM, under the key."""

    title: ClassVar[str] = "Change something"
    risk: ClassVar[Risk] = "low"
    params = Params

    def preview(self, params: Params, context: Context) -> Preview:
        """Nothing to see."""
        return Preview(sentence="Change something")

    def apply(self, params: Params, key: str, context: Context) -> Applied:
        """Do it."""
        try:
            answer = self._ask("POST", key)
        except http.HttpError as error:
            raise Ambiguous(error.sentence) from None
        if answer.status != 200:
            raise Ambiguous(f"The upstream answered {answer.status}.")
        return Applied("Changed something.", after={"done": True})

    def lookup(self, params: Params, key: str, context: Context) -> bool | None:
        """Whether the upstream knows the key."""
        happened: bool = self._ask("GET", key).json()["happened"]
        return happened

    def _ask(self, method: str, key: str) -> http.Answer:
        url = f"{os.environ['BACKSTOP_TEST_UPSTREAM']}/effects/{self.effect_class}"
        return http.request(method, url, headers={"Idempotency-Key": key}, timeout=10)


def _effect(kind: EffectClass) -> Action[Any]:
    made: type[Effect] = type(f"Effect_{kind}", (Effect,), {"name": f"test.{kind}", "effect_class": kind})
    return made()


EFFECTS = [_effect(kind) for kind in KINDS]


class Look(Check[Params]):
    """Ask the upstream for a value, which is above 0."""

    name: ClassVar[str] = "test.look"
    title: ClassVar[str] = "Look at the upstream"
    params = Params

    def run(self, params: Params, context: Context) -> Finding:
        """Look."""
        url = f"{os.environ['BACKSTOP_TEST_UPSTREAM']}/effects/look"
        value = http.request("GET", url, timeout=25).json()["value"]
        return Finding(value, f"It is {value}.")


class Poison(Check[Params]):
    """A library that crashes the process, each time."""

    name: ClassVar[str] = "test.poison"
    title: ClassVar[str] = "Crash"
    params = Params

    def run(self, params: Params, context: Context) -> Finding:
        """Crash."""
        os._exit(139)


LOOKS: list[Check[Any]] = [Look(), Poison()]
