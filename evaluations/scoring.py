"""Scoring one evaluation: case by case over HTTP, under a lease that is renewed with every batch."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Q

from catalog import connections
from catalog.connectors.base import ConnectorError
from catalog.connectors.http_json import HttpJson
from common import clock
from common.errors import DomainError, Invalid
from common.plain import plain
from common.secrets import redact
from evaluations.models import Case, Evaluation, Score

log = logging.getLogger(__name__)
BATCH = 10
ITEM_TIMEOUT = 5.0
# What one item takes at most: two tries, and the time to write it down.
ITEM_SECONDS = 2 * ITEM_TIMEOUT + 5
MAX_ATTEMPTS = 3


class LostLease(Exception):
    """Another worker has taken the job over; this one must write nothing more."""


def work(evaluation_id: int) -> None:
    """Score what is left of an evaluation, if nobody else is at it.

    The lease is taken by one conditional UPDATE and renewed with every batch; what a dead worker has scored stays. When
    the endpoint fails, or we do, the job waits for the next attempt; after the third it has failed, with the reason.
    """
    attempt = _take(evaluation_id)
    if attempt is None:
        return
    evaluation = Evaluation.objects.select_related("connection").get(pk=evaluation_id)
    try:
        _score_all(evaluation, attempt)
    except LostLease:
        log.info("evaluation %s was taken over", evaluation_id)
    except (ConnectorError, DomainError) as error:
        _give_up(evaluation, attempt, str(error), permanent=isinstance(error, DomainError))
    except (OperationalError, InterfaceError):
        # The database is away: nothing can be written down, and the lease ends by itself.
        raise
    except Exception as error:
        log.exception("evaluation %s failed", evaluation_id)
        _give_up(evaluation, attempt, f"{type(error).__name__}: {error}", permanent=False)


def _lease() -> timedelta:
    """How long a worker holds the job without a sign of life: as any step, but never less than one item may take."""
    return timedelta(seconds=max(settings.BACKSTOP.lease_seconds, ITEM_SECONDS))


def _take(evaluation_id: int) -> int | None:
    """Take the lease; the number of this attempt, or None when there is nothing to do. Attempts fence: see `_renew`."""
    now = clock.now()
    # A queued job with a time waits until then for its next attempt.
    free = Q(state="queued", lease_until__isnull=True) | Q(lease_until__lt=now, state__in=["queued", "running"])
    taken = Evaluation.objects.filter(free, pk=evaluation_id, attempts__lt=MAX_ATTEMPTS).update(
        state="running", lease_until=now + _lease(), attempts=F("attempts") + 1, error=""
    )
    if not taken:
        return None
    return Evaluation.objects.values_list("attempts", flat=True).get(pk=evaluation_id)


def _renew(evaluation: Evaluation, attempt: int, **changes: Any) -> None:
    """Prolong the lease and save progress, if this attempt still holds the job. LostLease otherwise."""
    held = Evaluation.objects.filter(pk=evaluation.pk, state="running", attempts=attempt)
    if not held.update(**{"lease_until": clock.now() + _lease()} | changes):
        raise LostLease


def _score_all(evaluation: Evaluation, attempt: int) -> None:
    connector, config, secrets = connections.opened(evaluation.connection)
    if not isinstance(connector, HttpJson):
        raise Invalid(f"{evaluation.connection.slug} is no longer a connection of the kind {HttpJson.name}.")
    cases = Case.objects.filter(evaluation_set=evaluation.evaluation_set_id)
    while True:
        done = Score.objects.filter(evaluation=evaluation).values("item")
        batch = list(cases.exclude(item__in=done).order_by("id")[:BATCH])
        if not batch:
            break
        scores: list[Score] = []
        # A slow batch is cut short, so that the next item still fits into the lease.
        cut = time.monotonic() + _lease().total_seconds() - ITEM_SECONDS
        try:
            for case in batch:
                if scores and time.monotonic() > cut:
                    break
                answer = _answer(connector, config, secrets, evaluation, case)
                right = answer == case.expected
                scores.append(
                    Score(
                        evaluation=evaluation,
                        item=case.item,
                        score=1.0 if right else 0.0,
                        answer=answer,
                        attributes=case.attributes,
                    )
                )
        finally:
            # What was answered is kept even if the next item failed: the next attempt goes on from there.
            _save(evaluation, attempt, scores)
    scored = Score.objects.filter(evaluation=evaluation).count()
    _renew(
        evaluation,
        attempt,
        state="done",
        total=scored,
        scored=scored,
        error="",
        finished_at=clock.now(),
        lease_until=None,
    )


def _save(evaluation: Evaluation, attempt: int, scores: list[Score]) -> None:
    with transaction.atomic():
        # The UPDATE comes first: it locks the row, so that two workers cannot both believe that they hold the job.
        _renew(evaluation, attempt, scored=F("scored") + len(scores))
        Score.objects.bulk_create(scores)


def _answer(connector: HttpJson, config: Any, secrets: Any, evaluation: Evaluation, case: Case) -> Any:
    body = {"version": evaluation.version, "item": case.item, "input": case.input}
    try:
        found, _ = connector.post(config, secrets, evaluation.path, body, timeout=ITEM_TIMEOUT)
    except ConnectorError as error:
        if error.reason not in ("timeout", "unreachable", "unavailable"):
            raise
        # One hiccup among hundreds of items must not cost the attempt.
        found, _ = connector.post(config, secrets, evaluation.path, body, timeout=ITEM_TIMEOUT)
    if not isinstance(found, dict) or "answer" not in found:
        raise ConnectorError("bad_answer", f'The model endpoint gave no "answer" for item {case.item}.')
    try:
        # A model may say anything; the NUL or the NaN in it must not keep the other answers from being stored.
        return plain(found["answer"])
    except RecursionError:
        raise ConnectorError("bad_answer", f"The answer to item {case.item} is nested too deeply.") from None


def _give_up(evaluation: Evaluation, attempt: int, why: str, *, permanent: bool) -> None:
    """End this attempt: another one follows, or the evaluation has failed."""
    now = clock.now()
    over = permanent or attempt >= MAX_ATTEMPTS
    changes: dict[str, Any] = {"error": redact(plain(why))[:300]}
    if over:
        changes |= {"state": "failed", "finished_at": now, "lease_until": None}
    else:
        # Not at once: what refuses now may answer in some seconds. `resume_lost` wakes it then.
        changes |= {"state": "queued", "lease_until": now + timedelta(seconds=5 * attempt)}
    try:
        _renew(evaluation, attempt, **changes)
    except LostLease:
        log.info("evaluation %s was taken over", evaluation.pk)
