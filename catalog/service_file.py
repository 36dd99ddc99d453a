"""The form of a service's YAML file, `spec: 1`; reading it into rows is catalog/loader.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from catalog.signals import Compare
from common import http

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,58}[a-z0-9])?$")]
SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
# How far runs may go by themselves on a service (catalog.models.AUTONOMY).
Level = Literal["observe", "suggest", "approve", "auto_reversible"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _link(value: str) -> str:
    if value:
        try:
            http.parse(value.partition("#")[0])
        except http.HttpError as error:
            raise ValueError(error.sentence) from None
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignalSpec(_Part):
    """A named measurement: where to ask, in that system's own language, and which way is worse."""

    connection: Slug
    query: Text
    unit: str = Field("", max_length=20)
    worse: Literal["up", "down"] = "up"
    compare: Compare | None = None


class VersionSpec(_Part):
    """A model version. `serving` counts only while none serves yet: afterwards the running system knows better."""

    version: str = Field(min_length=1, max_length=120)
    state: Literal["serving", "kept", "canary", "retired"]
    served_from: Annotated[datetime, AfterValidator(_in_utc)] | None = None
    note: str = Field("", max_length=300)


class RollbackSpec(_Part):
    """Which flag decides which version serves."""

    connection: Slug
    flag: str = Field(min_length=1, max_length=120)


class EvaluationSpec(_Part):
    """How a version is scored: an HTTP endpoint that answers cases, and the set of cases."""

    connection: Slug
    path: str = Field("", max_length=200)
    set: Slug


class ServiceSpec(_Part):
    """One looked-after AI service."""

    spec: Literal[1]
    service: Slug
    title: Text = Field(max_length=120)
    description: str = Field("", max_length=10_000)
    team: Slug | None = None
    tier: Literal[1, 2, 3] = 2
    # Left out, the level stays as it was set.
    autonomy: Level | None = None
    dashboard_url: Annotated[str, AfterValidator(_link)] = Field("", max_length=500)
    default_owner: str = ""
    depends_on: list[Slug] = Field(default_factory=list, max_length=50)
    signals: dict[SignalName, SignalSpec] = Field(default_factory=dict, max_length=50)
    versions: list[VersionSpec] = Field(default_factory=list, max_length=200)
    rollback: RollbackSpec | None = None
    evaluation: EvaluationSpec | None = None
