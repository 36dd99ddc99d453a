"""Evaluations as jobs of rows: asked for once, worked on under a lease, resumed by anyone when a worker dies."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from catalog.connectors.http_json import HttpJson
from catalog.models import Connection, Service
from common import clock
from common.background import enqueue
from common.errors import Invalid
from common.statements import Written
from evaluations import tasks
from evaluations.models import Evaluation, EvaluationSet
from evaluations.scoring import MAX_ATTEMPTS, work

__all__ = ["ask", "due", "resume_lost", "work"]


def ask(
    *,
    key: str,
    evaluation_set: EvaluationSet,
    service: Service,
    connection: Connection,
    path: str,
    version: str,
    now: datetime,
) -> Evaluation:
    """Have a version scored on a set. Asking again with the same key answers the same job and starts nothing.

    Invalid when the connection is not of the kind http_json or belongs to another team.
    """
    if connection.connector != HttpJson.name:
        raise Invalid(
            f"Versions are scored over a connection of the kind {HttpJson.name}; {connection.slug} is of the kind "
            f"{connection.connector}.",
            fix="Name another connection in the service's evaluation settings.",
        )
    if {evaluation_set.team_id, connection.team_id} != {service.team_id}:
        raise Invalid("Service, evaluation set and connection must belong to one team.")
    with transaction.atomic():
        found, created = Evaluation.objects.get_or_create(
            key=key,
            defaults={
                "evaluation_set": evaluation_set,
                "service": service,
                "connection": connection,
                "path": path,
                "version": version,
                "total": evaluation_set.cases.count(),
                "created_at": now,
            },
        )
        if created:
            enqueue(tasks.work, "checks", found.pk)
    return found


def resume_lost(now: datetime) -> list[int]:
    """Wake the jobs that nobody works on: never started, to be tried again, or left by a worker whose lease ran out.

    A job whose third worker died has failed. Answers the ids that were woken.
    """
    lost = Q(state="running", lease_until__lt=now)
    Evaluation.objects.filter(lost, attempts__gte=MAX_ATTEMPTS).update(
        state="failed", error="Three workers stopped in the middle of it.", finished_at=now, lease_until=None
    )
    ids = due(now)
    for evaluation_id in ids:
        enqueue(tasks.work, "checks", evaluation_id)
    return ids


def end_leases() -> int:
    """Let go of every job at work, once it is known that no worker lives; how many there were."""
    return Evaluation.objects.filter(state="running").update(lease_until=clock.now())


def _free(now: datetime) -> QuerySet[Evaluation]:
    unleased = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    return Evaluation.objects.filter(Q(state="queued") & unleased | Q(state="running", lease_until__lt=now))


# Every worker asks each second.
_asked_before = Written(
    lambda now, before: _free(now).filter(created_at__lt=before).order_by("id").values_list("id", flat=True)[:100]
)


def due(now: datetime, *, asked_before: datetime | None = None) -> list[int]:
    """Ids of the jobs that nobody works on, oldest first."""
    if asked_before is not None:
        return _asked_before(now, asked_before)
    return list(_free(now).order_by("id").values_list("id", flat=True)[:100])
