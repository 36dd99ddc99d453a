"""Alert to incident to run: the one place where the three meet."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q

from catalog.actors import ALERT
from common import clock
from common.errors import DomainError
from common.expressions import Expression, ExpressionError
from incidents import alerts, changes, intake, timeline
from incidents.alerts import Touched
from incidents.models import Alert, Delivery
from incidents.sources.base import NotOfThisSource
from runbooks import approvals, reading, runs, transitions
from runbooks.models import Runbook, StepRun, TriggerEvent
from runbooks.verdicts import boolean

log = logging.getLogger(__name__)


def receive(delivery_id: int) -> None:
    """Turn one stored delivery into alerts, incidents and runs; a repeat is a no-op.

    Each part is its own transaction and may be done again after a crash: alerts count a delivery once, and a trigger is
    unique per alert episode, status and runbook. After three failures of our own, or three workers that died of it, the
    delivery is rejected with reason `internal`, visible and replayable: an acknowledged alert is never lost.
    """
    delivery = intake.claim(delivery_id)
    if delivery is None:
        return
    try:
        _process(delivery, now=clock.now())
    except (NotOfThisSource, DomainError) as error:
        intake.reject(delivery, error.sentence if isinstance(error, DomainError) else str(error))
    except (OperationalError, InterfaceError):
        # The database is away or gave up on a lock: no fault of the delivery. The next tick tries again.
        intake.put_back(delivery)
        raise
    except Exception:
        log.exception("a delivery could not be processed", extra={"delivery": str(delivery.uuid)})
        intake.failed(delivery)


def _process(delivery: Delivery, *, now: datetime) -> None:
    told = intake.read_delivery(delivery)
    changes.apply(delivery.endpoint, told.changes, delivery_id=delivery.pk, now=now)
    touched = alerts.apply(delivery.endpoint, told.alerts, delivery_id=delivery.pk, now=now)
    for one in touched:
        if one.opened_episode or one.changed_status:
            start_matching(one, now=now)
    _facts_for_approvals(touched, now=now)
    intake.finish(delivery, kind=told.kind, alerts=told.alerts, notes=told.notes, reason=told.reason)


def start_matching(touched: Touched, *, now: datetime) -> None:
    """Start every runbook whose trigger matches; each decision is kept, once per alert episode, status and runbook."""
    alert, incident = touched.alert, touched.incident
    if incident is None:
        return
    data = reading.alert_data(alert)
    books = Runbook.objects.filter(
        Q(team=None) | Q(team=incident.team), enabled=True, deleted_at=None, current__isnull=False
    )
    for runbook in books.select_related("current"):
        triggers = reading.book_of(runbook.current).triggers if runbook.current else []
        matched = next((source for source in triggers if _matches(source, data)), None)
        if not matched:
            continue
        _trigger(runbook, alert, touched, reason=f"its trigger matched: {matched.source}", now=now)


def _matches(expression: Expression, alert: dict[str, object]) -> bool:
    """A trigger that names a label the alert lacks does not match; any other fault does not match either."""
    try:
        return boolean(expression, {"alert": alert})
    except ExpressionError:
        return False


@transaction.atomic
def _trigger(runbook: Runbook, alert: Alert, touched: Touched, *, reason: str, now: datetime) -> None:
    incident = touched.incident
    assert incident is not None
    event, created = TriggerEvent.objects.get_or_create(
        alert_id=alert.pk,
        episode=alert.episode,
        status=alert.status,
        runbook=runbook,
        defaults={"decision": "", "at": now},
    )
    if not created:
        return
    try:
        # A savepoint: a start that is refused leaves nothing behind but the reason.
        with transaction.atomic():
            started = runs.start(
                runbook, given={}, actor=ALERT, team=incident.team, incident=incident, alert=alert, reason=reason
            )
    except DomainError as error:
        event.decision, event.reason = "refused", error.sentence[:500]
        timeline.record(
            incident,
            kind="run",
            actor=ALERT,
            text=f"Runbook {runbook.slug} was triggered but refused to start: {error.sentence} {error.fix}",
            pinned=True,
        )
    else:
        event.decision = started.decision
        event.run_id = started.run.pk if started.run else None
    event.save(update_fields=["decision", "reason", "run_id"])
    incident.refresh_from_db()


def _facts_for_approvals(touched: list[Touched], *, now: datetime) -> None:
    """An alert that stops while an approval waits is a fact that the approvers must see; nothing cancels itself."""
    stopped = {one.incident.pk for one in touched if one.incident and one.alert.status == "resolved"}
    waiting = StepRun.objects.filter(run__incident__in=stopped, state="blocked", blocked_on="approval")
    for step in waiting.select_related("run"):
        _fact_for_approval(step, now=now)


@transaction.atomic
def _fact_for_approval(step: StepRun, *, now: datetime) -> None:
    still = Alert.objects.filter(incident=step.run.incident_id, status="firing").count()
    fact = f"the alert resolved at {now:%H:%M} UTC" + (f"; {still} alerts still fire" if still else "")
    run = transitions.lock_run(step.run_id)
    if run.state == "active":
        approvals.ask_anew(run, step, fact=fact, now=now)
