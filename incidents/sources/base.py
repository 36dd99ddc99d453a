"""What an alert source promises: to turn a foreign body into our words, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from common.errors import Invalid
from incidents.signatures import Scheme

Status = Literal["firing", "acknowledged", "resolved", "suppressed", "no_data"]
Kind = Literal["alert", "change", "control", "test", "ignored"]


@dataclass(frozen=True)
class AlertNotice:
    """One alert as a sender told it, in our words; the field rules are those of docs/guide/alerts.md."""

    dedup_key: str
    status: Status
    title: str | None
    severity: str = "unknown"
    description: str = ""
    service: str | None = None
    environment: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    links: list[dict[str, str]] = field(default_factory=list)
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True)
class ChangeNotice:
    """One change as a sender told it."""

    kind: str
    summary: str
    subject: str = ""
    version: str = ""
    author: str = ""
    environment: str = ""
    service: str | None = None
    # What may be a service's name though nobody said so, a repository's say.
    service_hint: str = ""
    link: str = ""
    external_id: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    occurred_at: datetime | None = None


@dataclass(frozen=True)
class Reading:
    """What one body says. `notes` name parts that were left out (one bad alert never costs the others)."""

    kind: Kind
    alerts: list[AlertNotice] = field(default_factory=list)
    changes: list[ChangeNotice] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reason: str = ""


class NotOfThisSource(Exception):
    """The body is not what this source sends; the sentence says what was expected."""


class Source:
    """One kind of sender. Subclasses parse; their docstring with `snippet` is the set-up page."""

    name: ClassVar[str]
    title: ClassVar[str]
    # What the operator copies into the sender; `{url}` and `{token}` are to be replaced (not by str.format: braces).
    snippet: ClassVar[str] = ""
    # How this sender signs, where it can (incidents/signatures.py).
    signature: ClassVar[Scheme | None] = None
    # What an endpoint of this source may be told in its settings, beside `max_open_incidents`.
    settings: ClassVar[tuple[str, ...]] = ()
    # A body for the "send a test alert" button, in this sender's own form.
    sample: ClassVar[dict[str, Any]] = {}

    def event_id(self, headers: dict[str, str], body: bytes) -> str:
        """The sender's id of this delivery, if it has one; headers have lower-case names."""
        return ""

    def check_config(self, config: dict[str, Any]) -> None:
        """Refuse settings of an endpoint that could not work. Raises Invalid."""
        known = ["max_open_incidents", *self.settings]
        for name in config:
            if name not in known:
                raise Invalid(
                    f"{self.title} has no setting {str(name)[:40]!r}.",
                    fix=f"Known: {', '.join(known)}.",
                    fields={"config": f"no setting {str(name)[:40]!r}; known: {', '.join(known)}"},
                )
        cap = config.get("max_open_incidents", 1)
        if not isinstance(cap, int) or isinstance(cap, bool) or not 1 <= cap <= 10_000:
            raise Invalid(
                "max_open_incidents must be a whole number from 1 to 10,000.",
                fields={"config": "max_open_incidents must be a whole number from 1 to 10,000"},
            )

    def read(self, payload: Any, headers: dict[str, str], config: dict[str, Any], received_at: datetime) -> Reading:
        """Turn decoded JSON into our words. Pure: no database. Raises NotOfThisSource."""
        raise NotImplementedError
