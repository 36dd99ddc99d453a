"""Runbooks and their revisions; runs, steps, attempts, approvals, effects, locks, diagnosis.

Every state change is a conditional UPDATE on the expected old state, in one transaction with its RunEvent; the rows are
the queue, the timers and the locks, and broker messages are hints that may be lost (docs/guide/engine.md).
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from catalog.models import Service, Team
from incidents.models import Incident

User = settings.AUTH_USER_MODEL

OPEN_RUN_STATES = ("queued", "active", "paused", "stopping")
# A run in one of these states holds its concurrency key.
KEY_HOLDING_STATES = ("active", "paused", "stopping")
# Steps of a run in one of these states are carried out, and may take a lock.
AT_WORK_STATES = ("active", "stopping")
PHASES = ("check", "measure", "triage", "remediate", "verify")
VERDICTS = ("pass", "fail", "inconclusive", "error", "skipped")
# The source of a revision that was made from one action, not written by anybody (runbooks/acting.py).
ACT = "act"


class RunbookQuerySet(models.QuerySet["Runbook"]):
    """Sets of runbooks."""

    def written(self) -> RunbookQuerySet:
        """Those that people or our release wrote: not the one-step definitions behind Act now."""
        return self.exclude(current__source=ACT)

    def started_by_alerts_of(self, team: Team) -> RunbookQuerySet:
        """Those whose triggers count for a team: the shipped ones and its own, a copy in place of its original."""
        live = self.filter(enabled=True, deleted_at=None, current__isnull=False)
        copied = live.filter(team=team, copy_of__isnull=False).values("copy_of")
        return live.filter(Q(team=team) | Q(team=None) & ~Q(pk__in=copied))


class Runbook(models.Model):
    """A runbook by its id; its text lives in revisions. Without a team it belongs to the shipped library."""

    objects = RunbookQuerySet.as_manager()

    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="runbooks")
    # A team's own copy of a shipped runbook: while it is published it stands in for that one in the team's triggers.
    copy_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="copies")
    slug = models.CharField(max_length=40, unique=True)
    title = models.CharField(max_length=120)
    incident_type = models.CharField(max_length=20)
    enabled = models.BooleanField(default=True)
    current = models.ForeignKey("Revision", null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    deleted_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["slug"]

    def __str__(self) -> str:
        return self.slug


class Revision(models.Model):
    """One text of a runbook; immutable. `source` is library, file, editor or act."""

    runbook = models.ForeignKey(Runbook, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    spec = models.PositiveSmallIntegerField()
    sha256 = models.CharField(max_length=64)
    text = models.TextField()
    # The parsed form (runbooks.schema.RunbookSpec.model_dump); readers keep old ones readable.
    parsed = models.JSONField()
    source = models.CharField(max_length=10)
    author = models.CharField(max_length=120)
    author_id = models.BigIntegerField(null=True)
    note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True, blank=True)
    published_by = models.CharField(max_length=120, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["runbook", "number"], name="one_revision_per_number")]


class RunbookTests(models.Model):
    """The unit tests of a runbook (one `.test.yaml` text), and what they said when they were last run."""

    runbook = models.OneToOneField(Runbook, on_delete=models.CASCADE, related_name="tests")
    text = models.TextField()
    sha256 = models.CharField(max_length=64)
    author = models.CharField(max_length=120)
    updated_at = models.DateTimeField()
    # The report of `runbook test` on the revision of that number.
    report = models.JSONField(default=dict)
    report_revision = models.PositiveIntegerField(null=True, blank=True)
    report_at = models.DateTimeField(null=True, blank=True)


class TriggerEvent(models.Model):
    """What an alert did to a runbook: started, joined, queued, skipped or refused, and why."""

    runbook = models.ForeignKey(Runbook, on_delete=models.CASCADE, related_name="trigger_events")
    alert_id = models.BigIntegerField()
    episode = models.PositiveIntegerField()
    status = models.CharField(max_length=12)
    decision = models.CharField(max_length=10)
    reason = models.CharField(max_length=500, blank=True)
    run_id = models.BigIntegerField(null=True)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["alert_id", "episode", "status", "runbook"], name="one_trigger_per_episode_and_status"
            )
        ]


class RunQuerySet(models.QuerySet["Run"]):
    """Sets of runs."""

    def real(self) -> RunQuerySet:
        """Without dry runs, which say nothing about how trouble went."""
        return self.filter(is_plan=False)


class Run(models.Model):
    """One execution of one revision. "Running" and "waiting for" are computed from the steps, never stored."""

    objects = RunQuerySet.as_manager()

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="runs")
    runbook = models.ForeignKey(Runbook, on_delete=models.PROTECT, related_name="runs")
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="runs")
    incident = models.ForeignKey(Incident, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    service = models.ForeignKey(Service, null=True, blank=True, on_delete=models.PROTECT, related_name="runs")
    inputs = models.JSONField(default=dict)
    # Where each input came from: "alert.labels.service", "default", "form".
    input_sources = models.JSONField(default=dict)
    # The alert as it was when it started this run (plain data for expressions).
    alert = models.JSONField(default=dict)
    alert_id = models.BigIntegerField(null=True, blank=True)
    trigger_reason = models.CharField(max_length=500, blank=True)
    # queued, active, paused, stopping; finished, cancelled, expired
    state = models.CharField(max_length=10)
    stop_reason = models.CharField(max_length=300, blank=True)
    # While stopping: the state it will end in (finished, cancelled, expired).
    ends_as = models.CharField(max_length=10, blank=True)
    # resolved, not_resolved, unverified, no_action, aborted; empty until finished
    outcome = models.CharField(max_length=14, blank=True)
    phase = models.CharField(max_length=10, default="check")
    phase_verdicts = models.JSONField(default=dict)
    concurrency_key = models.CharField(max_length=300, blank=True)
    started_by = models.CharField(max_length=120)
    # The person who asked for it; null when an alert did, so that nobody counts as requester.
    requester_id = models.BigIntegerField(null=True, blank=True)
    diagnosis = models.JSONField(default=dict)
    diagnosis_frozen = models.BooleanField(default=False)
    warning = models.CharField(max_length=500, blank=True)
    # The step of another run that this run was started by (kind `runbook`), and the generation that asked for it.
    parent_step = models.ForeignKey("StepRun", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    parent_generation = models.PositiveSmallIntegerField(default=0, db_default=0)
    # Inputs marked `sensitive`, as encrypted JSON; `inputs` holds a mark in their place.
    sealed = models.BinaryField(default=b"", db_default=b"")
    outputs = models.JSONField(default=dict, db_default={})
    # A dry run ("plan"): checks run, actions only say what they would change, nobody is asked.
    is_plan = models.BooleanField(default=False, db_default=False)
    seq = models.PositiveIntegerField(default=0)
    version = models.BigIntegerField(default=0)
    deadline_at = models.DateTimeField()
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["runbook", "concurrency_key"],
                condition=Q(state__in=KEY_HOLDING_STATES) & ~Q(concurrency_key=""),
                name="one_run_holds_a_concurrency_key",
            ),
            models.UniqueConstraint(
                fields=["parent_step", "parent_generation"],
                condition=Q(parent_step__isnull=False),
                name="one_child_per_step_and_generation",
            ),
        ]
        indexes = [
            models.Index(fields=["deadline_at"], condition=Q(state__in=OPEN_RUN_STATES), name="runs_open_by_deadline"),
            # Who waits behind a key: asked by every run that ends.
            models.Index(fields=["runbook", "concurrency_key"], condition=Q(state="queued"), name="runs_queued_by_key"),
            # Of 10,000 open runs few come to their end; asked by every tick.
            models.Index(fields=["id"], condition=Q(state="stopping"), name="runs_stopping"),
            models.Index(fields=["team", "-id"]),
        ]

    @property
    def is_open(self) -> bool:
        """Whether the engine still has work or waits for somebody."""
        return self.state in OPEN_RUN_STATES

    @property
    def is_act(self) -> bool:
        """Whether it is one action that a person asked for beside any runbook (runbooks/acting.py)."""
        return self.revision.source == ACT

    @property
    def label(self) -> str:
        """What the timeline calls it."""
        return self.runbook.title if self.is_act else f"Runbook {self.runbook.slug}"


class StepRun(models.Model):
    """One step (or one item of it) in one run: state, verdict, lease and timer in one row."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    # The step's id in the runbook; what takes an action back is a step of its own, named for it (`undo-roll_back`).
    step = models.CharField(max_length=60)
    # With `foreach`: which element this row is for, from 0, and the element itself.
    item = models.SmallIntegerField(default=0)
    item_value = models.JSONField(null=True, blank=True)
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=8)
    provider = models.CharField(max_length=60, blank=True)
    # One of the five, or undo, or finally.
    phase = models.CharField(max_length=10)
    name = models.CharField(max_length=300)
    # pending, ready, leased, sleeping, blocked, unknown; settled, cancelled
    state = models.CharField(max_length=10, default="pending")
    # approval, human, lock, child, ask, stop (all effects are stopped)
    blocked_on = models.CharField(max_length=10, blank=True)
    verdict = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    proposed_verdict = models.CharField(max_length=12, blank=True)
    # The sentence people read: the answer to the step's question.
    summary = models.TextField(blank=True)
    queue = models.CharField(max_length=10, blank=True)
    fence = models.PositiveIntegerField(default=0)
    generation = models.PositiveSmallIntegerField(default=1)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True, blank=True)
    # While it waits for people: when somebody is told again (half of the time is over, an escalation), and how many
    # levels of escalation were told already.
    tell_at = models.DateTimeField(null=True, blank=True)
    escalated = models.PositiveSmallIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=120, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)
    # What a worker is to do with an action: preview (ask the world what it would change) or apply.
    stage = models.CharField(max_length=8, blank=True)
    # Set while a provider answered "not yet" (evaluation jobs): its own note of what it waits for.
    pending_note = models.CharField(max_length=300, blank=True)
    params = models.JSONField(null=True, blank=True)
    params_digest = models.CharField(max_length=64, blank=True)
    lock_name = models.CharField(max_length=200, blank=True)
    lock_asked_at = models.DateTimeField(null=True, blank=True)
    value = models.JSONField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    samples = models.BigIntegerField(null=True, blank=True)
    # When the first attempt began: the step's own timeout counts from here. Of a watch: when it became eligible, the
    # start of its grid.
    t0 = models.DateTimeField(null=True, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True)
    evidence_id = models.BigIntegerField(null=True, blank=True)
    overridden_by = models.CharField(max_length=120, blank=True)
    cancel_requested = models.BooleanField(default=False)
    ready_at = models.DateTimeField(null=True, blank=True)
    # When it was opened. Of a watch: when the sample at hand was first tried; null between two samples.
    started_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "item"]
        constraints = [models.UniqueConstraint(fields=["run", "step", "item"], name="one_row_per_step_and_item")]
        indexes = [
            models.Index(fields=["ready_at"], condition=Q(state="ready"), name="steps_ready"),
            models.Index(fields=["lease_until"], condition=Q(state="leased"), name="steps_leased"),
            models.Index(fields=["due_at"], condition=Q(state__in=["sleeping", "blocked"]), name="steps_by_timer"),
            models.Index(fields=["tell_at"], condition=Q(state="blocked"), name="steps_by_telling"),
            models.Index(
                fields=["lock_name", "lock_asked_at"],
                condition=Q(state="blocked", blocked_on="lock"),
                name="steps_by_lock",
            ),
        ]

    @property
    def is_terminal(self) -> bool:
        """Whether this step has come to its end."""
        return self.state in ("settled", "cancelled")


