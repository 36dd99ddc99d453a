"""Deliveries and alerts, incidents with their timeline and evidence, messages, postmortems, action items.

Append-only tables (TimelineEntry, Evidence, Blob, PostmortemEdition) hold actor text and plain ids, never nullable
foreign keys, and the database refuses to change or delete their rows (incidents/append_only.py). An amendment is a new
entry.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from catalog.models import Service, Team

User = settings.AUTH_USER_MODEL


def _choices(*words: str) -> list[tuple[str, str]]:
    """Values and the words for them: `in review` is kept as `in_review`."""
    return [(word.replace(" ", "_"), word) for word in words]


class Endpoint(models.Model):
    """Where one sender posts alerts or changes: a source's format, a secret address, a team, maybe a service."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="endpoints")
    service = models.ForeignKey(Service, null=True, blank=True, on_delete=models.SET_NULL, related_name="endpoints")
    source = models.CharField(max_length=40)
    name = models.CharField(max_length=80)
    token_sha256 = models.CharField(max_length=64, unique=True)
    token_encrypted = models.BinaryField()
    # Empty: the token alone admits. Otherwise what comes must be signed with this, too.
    signing_secret_encrypted = models.BinaryField(default=b"", db_default=b"")
    config = models.JSONField(default=dict)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    refused_count = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["team", "name"], name="one_endpoint_per_team_and_name")]


class Delivery(models.Model):
    """One accepted webhook: the raw bytes as they came (encrypted) and what became of them."""

    STATUSES: ClassVar[list[tuple[str, str]]] = _choices("received", "processed", "rejected")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="deliveries")
    received_at = models.DateTimeField()
    status = models.CharField(max_length=10, choices=STATUSES, default="received")
    # alert, change, control, test, ignored, error; empty until processed.
    kind = models.CharField(max_length=10, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    event_id = models.CharField(max_length=200, blank=True)
    body_sha256 = models.CharField(max_length=64)
    body_encrypted = models.BinaryField()
    size = models.PositiveIntegerField()
    content_type = models.CharField(max_length=100, blank=True)
    headers = models.JSONField(default=dict)
    # The normalized alerts, with the field names of docs/guide/alerts.md.
    alerts = models.JSONField(default=list)
    notes = models.JSONField(default=list)
    attempts = models.PositiveSmallIntegerField(default=0)
    processed_at = models.DateTimeField(null=True, blank=True)
    # When a waking hint was last sent, and who works on it until when.
    published_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    replay_of = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "event_id"],
                condition=~Q(event_id="") & Q(replay_of__isnull=True),
                name="one_delivery_per_event_id",
            )
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(status="received"), name="deliveries_to_do"),
            models.Index(fields=["received_at"], condition=Q(status="rejected"), name="deliveries_rejected"),
            models.Index(fields=["endpoint", "body_sha256", "received_at"], name="deliveries_by_body"),
        ]


class Alert(models.Model):
    """One alert of one sender: a row per (endpoint, dedup_key); each firing after a resolve is a new episode."""

    # Trouble that nobody has seen the end of.
    GOING_ON = ("firing", "acknowledged", "no_data")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="alerts")
    dedup_key = models.CharField(max_length=500)
    episode = models.PositiveIntegerField(default=1)
    # firing, acknowledged, resolved, suppressed, no_data
    status = models.CharField(max_length=12)
    # critical, high, warning, info, unknown
    severity = models.CharField(max_length=10, default="unknown")
    title = models.CharField(max_length=1024)
    description = models.TextField(blank=True)
    service = models.ForeignKey(Service, null=True, blank=True, on_delete=models.SET_NULL, related_name="alerts")
    service_name = models.CharField(max_length=200, blank=True)
    environment = models.CharField(max_length=100, blank=True)
    labels = models.JSONField(default=dict)
    links = models.JSONField(default=list)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    seen_count = models.PositiveIntegerField(default=1)
    incident = models.ForeignKey("Incident", null=True, blank=True, on_delete=models.SET_NULL, related_name="alerts")
    last_delivery_id = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-last_seen_at"]
        constraints = [models.UniqueConstraint(fields=["endpoint", "dedup_key"], name="one_alert_per_dedup_key")]


