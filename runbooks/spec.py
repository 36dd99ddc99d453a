"""A whole runbook, `spec: 1`, as the engine reads it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from runbooks.fields import (
    DAY,
    HOUR,
    PHASES,
    STORED,
    Concurrency,
    Duration,
    Expr,
    Hypothesis,
    Id,
    IncidentType,
    Input,
    Part,
    Phase,
    Principal,
    Text,
    Trigger,
)
from runbooks.steps import Step

MAX_STEPS = 200
# Versions of the language that this version of Backstop runs.
SPECS = (1,)
LONGEST_DEADLINE = 14 * DAY


class Phases(Part):
    """The five phases, always in this order; each a list of steps."""

    check: list[Step] = Field(default_factory=list)
    measure: list[Step] = Field(default_factory=list)
    triage: list[Step] = Field(default_factory=list)
    remediate: list[Step] = Field(default_factory=list)
    verify: list[Step] = Field(default_factory=list)

    def of(self, phase: Phase) -> list[Step]:
        """The steps of one phase."""
        steps: list[Step] = getattr(self, phase)
        return steps


class RunbookSpec(Part):
    """One runbook. Read from text by runbooks.schema.parse, from a stored revision by runbooks.schema.load."""

    spec: Literal[1]
    id: Id
    title: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    incident_type: IncidentType
    owner: Principal
    description: Text = ""
    triggers: list[Trigger] = Field(default_factory=list, max_length=50)
    inputs: dict[Id, Input] = Field(default_factory=dict, max_length=50)
    concurrency: Concurrency | None = None
    deadline: Annotated[Duration, Field(ge=60, le=LONGEST_DEADLINE)] = 72 * HOUR
    hypotheses: dict[Id, Hypothesis] = Field(default_factory=dict, max_length=50)
    phases: Phases
    finally_: list[Step] = Field(default_factory=list, alias="finally", max_length=20)
    outputs: dict[Id, Expr] = Field(default_factory=dict, max_length=50)

    def steps(self) -> list[tuple[Phase, Step]]:
        """Every step with its phase, in the order in which they are considered (`finally` not among them)."""
        return [(phase, step) for phase in PHASES for step in self.phases.of(phase)]

    def step(self, step_id: str) -> Step:
        """The step of that id, those of `finally` too. Raises KeyError."""
        for step in [*(step for _, step in self.steps()), *self.finally_]:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    @property
    def concurrency_key(self) -> str:
        """The text whose value may run only once at a time; empty when runs never collide."""
        if self.concurrency is not None:
            return self.concurrency.key
        return "{{ inputs.service }}" if "service" in self.inputs else ""

    @property
    def when_busy(self) -> Literal["join", "queue", "skip", "replace"]:
        """What to do with a start whose key is busy."""
        return self.concurrency.when_busy if self.concurrency is not None else "join"

    def stored(self) -> dict[str, Any]:
        """Plain data for a revision's `parsed` column; `read_stored` turns it back."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def read_stored(parsed: dict[str, Any]) -> RunbookSpec:
    """A runbook from its stored form (durations are seconds there)."""
    return RunbookSpec.model_validate(parsed, context=STORED)