class Attempt(models.Model):
    """One try at a step by one worker, also when the worker was lost."""

    step_run = models.ForeignKey(StepRun, on_delete=models.CASCADE, related_name="tries")
    number = models.PositiveSmallIntegerField()
    fence = models.PositiveIntegerField()
    worker = models.CharField(max_length=120)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    # running, done, error, pending, lost, late
    outcome = models.CharField(max_length=10, default="running")
    error = models.CharField(max_length=500, blank=True)
    evidence_id = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["fence"]
        constraints = [models.UniqueConstraint(fields=["step_run", "fence"], name="one_attempt_per_fence")]


class Sample(models.Model):
    """One look of a watch, on its fixed grid."""

    step_run = models.ForeignKey(StepRun, on_delete=models.CASCADE, related_name="watch_samples")
    k = models.PositiveSmallIntegerField()
    due_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True, blank=True)
    # pass, fail, inconclusive, error; missed when nothing could run at its time
    verdict = models.CharField(max_length=12)
    reason = models.CharField(max_length=60, blank=True, default="", db_default="")
    summary = models.TextField(blank=True, default="", db_default="")
    value = models.JSONField(null=True, blank=True)
    evidence_id = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["k"]
        constraints = [models.UniqueConstraint(fields=["step_run", "k"], name="one_sample_per_k")]


