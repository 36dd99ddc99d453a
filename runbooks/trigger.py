"""Alert to incident to run: the one place where the three meet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q

from catalog.actors import ALERT
from common import background, clock, writers
from common.errors import DomainError
from common.expressions import Expression, ExpressionError
from incidents import alerts, changes, intake, timeline
from incidents.alerts import Touched
from incidents.models import Alert, Delivery, Endpoint
from incidents.sources.base import NotOfThisSource, Reading
from runbooks import approvals, reading, runs, transitions
from runbooks.models import Runbook, StepRun, TriggerEvent
from runbooks.verdicts import boolean

log = logging.getLogger(__name__)
# Per team, the runbooks that alerts may start.
Books = dict[int, list[tuple[Runbook, list[Expression]]]]


@dataclass
class Batch:
    """Deliveries of one endpoint that read like one: none of them contradicts another about an alert."""

    endpoint: Endpoint
    members: list[tuple[Delivery, Reading]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def takes(self, told: Reading) -> bool:
        """Whether nothing in it changes what this batch says; a firing and its end, say, are two pieces of news."""
        return all(self.said.get(notice.dedup_key, notice.status) == notice.status for notice in told.alerts)

    def add(self, delivery: Delivery, told: Reading) -> None:
        """Put it at the end."""
        self.members.append((delivery, told))
        self.said |= {notice.dedup_key: notice.status for notice in told.alerts}


def receive(delivery_id: int) -> None:
    """Turn a stored delivery, and those that wait beside it, into alerts, incidents and runs; a repeat is a no-op.

    Each part is its own transaction and may be done again after a crash: alerts count a delivery once, and a trigger is
    unique per alert episode, status and runbook. After three failures of our own, or three workers that died of it, a
    delivery is rejected with reason `internal`, visible and replayable: an acknowledged alert is never lost.
    """
    deliveries = intake.claim_waiting()
    is_full = len(deliveries) == intake.TOGETHER
    if all(delivery.pk != delivery_id for delivery in deliveries) and (tried := intake.claim(delivery_id)):
        deliveries.append(tried)
    try:
        for batch in _batches(deliveries):
            _process_or_split(batch)
    except (OperationalError, InterfaceError):
        # The database is away or gave up on a lock: no fault of theirs. The next tick tries again.
        for delivery in deliveries:
            intake.put_back(delivery)
        raise
    if is_full:
        for waiting in intake.due(1):
            background.hint("runbooks.receive", "engine", waiting)


def _batches(deliveries: list[Delivery]) -> list[Batch]:
    """Read each delivery; one that cannot be read is rejected and holds nobody up."""
    batches: list[Batch] = []
    latest: dict[int, Batch] = {}
    for delivery in deliveries:
        with _blaming(delivery):
            told = intake.read_delivery(delivery)
            batch = latest.get(delivery.endpoint_id)
            if batch is None or not batch.takes(told):
                batch = latest[delivery.endpoint_id] = Batch(delivery.endpoint)
                batches.append(batch)
            batch.add(delivery, told)
    return batches


def _process_or_split(batch: Batch) -> None:
    """Process a batch; when that fails, each delivery by itself, so that one cannot fail the others."""
    if len(batch.members) > 1:
        try:
            _process(batch, now=clock.now())
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("%s deliveries could not be processed together; now one by one", len(batch.members))
        else:
            return
    for delivery, told in batch.members:
        with _blaming(delivery):
            alone = Batch(batch.endpoint)
            alone.add(delivery, told)
            _process(alone, now=clock.now())


@contextmanager
def _blaming(delivery: Delivery) -> Iterator[None]:
    """What goes wrong in the block is this delivery's fault, unless it is the database's."""
    try:
        yield
    except (NotOfThisSource, DomainError) as error:
        intake.reject(delivery, error.sentence if isinstance(error, DomainError) else str(error))
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("a delivery could not be processed", extra={"delivery": str(delivery.uuid)})
        intake.failed(delivery)


def _process(batch: Batch, *, now: datetime) -> None:
    endpoint = batch.endpoint
    for delivery, told in batch.members:
        changes.apply(endpoint, told.changes, delivery_id=delivery.pk, now=now)
    read = [(delivery.pk, told.alerts) for delivery, told in batch.members]
    touched = alerts.apply_together(endpoint, read, now=now)
    books: Books = {}
    for one in touched:
        if one.opened_episode or one.changed_status:
            start_matching(one, books, now=now)
    _facts_for_approvals(touched, now=now)
    with writers.one_at_a_time(), transaction.atomic():
        for delivery, told in batch.members:
            intake.finish(delivery, kind=told.kind, alerts=told.alerts, notes=told.notes, reason=told.reason)


def start_matching(touched: Touched, books: Books, *, now: datetime) -> None:
    """Start every runbook whose trigger matches; each decision is kept, once per alert episode, status and runbook."""
    alert, incident = touched.alert, touched.incident
    if incident is None:
        return
    if incident.team_id not in books:
        books[incident.team_id] = _books(incident.team_id)
    data = reading.alert_data(alert)
    for runbook, triggers in books[incident.team_id]:
        matched = next((source for source in triggers if _matches(source, data)), None)
        if matched:
            _trigger(runbook, alert, touched, reason=f"its trigger matched: {matched.source}", now=now)


def _books(team_id: int) -> list[tuple[Runbook, list[Expression]]]:
    """What a team's alerts may start, with the triggers, read once for all alerts of a batch."""
    rows = Runbook.objects.filter(
        Q(team=None) | Q(team=team_id), enabled=True, deleted_at=None, current__isnull=False
    ).select_related("current")
    return [
        (row, list(reading.book_of(row.current).triggers))
        for row in rows.defer("current__text", "current__parsed")
        if row.current
    ]


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
    if not stopped:
        return
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
