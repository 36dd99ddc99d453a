"""What the API says of postmortems and action items, as OpenAPI shows it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from ninja import Field, Schema


class PostmortemLine(Schema):
    """A postmortem without its text."""

    incident: int
    state: str
    owner: str | None
    reviewer: str | None
    edition: int
    saved_by: str | None
    saved_at: datetime | None
    clock_started_at: datetime
    due_at: datetime | None
    drafted_at: datetime | None
    published_at: datetime | None
    url: str


class Block(Schema):
    """Neighbouring words of one provenance: from evidence, or edited by `author` at `at`."""

    text: str
    provenance: Literal["evidence", "edited"]
    author: str | None
    at: datetime | None


class PostmortemSection(Schema):
    """A section of the text: `state` is empty, asks (it has open questions) or filled; `writer` writes in it now."""

    key: str
    title: str
    state: Literal["empty", "asks", "filled"]
    owner: str | None
    writer: str | None
    questions: int
    fingerprint: str
    text: str
    blocks: list[Block]
    offers: list[str] = Field(description="New evidence beside edited words, to be taken or kept on the page.")


class Postmortem(PostmortemLine):
    """A postmortem with its text; `edition` is what a change must name."""

    body: str
    whys: list[Any]
    sections: list[PostmortemSection]


class ActionItem(Schema):
    """What will be done so that it does not happen again."""

    id: str
    incident: int
    team: str
    title: str
    kind: str
    priority: int
    owner: str
    due_on: date
    state: str
    closing_check: str
    rule: str | None
    evidence: list[str]
    cause: int | None = Field(description="Which of the five whys it answers.")
    tracker: str | None
    reason: str | None
    created_at: datetime
    done_at: datetime | None
