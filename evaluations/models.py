"""Evaluation sets with their cases, and what each version scored on them."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from catalog.models import Connection, Service, Team


class EvaluationSet(models.Model):
    """Cases with expected answers, used to compare versions."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="evaluation_sets")
    slug = models.SlugField(max_length=60)
    title = models.CharField(max_length=120)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["slug"]
        constraints = [models.UniqueConstraint(fields=["team", "slug"], name="one_set_per_team_and_slug")]


class Case(models.Model):
    """One input with its expected answer; `attributes` (query type, tenant …) are what slices are made of."""

    evaluation_set = models.ForeignKey(EvaluationSet, on_delete=models.CASCADE, related_name="cases")
    item = models.CharField(max_length=120)
    input = models.JSONField()
    expected = models.JSONField()
    attributes = models.JSONField(default=dict)
    # "INC-42" when the case was added because of an incident.
    origin = models.CharField(max_length=40, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["evaluation_set", "item"], name="one_case_per_item")]


class Evaluation(models.Model):
    """One version scored on one set: a job of rows, so that a dead worker loses nothing but the open item."""

    STATES: ClassVar[list[tuple[str, str]]] = [
        ("queued", "queued"),
        ("running", "running"),
        ("done", "done"),
        ("failed", "failed"),
    ]

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # Who asked for it (a step's key); asking twice finds the same job.
    key = models.CharField(max_length=200, unique=True)
    evaluation_set = models.ForeignKey(EvaluationSet, on_delete=models.CASCADE, related_name="evaluations")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="evaluations")
    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="+")
    path = models.CharField(max_length=200)
    version = models.CharField(max_length=120)
    state = models.CharField(max_length=8, choices=STATES, default="queued")
    total = models.PositiveIntegerField(default=0)
    scored = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]


class Score(models.Model):
    """What one version answered to one case, and whether it was right (1.0), wrong (0.0) or in between."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="scores")
    item = models.CharField(max_length=120)
    score = models.FloatField(null=True)
    answer = models.JSONField(null=True)
    attributes = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["evaluation", "item"], name="one_score_per_item")]