class Effect(models.Model):
    """The ledger of what we did to the world: intended, then sent, then confirmed, refused or unknown."""

    STATES: ClassVar[list[tuple[str, str]]] = [
        ("intended", "intended"),
        ("sent", "sent"),
        ("confirmed", "confirmed"),
        ("refused", "refused"),
        ("not_applied", "not applied"),
        ("unknown", "unknown"),
    ]

    key = models.CharField(max_length=64, unique=True)
    step_run = models.ForeignKey(StepRun, on_delete=models.PROTECT, related_name="effects")
    provider = models.CharField(max_length=60)
    effect_class = models.CharField(max_length=8)
    state = models.CharField(max_length=12, choices=STATES, default="intended")
    generation = models.PositiveSmallIntegerField()
    params = models.JSONField()
    params_digest = models.CharField(max_length=64)
    before = models.JSONField(null=True, blank=True)
    after = models.JSONField(null=True, blank=True)
    summary = models.TextField(blank=True)
    times_sent = models.PositiveSmallIntegerField(default=0)
    # While it is in doubt: what the other side's state was when it was last read, {"sentence", "is_known"}.
    seen = models.JSONField(null=True, blank=True)
    seen_at = models.DateTimeField(null=True, blank=True)
    intended_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]


class ApprovalRequest(models.Model):
    """A question to people: may this exact action be applied? Bound to the digest of the rendered action."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    step_run = models.ForeignKey(StepRun, on_delete=models.CASCADE, related_name="approvals")
    generation = models.PositiveSmallIntegerField()
    digest = models.CharField(max_length=64)
    needed = models.PositiveSmallIntegerField(default=1)
    principals = models.JSONField(default=list)
    four_eyes = models.BooleanField(default=False)
    message = models.TextField(blank=True)
    # What the action would do, read when the request was made: {"sentence", "before", "after", "lines", "warnings"}.
    preview = models.JSONField(default=dict)
    # open, approved, rejected, expired, superseded
    state = models.CharField(max_length=10, default="open")
    requested_at = models.DateTimeField()
    due_at = models.DateTimeField()
    half_told = models.BooleanField(default=False)
    # A fact that came up while it waited ("the alert resolved at 03:14"); the request was asked anew with it.
    new_fact = models.CharField(max_length=300, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["step_run"], condition=Q(state="open"), name="one_open_approval_per_step")
        ]


class Decision(models.Model):
    """One person's answer to one approval request; unique, so two clicks count once."""

    request = models.ForeignKey(ApprovalRequest, on_delete=models.CASCADE, related_name="decisions")
    user_id = models.BigIntegerField()
    actor = models.CharField(max_length=120)
    approve = models.BooleanField()
    note = models.TextField(blank=True)
    break_glass = models.BooleanField(default=False)
    override = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["request", "user_id"], name="one_decision_per_person")]


