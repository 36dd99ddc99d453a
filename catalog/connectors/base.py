"""What a connector promises: one kind of outer system, reached through `common.http` only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from common import http


def _address(value: str) -> str:
    """The one strict parser of common.http decides; whether the host may be called is asked at each call."""
    try:
        http.parse(value)
    except http.HttpError as error:
        raise ValueError(error.sentence) from None
    return value.rstrip("/")


# The address of an outer system, without a slash at the end.
Address = Annotated[str, AfterValidator(_address)]


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

    `reason`: auth, timeout, unreachable, blocked, bad_query, execution, bad_answer, limit, not_found, conflict,
    refused, unavailable. `refused` says that it surely changed nothing; `sent` whether the request may have left;
    `retry_after` is in seconds where the other side named it.
    """

    def __init__(
        self,
        reason: str,
        sentence: str,
        *,
        refused: bool = False,
        sent: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.refused = refused
        self.sent = sent
        self.retry_after = retry_after


def failed(error: http.HttpError) -> ConnectorError:
    """What a failed request means: one that never left surely changed nothing."""
    reasons = {"tls": "unreachable", "too_large": "limit", "bad_url": "bad_query"}
    return ConnectorError(
        reasons.get(error.reason, error.reason), error.sentence, refused=not error.sent, sent=error.sent
    )


def retry_after(answer: http.Answer) -> float | None:
    """How long the other side asks us to wait, in seconds, at most an hour; dates are not read."""
    text = answer.headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.isdecimal() else None


def refusal(answer: http.Answer, what: str) -> ConnectorError:
    """The error that a status of 300 and more stands for, with the other side's own words where it has some."""
    status, words = answer.status, " ".join(answer.text[:200].split())
    said = f"{what} answered {status}" + (f": {words}" if words else "")
    if status in (401, 403):
        return ConnectorError("auth", f"{said}. Check the connection's credentials.", refused=True)
    if status == 404:
        return ConnectorError("not_found", said, refused=True)
    if status == 409:
        return ConnectorError("conflict", said, refused=True)
    if status == 429:
        return ConnectorError("limit", said, refused=True, retry_after=retry_after(answer))
    if status < 400:
        where = answer.headers.get("location", "elsewhere")[:200]
        return ConnectorError("bad_answer", f"{what} redirects to {where}; redirects are not followed.", refused=True)
    if status < 500:
        return ConnectorError("refused", said, refused=True)
    return ConnectorError("unavailable", said, retry_after=retry_after(answer))


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


@dataclass(frozen=True)
class FlagState:
    """A flag as it is now; `version` is the other side's own counter where it has one."""

    name: str
    value: Any
    version: str = ""
    changed_at: datetime | None = None


class FlagConnector(Connector[C, S]):
    """A connector whose system holds named values that decide what serves."""

    def read(self, config: C, secrets: S, flag: str) -> FlagState:
        """The flag now. Raises ConnectorError (`not_found` for an unknown one)."""
        raise NotImplementedError

    def write(self, config: C, secrets: S, flag: str, *, value: Any, expect: Any, key: str) -> FlagState:
        """Set the flag if it still holds `expect`; `key` makes a repeat harmless. Raises ConnectorError `conflict`."""
        raise NotImplementedError
