"""The five kinds of steps, as authored: check, action, manual, wait, runbook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Discriminator, Field, StringConstraints, Tag

from common import expressions
from runbooks.fields import (
    DAY,
    HOUR,
    MINUTE,
    RUN_NAMES,
    Approval,
    Authored,
    Backoff,
    Duration,
    Escalation,
    Expr,
    Id,
    Input,
    OnVerdict,
    Part,
    Policy,
    Principal,
    Text,
    Undo,
    Watch,
    texts_in,
)

Kind = Literal["check", "action", "manual", "wait", "runbook"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Risk = Literal["low", "medium", "high"]
RISKS: tuple[Risk, ...] = get_args(Risk)
# Classes of effects that may be sent again without harm; others get one attempt unless a person decides.
REPEATABLE = ("read", "notify", "set", "keyed")
# Effects that change nothing in the world of the service: allowed anywhere, need no lock and no way back; one that may
# have gone out twice, or not at all, is nothing that a person must clear up.
HARMLESS = ("read", "notify")
# Classes that can be taken back without asking, because sending twice is the same as once.
UNDOABLE = ("set", "keyed")
_CONDITION_NAMES = frozenset({"value", "result", "samples", "age"})
_SAMPLE_NAMES = frozenset({"sample"})
_ITEM_NAMES = frozenset({"item"})


class StepBase(Part):
    """What every step has."""

    kind: ClassVar[Kind]
    default_timeout: ClassVar[int] = MINUTE
    longest_timeout: ClassVar[int] = HOUR
    policies: ClassVar[dict[str, Policy]] = {}

    id: Id
    name: Annotated[str, StringConstraints(max_length=300)] = ""
    doc: Text = ""
    if_: Expr | None = Field(None, alias="if")
    foreach: Expr | None = None
    timeout: Duration | None = None
    attempts: int | None = Field(None, ge=1, le=10)
    backoff: Backoff = Backoff()
    on_verdict: OnVerdict = OnVerdict()
    pin: Literal["always", "on_problem", "never"] = "on_problem"

    @property
    def title(self) -> str:
        """What people read: the name, else the id."""
        return self.name or self.id

    @property
    def provider(self) -> str:
        """The check or action that is called; empty for the other kinds."""
        return ""

    @property
    def timeout_seconds(self) -> int:
        """Seconds per attempt (for a manual step and for another runbook: in all); 0 where nothing bounds it here."""
        return self.timeout if self.timeout is not None else self.default_timeout

    def policy(self, verdict: str) -> Policy:
        """What that verdict does to the run: continue, stop or ask."""
        chosen: Policy | None = getattr(self.on_verdict, verdict, None)
        return chosen or self.policies.get(verdict, "continue")

    def tries(self, effect_class: str = "read") -> int:
        """How many attempts there are in all: as written, else by kind and effect class."""
        if self.attempts is not None:
            return self.attempts
        return 3 if self.kind in ("check", "action") and effect_class in REPEATABLE else 1

    def names(self) -> frozenset[str]:
        """The names that expressions of this step may use; with `foreach`, for each element."""
        return RUN_NAMES | (_ITEM_NAMES if self.foreach else frozenset())

    def names_of(self, part: Authored) -> frozenset[str]:
        """The names that this part may use: `if` and `foreach` are evaluated once, before there is an `item`."""
        return RUN_NAMES if part.path in (("if",), ("foreach",)) else self.names() | part.extra_names

    def authored(self) -> Iterator[Authored]:
        """Every expression and text of this step."""
        if self.if_ is not None:
            yield Authored(("if",), self.if_, is_text=False)
        if self.foreach is not None:
            yield Authored(("foreach",), self.foreach, is_text=False)
        for path, source in texts_in(getattr(self, "with_", {}), ("with",)):
            yield Authored(path, source, is_text=True)

    def references(self) -> set[str]:
        """Ids of the steps it mentions: it waits for them."""
        found: set[str] = set()
        for part in self.authored():
            names = self.names_of(part)
            try:
                used = (
                    expressions.compile_text(part.source, names).names_used
                    if part.is_text
                    else expressions.compile(part.source, names=names).names_used
                )
            except expressions.ExpressionError:
                # Lint has told; a faulty expression fails at run time with its own sentence.
                continue
            found.update(path[1] for path in used if path[0] == "steps" and len(path) > 1)
        return found


class CheckStep(StepBase):
    """A read-only question with a verdict."""

    kind: ClassVar[Kind] = "check"

    check: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    pass_if: Expr | None = None
    fail_if: Expr | None = None
    no_data: Literal["inconclusive", "fail", "pass", "error"] = "inconclusive"
    min_samples: int | None = Field(None, ge=1)
    max_age: Duration | None = None
    watch: Watch | None = None
    # How many looks share the error probability, when the runbook repeats a question itself.
    looks: int | None = Field(None, ge=1, le=2000)

    @property
    def provider(self) -> str:
        return self.check

    def policy(self, verdict: str) -> Policy:
        chosen: Policy | None = getattr(self.on_verdict, verdict, None)
        watched: dict[str, Policy] = {"fail": "stop", "error": "ask"}
        return chosen or (watched.get(verdict, "continue") if self.watch else "continue")

    def authored(self) -> Iterator[Authored]:
        yield from super().authored()
        extra = _CONDITION_NAMES | (_SAMPLE_NAMES if self.watch else frozenset())
        for field in ("pass_if", "fail_if"):
            source = getattr(self, field)
            if source is not None:
                yield Authored((field,), source, is_text=False, extra_names=extra)


class ActionStep(StepBase):
    """A change to the world, applied once."""

    kind: ClassVar[Kind] = "action"
    default_timeout: ClassVar[int] = 5 * MINUTE
    policies: ClassVar[dict[str, Policy]] = {"fail": "stop", "inconclusive": "ask", "error": "ask"}

    action: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    risk: Risk | None = None
    approval: Approval | None = None
    recheck: list[Id] = Field(default_factory=list, max_length=20)
    lock: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    undo: Undo | None = None
    # Why there is no way back, for actions without `undo`.
    irreversible: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None

    @property
    def provider(self) -> str:
        return self.action

    def effective_risk(self, floor: Risk) -> Risk:
        """The risk as written, never below the provider's floor."""
        return max(self.risk or floor, floor, key=RISKS.index)

    def authored(self) -> Iterator[Authored]:
        yield from super().authored()
        if self.lock is not None:
            yield Authored(("lock",), self.lock, is_text=True)
        if self.approval is not None:
            yield Authored(("approval", "message"), self.approval.message, is_text=True)
        if self.undo is not None:
            for path, source in texts_in(self.undo.with_, ("undo", "with")):
                yield Authored(path, source, is_text=True)

    def references(self) -> set[str]:
        return super().references() | set(self.recheck)