class Lock(models.Model):
    """A named lock held by one step; re-derived each tick, so that it cannot leak."""

    name = models.CharField(max_length=200, unique=True)
    step_run = models.OneToOneField(StepRun, on_delete=models.CASCADE, related_name="lock")
    taken_at = models.DateTimeField()


class DiagnosisSnapshot(models.Model):
    """How the hypotheses stood after one cited step settled."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="diagnoses")
    at = models.DateTimeField()
    after_step = models.CharField(max_length=40)
    top = models.CharField(max_length=40)
    confidence = models.FloatField()
    ranked = models.JSONField()
    frozen = models.BooleanField(default=False)

    class Meta:
        ordering = ["id"]


class RunEvent(models.Model):
    """One transition, written in its own transaction. Append-only."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField()
    # The transition of docs/guide/engine.md: R1 … R5, S1 … S22.
    transition = models.CharField(max_length=4)
    step = models.CharField(max_length=60, blank=True)
    item = models.SmallIntegerField(default=0)
    state = models.CharField(max_length=30)
    actor = models.CharField(max_length=120, blank=True)
    text = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["run", "seq"], name="one_event_per_seq")]


class Worker(models.Model):
    """A sign of life of one process that ticks or executes steps."""

    name = models.CharField(max_length=120, unique=True)
    queues = models.JSONField(default=list)
    # Names of the checks and actions that its code knows.
    providers = models.JSONField(default=list)
    started_at = models.DateTimeField()
    ticked_at = models.DateTimeField()
    tick_error = models.CharField(max_length=300, blank=True)
