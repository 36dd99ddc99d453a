"""What a connector promises: one kind of outer system, reached through `common.http` only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of a connector's public settings (address, project …)."""

    model_config = ConfigDict(extra="forbid")


class Secrets(BaseModel):
    """Base of a connector's secret settings; stored encrypted, never shown again."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Health:
    """One line about whether the outer system answers."""

    ok: bool
    line: str


class ConnectorError(Exception):
    """The outer system did not give a usable answer.

    `reason`: auth, timeout, unreachable, blocked, bad_query, bad_answer, limit, not_found, unavailable. `refused` says
    that it surely changed nothing; `retry_after` is in seconds where the other side named it.
    """

    def __init__(self, reason: str, sentence: str, *, refused: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.refused = refused
        self.retry_after = retry_after


C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=Secrets)


class Connector(Generic[C, S]):
    """One kind of outer system. Subclasses add the calls that checks and actions need; all take config and secrets."""

    name: ClassVar[str]
    title: ClassVar[str]
    example: ClassVar[dict[str, Any]] = {}
    config: type[C]
    secrets: type[S]

    def health(self, config: C, secrets: S) -> Health:
        """Ask the system the cheapest question that proves address and credentials."""
        raise NotImplementedError
