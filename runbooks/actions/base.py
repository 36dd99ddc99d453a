"""What an action promises: it says what it would change, changes it once, and can say what it changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

from catalog.models import Service
from common.plain import plain
from runbooks.checks.base import Context, Params

EffectClass = Literal["read", "notify", "set", "keyed", "probe", "once"]
Risk = Literal["low", "medium", "high"]
RISKS: tuple[Risk, ...] = ("low", "medium", "high")
P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Preview:
    """What an action would do, read from the world just now; nothing was changed.

    `sentence` is the exact action in words. `lines` are further facts (label, text); `warnings` what speaks against it.
    `bound` is what of the catalog it goes by: which connection with which settings, which flag. An approval is for
    `sentence`, `before`, `after` and `bound`: all four are read again right before the action is sent.
    """

    sentence: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As plain data: what people see, and what is kept with their answer."""
        return {
            "sentence": self.sentence,
            "before": plain(self.before),
            "after": plain(self.after),
            "bound": plain(self.bound),
            "lines": [list(line) for line in self.lines],
            "warnings": self.warnings,
        }


@dataclass(frozen=True)
class Applied:
    """What was done, in one sentence, with the state read before and after."""

    summary: str
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """The other side said no and changed nothing: verdict fail."""


class NotApplied(Exception):
    """It surely did not happen (bad parameter, connection refused): verdict error, and it may be tried again."""


class Ambiguous(Exception):
    """It may have happened: what follows depends on the effect class. Any other exception counts as this one."""


class Action(Generic[P]):
    """A step type that changes something. Subclasses set the class variables; their docstring is the guide page."""

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str] = "1"
    effect_class: ClassVar[EffectClass]
    # The least risk a runbook may claim for it.
    risk: ClassVar[Risk]
    example: ClassVar[dict[str, Any]] = {}
    params: type[P]

    def lacks(self, service: Service | None) -> str:
        """What this service lacks for the action, in a sentence; empty when it can be done. Asks nobody outside."""
        return ""

    def choices(self, service: Service) -> dict[str, list[tuple[str, str]]]:
        """For a form: the values that make sense for a parameter here, each with words; others may be typed too."""
        return {}

    def preview(self, params: P, context: Context) -> Preview:
        """Say what `apply` would do, without doing it. Raises CheckError when the present state cannot be read."""
        raise NotImplementedError

    def apply(self, params: P, key: str, context: Context) -> Applied:
        """Do it, once; `key` is the idempotency key to send along. Raises Refused, NotApplied or Ambiguous."""
        raise NotImplementedError

    def observe(self, params: P, context: Context) -> str:
        """The state that it would change, in a sentence, as it is now: for a person who must say what happened."""
        before = self.preview(params, context).before
        return ", ".join(f"{name}: {value}" for name, value in before.items())

    def lookup(self, params: P, key: str, context: Context) -> bool | None:
        """For class probe: whether the effect of `key` has happened; None when nobody can tell."""
        return None
