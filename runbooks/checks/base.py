"""What a check promises: read-only, one question, one answer with its numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from catalog.models import Connection, Service, Team


class Params(BaseModel):
    """Base of all parameters. Mark a field that becomes query code by `json_schema_extra={"code": True}`."""

    model_config = ConfigDict(extra="forbid")


P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Context:
    """What a provider may know about the run that asks."""

    team: Team
    service: Service | None
    now: datetime
    # When the trouble began, as well as known; windows are laid around it.
    onset: datetime | None
    incident_key: str
    run_uuid: str
    # Unique for this step, item, generation and sample of this run: a key for jobs that must be started once.
    step_key: str
    deadline: datetime
    # How many looks share the error probability (a watch takes many): alpha is divided by it.
    looks: int = 1
    # The past time that a sample of a watch was due at; set only for checks that can look there (`at_past_times`).
    at: datetime | None = None
    incident_number: int | None = None
    # For an action that people approved: the `before` and `after` they were shown. It does exactly that, or refuses.
    approved: dict[str, Any] | None = None

    @property
    def moment(self) -> datetime:
        """The time to look at: windows end here."""
        return self.at or self.now


@dataclass(frozen=True)
class Finding:
    """A check's answer. `verdict` is set only by checks whose statistics decide; otherwise the step's rules do.

    `value` is what `pass_if`/`fail_if` compare. `summary` is one sentence with the number, for people. `no_data` says
    that there was nothing to measure, with `reason` one of `no_data`, `no_series`, `not_a_number`, `stale`.
    """

    value: Any
    summary: str
    verdict: str = ""
    reason: str = ""
    no_data: bool = False
    samples: int | None = None
    observed_at: datetime | None = None
    query: str = ""
    window_from: datetime | None = None
    window_to: datetime | None = None
    unit: str = ""
    source: str = ""
    threshold: dict[str, Any] = field(default_factory=dict)
    # Keys documented by each check: statistic, table (list of rows), series ({label: [[unix, value]]}), links …
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pending:
    """Not yet: ask again after so many seconds. The step sleeps as a row and holds no worker."""

    poll_after: float
    note: str


class CheckError(Exception):
    """The check could not measure: `reason` is a word for rows, the message a sentence; no retry if permanent."""

    def __init__(
        self, reason: str, sentence: str, *, permanent: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.permanent = permanent
        self.retry_after = retry_after


class Check(Generic[P]):
    """A read-only step type. Subclasses set the class variables and write `run`; their docstring is the guide page."""

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[str] = "1"
    # Whether `run` gives its own verdict, a sample count, an observation time.
    gives_verdict: ClassVar[bool] = False
    gives_samples: ClassVar[bool] = False
    gives_age: ClassVar[bool] = False
    # Whether `run` can say how things were at `context.moment` in the past: a watch makes up for missed samples then.
    at_past_times: ClassVar[bool] = False
    # An example of `with:`, checked by test and shown in the guide.
    example: ClassVar[dict[str, Any]] = {}
    params: type[P]

    def run(self, params: P, context: Context) -> Finding | Pending:
        """Measure. Raises CheckError; must end by `context.deadline` by itself."""
        raise NotImplementedError


def connection_of(context: Context, slug: str) -> Connection:
    """The team's connection of that name, or a permanent CheckError that lists the known ones."""
    found = Connection.objects.filter(team=context.team, slug=slug).first()
    if found is None:
        known = ", ".join(Connection.objects.filter(team=context.team).values_list("slug", flat=True)) or "none"
        raise CheckError(
            "no_source",
            f"There is no connection {slug!r} in team {context.team.slug} (known: {known}).",
            permanent=True,
        )
    return found
