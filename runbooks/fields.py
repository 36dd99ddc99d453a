"""The small parts of a runbook: scalar types, inputs, watch, approval, escalation, hypotheses.

Field names are those of the YAML; where that is a Python keyword the attribute ends in an underscore (`if_`, `with_`).
Durations are whole seconds once read. Every error becomes a finding with a code in runbooks/faults.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

MINUTE, HOUR, DAY = 60, 3_600, 86_400
Phase = Literal["check", "measure", "triage", "remediate", "verify"]
PHASES: tuple[Phase, ...] = get_args(Phase)
Verdict = Literal["pass", "fail", "inconclusive", "error", "skipped"]
Policy = Literal["continue", "stop", "ask"]
IncidentType = Literal["accuracy_drop", "latency_spike", "cost_explosion", "safety_incident", "data_issue", "other"]
# What an expression may use anywhere in a run; steps add their own (value, result, item …).
RUN_NAMES = frozenset({"inputs", "steps", "run", "incident", "alert", "diagnosis", "now", "service"})

# What rows and pages hold in place of a sensitive value.
HIDDEN = "•••"
# What stands under `alert` (runbooks/reading.py makes it).
ALERT_PARTS = (
    "status", "severity", "title", "description", "service", "environment", "labels", "links", "starts_at", "ends_at",
    "dedup_key", "source",
)  # fmt: skip

_UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"(?:[0-9]{1,7}[smhd])+")
DURATION_PATTERN = r"^([0-9]{1,7}[smhd])+$"
# Set in the validation context when a stored form is read back: its durations are seconds already.
STORED = {"stored": True}


def seconds(text: object) -> int:
    """A duration such as `90s` or `1h30m` in seconds. Raises ValueError with what to write instead."""
    if isinstance(text, int) and not isinstance(text, bool):
        raise ValueError(f"a bare number has no unit; write {text}s")
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError("write a number with s, m, h or d, e.g. 90s or 1h30m")
    return sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"[0-9]+[smhd]", text))


def written(amount: int) -> str:
    """Seconds as a runbook writes them, in one unit: 90 is `90s`, 5400 is `90m`."""
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if amount % length == 0:
            return f"{amount // length}{unit}"
    return f"{amount}s"


def _duration(value: object, info: ValidationInfo) -> object:
    if info.context and info.context.get("stored"):
        return value
    try:
        return seconds(value)
    except ValueError as error:
        raise PydanticCustomError("duration", "is not a duration: {why}", {"why": str(error)}) from None


def _expression(value: object) -> object:
    # `if: true` is read as a boolean by YAML and means the same as an expression.
    return str(value).lower() if isinstance(value, bool) else value


Id = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Duration = Annotated[
    int,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "description": "e.g. 90s, 10m, 1h30m, 2d"}),
]
Expr = Annotated[
    str, BeforeValidator(_expression), WithJsonSchema({"type": ["string", "boolean"], "description": "no braces"})
]
Principal = Annotated[str, StringConstraints(pattern=r"^(user|role|team):[A-Za-z0-9_.@-]{1,80}$")]
Text = Annotated[str, StringConstraints(max_length=20_000)]


def is_secret(value: object) -> bool:
    """Whether a parameter's value is written `{secret: name}`."""
    return isinstance(value, dict) and set(value) == {"secret"}


def holds_secret(value: object) -> bool:
    """Whether such a value stands anywhere inside."""
    return next(secrets_in(value, ()), None) is not None


def secrets_in(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], object]]:
    """The place and name of each such value inside nested lists and maps."""
    if isinstance(value, dict) and is_secret(value):
        yield path, value["secret"]
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from secrets_in(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from secrets_in(part, (*path, index))


class Part(BaseModel):
    """Base of everything in a runbook: no unknown fields, no guessing of types, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True)
class Authored:
    """One authored expression or text inside a part: where it stands and which names it may use besides the usual."""

    path: tuple[str | int, ...]
    source: str
    is_text: bool
    extra_names: frozenset[str] = frozenset()


def texts_in(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text inside nested lists and maps, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts_in(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(item, (*path, key))


class Trigger(Part):
    """An expression over `alert` that starts the runbook when it is true."""

    alert: Expr


class Input(Part):
    """A value a run needs: its type, where it comes from, and what is allowed."""

    type: Literal["string", "integer", "number", "boolean", "duration", "datetime", "list", "map"]
    required: bool | None = None
    default: Any = None
    enum: list[Any] | None = Field(None, min_length=1, max_length=200)
    pattern: str | None = Field(None, max_length=256)
    min: float | None = None
    max: float | None = None
    from_: str | None = Field(None, alias="from", max_length=200)
    description: Text = ""
    sensitive: bool = False

    @property
    def is_required(self) -> bool:
        """Whether a start without it is refused: said so, or there is no default."""
        return self.default is None if self.required is None else self.required

    @property
    def is_closed(self) -> bool:
        """Whether its values are safe inside query code: checked by a pattern or list, or not text at all."""
        if self.type == "string":
            return bool(self.pattern or self.enum)
        return self.type not in ("list", "map")


class Concurrency(Part):
    """What may not run twice at once, and what to do when it would."""

    key: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    when_busy: Literal["join", "queue", "skip", "replace"] = "join"


class Hypothesis(Part):
    """A possible cause, with points for the verdicts that speak for or against it."""

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    prior: float = Field(1, gt=0, le=1000)
    evidence: dict[Id, dict[Literal["pass", "fail"], int]] = Field(default_factory=dict, max_length=50)


class Backoff(Part):
    """How long to wait before a further attempt: delay · factor^(n-1), at most max."""

    delay: Duration = 2
    factor: float = Field(2, ge=1, le=10)
    max: Duration = 30


class OnVerdict(Part):
    """What a verdict does to the run; unset ones follow the table of the step's kind."""

    fail: Policy | None = None
    inconclusive: Policy | None = None
    error: Policy | None = None


class Watch(Part):
    """The same check repeated on a fixed grid."""

    every: Duration
    for_: Duration = Field(alias="for")
    max_fails: int = Field(0, ge=0)
    fail_streak: int | None = Field(None, ge=1)
    pass_streak: int | None = Field(None, ge=1)
    error_streak: int = Field(5, ge=1)
    max_inconclusive: int | None = Field(None, ge=0)

    @property
    def samples(self) -> int:
        """How many samples fit into the window."""
        return self.for_ // self.every if self.every else 0


class Escalation(Part):
    """Who else is asked when nobody has answered after so long."""

    after: Duration
    to: Principal


class Approval(Part):
    """Who must say yes before an action is applied, and how long they have."""

    from_: list[Principal] = Field(alias="from", max_length=20)
    count: int = Field(1, ge=1, le=10)
    four_eyes: bool = False
    timeout: Duration = 30 * MINUTE
    escalate: list[Escalation] = Field(default_factory=list, max_length=10)
    message: Text = ""


class Undo(Part):
    """The action that takes this one back; `auto` lets the engine apply it when the run fails."""

    action: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    auto: bool = False
