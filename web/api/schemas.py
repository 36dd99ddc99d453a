"""What the API answers, field by field: the shapes of web/api/shapes.py as the OpenAPI document tells them.

Fields are only ever added. tests/web/test_openapi.py holds every answer against this file.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

from ninja import Field, Schema

Row = TypeVar("Row")


class Problem(Schema):
    """Any error (RFC 9457): `detail` says what and why, `fix` what to do next, `code` is a word for programs."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    fix: str
    request_id: str
    fields: dict[str, str] | None = Field(
        None, description="What is wrong with which field, where fields are at fault."
    )


class Listed(Schema, Generic[Row]):
    """One page of a list; `next` goes into `?cursor=` for the page after."""

    items: list[Row]
    next: str | None


class Found(Schema):
    """Something that a search found; `kind` is incident, postmortem, service, runbook or person."""

    kind: str
    key: str
    title: str
    url: str
    about: str


class Results(Schema):
    """What a search found, kind by kind, the best first."""

    items: list[Found]


class Delivery(Schema):
    """An accepted webhook and what became of it; `alerts` are normalized."""

    id: str
    source: str
    endpoint: str
    team: str
    status: str
    kind: str | None
    reason: str
    received_at: datetime
    processed_at: datetime | None
    size: int
    attempts: int
    event_id: str
    alerts: list[dict[str, Any]]
    notes: list[Any]


class Alert(Schema):
    """An alert in its present episode."""

    id: str
    source: str
    endpoint: str
    team: str
    status: str
    severity: str
    title: str
    description: str
    service: str | None
    environment: str | None
    labels: dict[str, Any]
    links: list[Any]
    dedup_key: str
    episode: int
    starts_at: datetime
    ends_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime
    seen_count: int
    incident: int | None


class Incident(Schema):
    """An incident without its timeline."""

    number: int
    key: str
    title: str
    summary: str
    type: str
    severity: int
    state: str
    team: str
    service: str | None
    unrouted: bool
    is_drill: bool
    commander: str | None
    declared_by: str
    started_at: datetime
    onset_at: datetime | None
    detected_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    mitigated_at: datetime | None
    resolved_at: datetime | None
    closed_at: datetime | None
    version: int
    url: str


class Entry(Schema):
    """One entry of a timeline with the evidence that it cites."""

    seq: int
    at: datetime
    recorded_at: datetime
    kind: str
    actor: str
    role: str
    text: str
    data: dict[str, Any]
    evidence: list[str]
    pinned: bool
    key_moment: bool
    supersedes: int | None
    hash: str


class ImpactFigure(Schema):
    """One figure of what users feel; `value` is a number, names, or `{micros, currency}` an hour."""

    name: str
    value: Any
    words: str
    basis: str
    asked: str | None
    reason: str
    evidence: str | None
    set_by: str | None
    set_at: datetime | None


class Signal(Schema):
    """A named measurement of a service."""

    name: str
    connection: str
    query: str
    unit: str
    worse: str


class UsualBand(Schema):
    """What is usual: low, middle and high at `start + n * step_seconds` (unix), null where the past says nothing."""

    start: float
    step_seconds: int
    low: list[float | None]
    middle: list[float | None]
    high: list[float | None]
    words: str


class StoredSignal(Signal):
    """A signal with what is kept of it. `points` are pairs of unix seconds and value, null where there is none."""

    state: str | None = Field(
        description="ok, stale, empty, not_a_number, many_series or failed, by the last attempt; null: none yet."
    )
    fault: str
    read_at: datetime | None
    tried_at: datetime | None
    start_at: datetime | None
    end_at: datetime | None
    step_seconds: int | None
    points: list[tuple[float, float | None]]
    band: UsualBand | None


class Version(Schema):
    """A version of a service's model."""

    version: str
    state: str
    served_from: datetime | None
    served_to: datetime | None


class Service(Schema):
    """A looked-after service."""

    slug: str
    title: str
    description: str
    team: str
    tier: int
    autonomy: str = Field(description="How far runs may go by themselves: observe, suggest, approve, auto_reversible.")
    default_owner: str | None
    dashboard_url: str | None
    depends_on: list[str]
    signals: list[Signal]
    versions: list[Version]
    url: str