class Incident(models.Model):
    """Something is wrong with a service, from the first alert to the closed postmortem."""

    STATES: ClassVar[list[tuple[str, str]]] = _choices("open", "acknowledged", "mitigated", "resolved", "closed")
    TYPES: ClassVar[list[tuple[str, str]]] = _choices(
        "accuracy drop", "latency spike", "cost explosion", "safety incident", "data issue", "other"
    )
    SEVERITIES: ClassVar[list[tuple[int, str]]] = [(1, "critical"), (2, "major"), (3, "minor"), (4, "low")]

    number = models.PositiveIntegerField(unique=True)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="incidents")
    service = models.ForeignKey(Service, null=True, blank=True, on_delete=models.PROTECT, related_name="incidents")
    # An alert named a service that the catalog does not know; a person binds it.
    unrouted = models.BooleanField(default=False)
    title = models.CharField(max_length=500)
    summary = models.TextField(blank=True)
    incident_type = models.CharField(max_length=20, choices=TYPES, default="other")
    severity = models.PositiveSmallIntegerField(choices=SEVERITIES, default=3)
    state = models.CharField(max_length=12, choices=STATES, default="open")
    group_key = models.CharField(max_length=600)
    is_drill = models.BooleanField(default=False)
    commander = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="commands")
    declared_by = models.CharField(max_length=120)
    # When users began to feel it, if known; an estimate from the alert until a check or a person says better.
    started_at = models.DateTimeField()
    onset_at = models.DateTimeField(null=True, blank=True)
    detected_at = models.DateTimeField()
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=120, blank=True)
    mitigated_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    # Raised in the transaction of every visible change; the id of live updates.
    version = models.BigIntegerField(default=0)
    last_seq = models.PositiveIntegerField(default=0)
    last_evidence = models.PositiveIntegerField(default=0)
    last_hash = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["team", "group_key"],
                condition=~Q(state__in=["resolved", "closed"]),
                name="one_open_incident_per_group_key",
            )
        ]
        indexes = [models.Index(fields=["team", "state", "-number"])]

    @property
    def key(self) -> str:
        """The human number, `INC-42`."""
        return f"INC-{self.number}"

    @property
    def is_open(self) -> bool:
        """Whether work on it goes on."""
        return self.state not in ("resolved", "closed")

    def __str__(self) -> str:
        return self.key


class TimelineEntry(models.Model):
    """One fact on an incident's timeline, told in words when it was recorded, chained by hash. Append-only."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="timeline")
    seq = models.PositiveIntegerField()
    # When it happened, and when we wrote it down.
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    kind = models.CharField(max_length=30)
    actor = models.CharField(max_length=120)
    # The role in which the actor acted ("on-call", "approver", "engine"): causal prose names roles only.
    role = models.CharField(max_length=40, blank=True)
    text = models.TextField()
    data = models.JSONField(default=dict)
    # Numbers of the evidence it cites (E12 -> 12).
    evidence = models.JSONField(default=list)
    pinned = models.BooleanField(default=False)
    supersedes = models.PositiveIntegerField(null=True, blank=True)
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["incident", "seq"], name="one_entry_per_seq")]


class Blob(models.Model):
    """Compressed bytes by their sha256: evidence over 64 KiB, result files. Append-only."""

    sha256 = models.CharField(max_length=64, unique=True)
    content_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    compressed = models.BinaryField()
    created_at = models.DateTimeField()


class Evidence(models.Model):
    """What was measured, where and when, and which rule decided. Append-only; cited as `E12` within its incident."""

    incident_id = models.BigIntegerField(null=True, db_index=True)
    number = models.PositiveIntegerField(null=True)
    run_id = models.BigIntegerField(null=True, db_index=True)
    step = models.CharField(max_length=60, blank=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    # check, effect, approval, answer, override, recheck, alert, sample (one look of a watch)
    kind = models.CharField(max_length=20)
    provider = models.CharField(max_length=60, blank=True)
    provider_version = models.CharField(max_length=20, blank=True)
    verdict = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    # One sentence with the number, fit for the timeline and the postmortem.
    summary = models.TextField()
    # The expression that decided, e.g. `value > 0.05`, and the limit with where it comes from.
    rule = models.TextField(blank=True)
    threshold = models.JSONField(default=dict)
    query = models.TextField(blank=True)
    window_from = models.DateTimeField(null=True)
    window_to = models.DateTimeField(null=True)
    value = models.JSONField(null=True)
    unit = models.CharField(max_length=20, blank=True)
    samples = models.BigIntegerField(null=True)
    observed_at = models.DateTimeField(null=True)
    source = models.CharField(max_length=200, blank=True)
    params = models.JSONField(default=dict)
    # statistic, table, series, links and whatever else the provider returned; large parts move to a blob.
    result = models.JSONField(default=dict)
    blob_sha256 = models.CharField(max_length=64, blank=True)
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["incident_id", "number"], condition=Q(number__isnull=False), name="one_evidence_per_number"
            )
        ]

    @property
    def key(self) -> str:
        """`E12`, or `e<id>` for evidence of a run outside any incident."""
        return f"E{self.number}" if self.number else f"e{self.pk}"


class Gate(models.Model):
    """A condition that must be answered before an incident may be resolved or closed; upper rooms write it."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="gates")
    key = models.CharField(max_length=120)
    title = models.CharField(max_length=300)
    blocks = models.CharField(max_length=10, choices=[("resolve", "resolve"), ("close", "close")])
    opened_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True, blank=True)
    answered_by = models.CharField(max_length=120, blank=True)
    answer = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["incident", "key"], name="one_gate_per_key")]