class ManualStep(StepBase):
    """Something a person does or answers."""

    kind: ClassVar[Kind] = "manual"
    default_timeout: ClassVar[int] = 4 * HOUR
    longest_timeout: ClassVar[int] = 7 * DAY
    policies: ClassVar[dict[str, Policy]] = {"fail": "stop", "inconclusive": "stop", "error": "stop"}

    manual: Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
    assign: Principal | None = None
    fields: dict[Id, Input] = Field(default_factory=dict, max_length=50)
    pass_if: Expr | None = None
    fail_if: Expr | None = None
    escalate: list[Escalation] = Field(default_factory=list, max_length=10)

    def authored(self) -> Iterator[Authored]:
        yield from super().authored()
        yield Authored(("manual",), self.manual, is_text=True)
        for field in ("pass_if", "fail_if"):
            source = getattr(self, field)
            if source is not None:
                yield Authored((field,), source, is_text=False, extra_names=frozenset({"result"}))


class WaitStep(StepBase):
    """A pause; its verdict is pass."""

    kind: ClassVar[Kind] = "wait"
    policies: ClassVar[dict[str, Policy]] = {"error": "stop"}

    wait: Duration


class RunbookStep(StepBase):
    """Another runbook, run as one step."""

    kind: ClassVar[Kind] = "runbook"
    # In all, as for a manual step, since the other one may wait for people too. Unless written, its own deadline is its
    # only end.
    default_timeout: ClassVar[int] = 0
    longest_timeout: ClassVar[int] = 7 * DAY
    policies: ClassVar[dict[str, Policy]] = {"fail": "stop", "inconclusive": "ask", "error": "ask"}

    runbook: Id
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")


def kinds_of(value: Any) -> list[str]:
    """The kinds whose field is present in a step as written."""
    return [kind for kind in KINDS if kind in value] if isinstance(value, dict) else []


def _tag(value: Any) -> str | None:
    if isinstance(value, StepBase):
        return f"<{value.kind}>"
    found = kinds_of(value)
    return f"<{found[0]}>" if len(found) == 1 else None


# Tags in angle brackets cannot be mistaken for field names when a path of an error is read.
STEP_MODELS: dict[str, type[StepBase]] = {
    "<check>": CheckStep,
    "<action>": ActionStep,
    "<manual>": ManualStep,
    "<wait>": WaitStep,
    "<runbook>": RunbookStep,
}
Step = Annotated[
    Annotated[CheckStep, Tag("<check>")]
    | Annotated[ActionStep, Tag("<action>")]
    | Annotated[ManualStep, Tag("<manual>")]
    | Annotated[WaitStep, Tag("<wait>")]
    | Annotated[RunbookStep, Tag("<runbook>")],
    Discriminator(_tag, custom_error_type="kind", custom_error_message="needs exactly one kind"),
]