class Change(Schema):
    """Something that was changed."""

    id: str
    team: str
    service: str | None
    kind: str
    summary: str
    subject: str
    version: str
    author: str
    environment: str
    link: str | None
    labels: dict[str, Any]
    source: str
    occurred_at: datetime
    received_at: datetime


class EvaluationSet(Schema):
    """Cases with expected answers; `last_scored` is when a version was last scored on them."""

    slug: str
    title: str
    team: str
    cases: int
    last_scored: datetime | None
    created_at: datetime


class LoadedSet(EvaluationSet):
    """A set after loading: how many cases came into it, and which items it had already."""

    added: int
    duplicates: list[str]


class Secret(Schema):
    """A secret of a team, by its name; its value is told by nothing."""

    name: str
    team: str
    kept_by: str
    kept_at: datetime


class Runbook(Schema):
    """A runbook; `type` is the kind of incident that it is for, `needs` what keeps it from being started."""

    id: str
    title: str
    type: str
    team: str | None
    copy_of: str | None
    enabled: bool
    needs: list[str]
    revision: int | None
    published_at: datetime | None
    url: str


class RunbookText(Runbook):
    """The same with the YAML of the published revision."""

    text: str | None


class CodeFinding(Schema):
    """One thing wrong with a text, or worth a thought; `guide` leads to what its code means."""

    line: int
    column: int
    code: str
    severity: str
    message: str
    fix: str
    guide: str


class Checked(Schema):
    """What there is to say about a text, and as which revision it was kept (none: it was only looked at)."""

    findings: list[CodeFinding]
    runbook: str | None
    revision: int | None


class Asked(Schema):
    """What a step that waits for approval asks; `digest` goes into approve and reject."""

    digest: str
    needed: int
    principals: list[str] = Field(alias="from")
    four_eyes: bool
    message: str
    preview: dict[str, Any]
    new_fact: str | None
    requested_at: datetime
    due_at: datetime


class Sample(Schema):
    """One look of a watch; `taken_at` is null for one that was missed, `verdict` then `missed`."""

    k: int
    due_at: datetime
    taken_at: datetime | None
    verdict: str
    reason: str | None
    summary: str
    value: Any
    evidence: str | None


class Step(Schema):
    """A step of a run; `samples` are those of a watch so far (null for every other step), `next_due` the next one's."""

    id: str
    item: int
    # With `foreach`: the element that this row is for.
    item_value: Any = None
    # Of kind `runbook`: the runs that it was, one for each time it was run.
    runs: list[str]
    kind: str
    provider: str | None
    name: str
    phase: str
    state: str
    blocked_on: str | None
    verdict: str | None
    reason: str | None
    summary: str
    value: Any
    result: Any
    attempts: int
    due_at: datetime | None
    evidence: str | None
    samples: list[Sample] | None
    next_due: datetime | None
    approval: Asked | None


class RunLine(Schema):
    """A run without its steps."""

    id: str
    runbook: str
    revision: int
    state: str
    stop_reason: str
    outcome: str | None
    plan: bool = Field(description="A dry run: checks ran, actions only said what they would change.")
    phase: str
    incident: int | None
    service: str | None
    team: str
    inputs: dict[str, Any]
    diagnosis: dict[str, Any]
    warning: str
    started_by: str
    created_at: datetime
    ended_at: datetime | None
    version: int
    url: str


class Parent(Schema):
    """The step of another run that a run is."""

    run: str
    step: str
    item: int


class Run(RunLine):
    """A run with its steps, in order; `outputs` are there once it has ended."""

    parent: Parent | None
    outputs: dict[str, Any]
    steps: list[Step]


class Started(Run):
    """What a start came to: `started`, `queued` or `joined`, and the run."""

    decision: str


class Offer(Schema):
    """An action that can be asked for now; where `lacks` is set, what the service lacks for it."""

    action: str
    title: str
    risk: str
    needs_approval: bool
    lacks: str | None
    params: dict[str, Any]


class Offers(Schema):
    """Every action, those that can be done here first."""

    items: list[Offer]


class Effects(Schema):
    """Whether all effects are stopped at once: by whom, why and since when; `waiting` actions have not ended."""

    stopped: bool
    by: str | None
    reason: str | None
    since: datetime | None
    waiting: int
