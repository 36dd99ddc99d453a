"""Celery tasks of this room: ids in, everything else in `scoring`."""

from __future__ import annotations

from celery import shared_task

from evaluations import scoring


@shared_task(name="evaluations.work", ignore_result=True)
def work(evaluation_id: int) -> None:
    """Score what is left of an evaluation."""
    scoring.work(evaluation_id)