class Pin(models.Model):
    """A star set or taken away by a person: what the entry itself says when recorded stays, and can be overruled."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="pins")
    seq = models.PositiveIntegerField()
    pinned = models.BooleanField()
    by = models.CharField(max_length=120)
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["incident", "seq"], name="one_pin_per_entry")]


class ImpactFigure(models.Model):
    """One figure of what users feel, with where it comes from; the names and their values are incidents/impact.py's."""

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="impact_figures")
    name = models.CharField(max_length=10)
    value = models.JSONField(null=True, blank=True)
    basis = models.CharField(
        max_length=8, choices=[("measured", "measured"), ("estimate", "estimate"), ("unknown", "unknown")]
    )
    # Who was asked while it is unknown.
    asked = models.CharField(max_length=120, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    # The number of the evidence that measured it.
    evidence = models.PositiveIntegerField(null=True, blank=True)
    set_by = models.CharField(max_length=120)
    set_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["incident", "name"], name="one_impact_figure_per_name")]


class Message(models.Model):
    """One message to one address about one state change: the outbox, and afterwards the record of who was told."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    incident = models.ForeignKey(Incident, null=True, blank=True, on_delete=models.CASCADE, related_name="messages")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="messages")
    # The state change and the address: nothing is sent twice for one.
    key = models.CharField(max_length=200, unique=True)
    kind = models.CharField(max_length=40)
    address_id = models.BigIntegerField(null=True, blank=True)
    recipient = models.CharField(max_length=160)
    subject = models.CharField(max_length=300)
    body = models.TextField()
    link = models.CharField(max_length=500, blank=True)
    state = models.CharField(
        max_length=10, choices=[("pending", "pending"), ("sent", "sent"), ("failed", "failed")], default="pending"
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    lease_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    # When what it tells came to pass: before it was written, where it was noticed only later.
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["due_at"], condition=Q(state="pending"), name="messages_to_send")]


class Postmortem(models.Model):
    """The blameless story of one incident, drafted from its timeline; its clock starts at mitigation."""

    STATES: ClassVar[list[tuple[str, str]]] = _choices("due", "draft", "in review", "approved", "published", "closed")

    incident = models.OneToOneField(Incident, on_delete=models.PROTECT, related_name="postmortem")
    state = models.CharField(max_length=10, choices=STATES, default="due")
    owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="postmortems")
    body = models.TextField(blank=True)
    # Counts saved texts: an edit names the one it started from, so that nobody overwrites another's words unseen.
    edition = models.PositiveIntegerField(default=0)
    # [{"level", "branch", "question", "statement", "evidence": [12], "ask_role"}]
    whys = models.JSONField(default=list)
    clock_started_at = models.DateTimeField()
    due_at = models.DateTimeField()
    # The hours (24, 44, 48) at which the owner has been told.
    told_hours = models.JSONField(default=list)
    drafted_at = models.DateTimeField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    version = models.BigIntegerField(default=0)
    # Who looks at it before it goes out; never its owner where two people are meant.
    reviewer = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="reviews")
    # The machine's last draft: blocks of the text that stand in it are "from evidence", others are somebody's.
    drafted_body = models.TextField(blank=True, default="", db_default="")
    # Who wrote the other blocks, by fingerprint: {"1f0c…": ["Dana", "2026-11-21T09:41:07+00:00"]}.
    authors = models.JSONField(default=dict, db_default={})
    # Who sees to which entry of the checklist: {"PM02:impact:1f0c…": "dana"}.
    assigned = models.JSONField(default=dict, db_default={})
    # Of the present text, which is a version of its own only when its writer pauses (docs/decisions/0014).
    saved_by = models.CharField(max_length=120, blank=True, default="", db_default="")
    saved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["due_at"]

    @property
    def due(self) -> datetime | None:
        """When it is due. While users feel it nobody can say: the clock starts at the next mitigation."""
        return self.due_at if self.incident.mitigated_at else None


class PostmortemEdition(models.Model):
    """One saved text of a postmortem, kept for ever."""

    postmortem = models.ForeignKey(Postmortem, on_delete=models.PROTECT, related_name="editions")
    number = models.PositiveIntegerField()
    body = models.TextField()
    author = models.CharField(max_length=120)
    saved_at = models.DateTimeField()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["postmortem", "number"], name="one_edition_per_number")]


class PostmortemSection(models.Model):
    """Who answers for a section, and who writes in it right now: a lease that an open editor renews."""

    postmortem = models.ForeignKey(Postmortem, on_delete=models.CASCADE, related_name="sections")
    key = models.CharField(max_length=60)
    owner = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    writer = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    # Which window of the writer's: a second one is another writer.
    window = models.CharField(max_length=40, blank=True)
    since = models.DateTimeField(null=True, blank=True)
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["postmortem", "key"], name="one_row_per_section")]


class PostmortemOffer(models.Model):
    """New words from evidence for a place where a person has written: take them, or keep what stands."""

    STATES: ClassVar[list[tuple[str, str]]] = [("open", "open"), ("taken", "taken"), ("kept", "kept")]

    postmortem = models.ForeignKey(Postmortem, on_delete=models.CASCADE, related_name="offers")
    section = models.CharField(max_length=60)
    # What the new words would replace; empty where they would only be added.
    current = models.TextField(blank=True)
    text = models.TextField()
    made_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=STATES, default="open")
    answered_by = models.CharField(max_length=120, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]


class PostmortemComment(models.Model):
    """What somebody says about a section; settled when it is answered in the text or in words."""

    postmortem = models.ForeignKey(Postmortem, on_delete=models.CASCADE, related_name="comments")
    section = models.CharField(max_length=60)
    author = models.CharField(max_length=120)
    text = models.TextField()
    at = models.DateTimeField()
    settled_by = models.CharField(max_length=120, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]


class ActionItem(models.Model):
    """What will be done so that it does not happen again: an owner, a date, and how one can tell that it is done."""

    STATES: ClassVar[list[tuple[str, str]]] = _choices(
        "proposed", "committed", "in progress", "done", "verified", "declined"
    )
    KINDS: ClassVar[list[tuple[str, str]]] = _choices(
        "prevent", "detect", "mitigate", "repair", "process", "investigate"
    )

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="action_items")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="action_items")
    title = models.CharField(max_length=300)
    kind = models.CharField(max_length=12, choices=KINDS)
    priority = models.PositiveSmallIntegerField(default=2)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="action_items")
    due_on = models.DateField()
    state = models.CharField(max_length=12, choices=STATES, default="proposed")
    # How one can tell that it is done, in words.
    closing_check = models.CharField(max_length=500, blank=True)
    # The rule that proposed it (late_detection, inconclusive_step …); empty when a person wrote it.
    rule = models.CharField(max_length=40, blank=True)
    evidence = models.JSONField(default=list)
    # Which level of the whys it answers, and where else the work is tracked.
    cause = models.PositiveSmallIntegerField(null=True, blank=True)
    tracker = models.CharField(max_length=500, blank=True, default="", db_default="")
    reason = models.CharField(max_length=500, blank=True)
    reminded_on = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["due_on", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["incident", "rule"], condition=~Q(rule=""), name="one_proposal_per_rule_and_incident"
            )
        ]
