"""Alert to incident to run: the one place where the three meet."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q

from catalog.actors import ALERT
from catalog.models import Team
from common import background, clock, statements
from common.errors import DomainError, Invalid
from common.expressions import Expression, ExpressionError
from common.statements import Written
from incidents import alerts, changes, intake, timeline
from incidents.alerts import Touched
from incidents.models import Alert, Delivery, Endpoint, Incident
from incidents.sources.base import NotOfThisSource, Reading
from incidents.texts import span
from runbooks import approvals, inputs, reading, runs, transitions
from runbooks.definitions import Book
from runbooks.models import Runbook, StepRun, TriggerEvent
from runbooks.verdicts import boolean

log = logging.getLogger(__name__)
# News that waited longer to be read is told and starts nothing by itself: much may have changed since (promise F28).
FRESH = timedelta(minutes=15)


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
    start_matching(endpoint.team, touched, now=now)
    _facts_for_approvals(touched, now=now)
    with transaction.atomic():
        ended = clock.now()
        for delivery, told in batch.members:
            intake.finish(delivery, kind=told.kind, alerts=told.alerts, notes=told.notes, reason=told.reason, now=ended)


@dataclass
class Match:
    """Alerts that ask for the same: this runbook, on this incident, with these inputs."""

    runbook: Runbook
    incident: Incident
    reason: str
    alerts: list[Alert] = field(default_factory=list)


def start_matching(team: Team, touched: list[Touched], *, now: datetime) -> None:
    """Start every runbook whose trigger matches; each decision is kept, once per alert episode, status and runbook.

    A storm brings thousands of alerts of one rule: runbooks are read once for all, and alerts that would start the same
    runbook with the same inputs on one incident are one trigger.
    """
    news = [one for one in touched if one.opened_episode or one.changed_status]
    books, damaged = _books(team) if news else ([], [])
    found: dict[tuple[int, int, str], Match] = {}
    faults: dict[tuple[int, int], tuple[Runbook, Incident, str]] = {}
    for one in news:
        if one.incident is None:
            continue
        for runbook in damaged:
            faults[runbook.pk, one.incident.pk] = (runbook, one.incident, "it cannot be read")
        data = reading.alert_data(one.alert)
        for runbook, book in books:
            try:
                matched = next((source for source in book.triggers if matches(source, data)), None)
            except ExpressionError as error:
                faults[runbook.pk, one.incident.pk] = (runbook, one.incident, f"its trigger fails: {error.sentence}")
                continue
            if matched is not None:
                key = (runbook.pk, one.incident.pk, _inputs(book, data))
                match = Match(runbook, one.incident, f"its trigger matched: {matched.source}")
                found.setdefault(key, match).alerts.append(one.alert)
    for match in found.values():
        _trigger(match, now=now)
    for runbook, incident, fault in faults.values():
        _tell_fault(runbook, incident, fault)


_started_by_alerts = Written(
    lambda team: (
        Runbook.objects.started_by_alerts_of(team).select_related("current").defer("current__text", "current__parsed")
    )
)


def _books(team: Team) -> tuple[list[tuple[Runbook, Book]], list[Runbook]]:
    """What a team's alerts may start; and what cannot be read: a row damaged by hand must not hold up the others."""
    found: list[tuple[Runbook, Book]] = []
    damaged: list[Runbook] = []
    for row in _started_by_alerts(team.pk):
        assert row.current is not None
        try:
            book = reading.book_of(row.current)
            # Compiled here, so that one that does not compile is found before any alert is looked at.
            _ = book.triggers
        except (reading.Unreadable, ExpressionError):
            damaged.append(row)
        else:
            found.append((row, book))
    return found, damaged


@transaction.atomic
def _tell_fault(runbook: Runbook, incident: Incident, fault: str) -> None:
    """A runbook that never starts and says nothing is found when it is missed; once per incident and revision."""
    assert runbook.current is not None
    Incident.objects.select_for_update().get(pk=incident.pk)
    data = {"fault": f"{runbook.pk}.{runbook.current.number}"}
    if incident.timeline.filter(kind="run", data__fault=data["fault"]).exists():
        return
    which = f"Runbook {runbook.slug} (revision {runbook.current.number})"
    log.warning("%s, id %s, may be missing on %s: %s", which, runbook.pk, incident.key, fault)
    text = f"{which} may be missing here, because {fault.rstrip('.')}. Mend it, or start it by hand."
    timeline.record(incident, kind="run", actor=ALERT, text=text, data=data, pinned=True)


def _inputs(book: Book, alert: dict[str, Any]) -> str:
    """What tells equal starts from different ones: the inputs that this alert gives, or what is wrong with them."""
    try:
        return json.dumps(inputs.resolve(book.spec.inputs, given={}, alert=alert).values, sort_keys=True)
    except Invalid as error:
        return error.sentence


def matches(expression: Expression, alert: dict[str, object]) -> bool:
    """Whether a trigger is true; one that names a label the alert lacks is not. Other faults are its author's."""
    try:
        return boolean(expression, {"alert": alert})
    except ExpressionError as error:
        if (error.missing or ())[:2] == ("alert", "labels"):
            return False
        raise


@transaction.atomic
def _trigger(match: Match, *, now: datetime) -> None:
    first, *others = match.alerts
    event, created = _event(match, first, now)
    if created and not _is_late(match, first, event, now):
        _start(match, first, event)
    decision = "joined" if event.run_id else event.decision
    TriggerEvent.objects.bulk_create(
        [
            TriggerEvent(**_seen(match, alert), decision=decision, reason=event.reason, run_id=event.run_id, at=now)
            for alert in others
        ],
        ignore_conflicts=True,
    )


_known = Written(
    lambda runbook, alert, episode, status: TriggerEvent.objects.filter(
        runbook=runbook, alert_id=alert, episode=episode, status=status
    ).select_related("runbook")
)


def _event(match: Match, alert: Alert, now: datetime) -> tuple[TriggerEvent, bool]:
    """The event of this alert and runbook, and whether it is new."""
    unique = match.runbook.pk, alert.pk, alert.episode, alert.status
    event = TriggerEvent(**_seen(match, alert), decision="", at=now)
    return statements.insert_once(event, lambda: _known.first(*unique))


def _seen(match: Match, alert: Alert) -> dict[str, Any]:
    """What is unique of an event."""
    return {"alert_id": alert.pk, "episode": alert.episode, "status": alert.status, "runbook": match.runbook}


def _is_late(match: Match, alert: Alert, event: TriggerEvent, now: datetime) -> bool:
    """Whether the news waited so long to be read that starting on it is for a person to say; told once (F28)."""
    came = intake.came_at(alert.last_delivery_id)
    if came is None or now - came <= FRESH:
        return False
    event.decision, event.reason = "refused", "It was read long after it came."
    if not _is_said(event, match.incident):
        text = (
            f"Runbook {match.runbook.slug} was triggered but not started: the alert was read {span(now - came)} after "
            "it came. Start it here if it still matters."
        )
        timeline.record(match.incident, kind="run", actor=ALERT, text=text, pinned=True)
    event.save(update_fields=["decision", "reason"])
    return True


def _start(match: Match, alert: Alert, event: TriggerEvent) -> None:
    runbook, incident, why = match.runbook, match.incident, match.reason
    try:
        # A savepoint: a start that is refused leaves nothing behind but the reason.
        with transaction.atomic():
            started = runs.start(
                runbook, given={}, actor=ALERT, team=incident.team, incident=incident, alert=alert, reason=why
            )
    except DomainError as error:
        event.decision, event.reason = "refused", error.sentence[:500]
        if not _is_said(event, incident):
            text = f"Runbook {runbook.slug} was triggered but refused to start: {error.sentence} {error.fix}"
            timeline.record(incident, kind="run", actor=ALERT, text=text, pinned=True)
    else:
        event.decision = started.decision
        event.run_id = started.run.pk if started.run else None
    outcome = {"decision": event.decision, "reason": event.reason, "run_id": event.run_id}
    statements.update(TriggerEvent, outcome, pk=event.pk)


def _is_said(event: TriggerEvent, incident: Incident) -> bool:
    """Whether another alert of the incident was refused for the same reason: a storm must not fill the timeline."""
    alike = TriggerEvent.objects.filter(runbook=event.runbook, decision="refused", reason=event.reason)
    return alike.filter(alert_id__in=Alert.objects.filter(incident=incident).values("pk")).exists()


def _facts_for_approvals(touched: list[Touched], *, now: datetime) -> None:
    """An alert that stops while an approval waits is a fact that the approvers must see; nothing cancels itself.

    Only the news of it: senders repeat «resolved», and asking anew each time would put off the end of the time it has.
    """
    stopped: dict[int, datetime] = {}
    for one in touched:
        if one.incident is not None and one.changed_status and one.alert.status == "resolved":
            at = one.alert.ends_at or now
            stopped[one.incident.pk] = max(at, stopped.get(one.incident.pk, at))
    if not stopped:
        return
    # Also one that is being put anew: else a second alert that stops meanwhile would be left out of what is shown.
    asks = Q(state="blocked", blocked_on="approval") | Q(state="ready", stage="preview")
    for step in StepRun.objects.filter(asks, run__incident__in=stopped).select_related("run"):
        _fact_for_approval(step, at=stopped[step.run.incident_id or 0], now=now)


@transaction.atomic
def _fact_for_approval(step: StepRun, *, at: datetime, now: datetime) -> None:
    run = transitions.lock_run(step.run_id)
    still = Alert.objects.filter(incident=run.incident_id, status="firing").count()
    fact = f"the alert resolved at {at:%H:%M} UTC" + (f"; {still} alerts still fire" if still else "")
    if run.state in ("active", "paused"):
        approvals.ask_anew(run, step, fact=fact, now=now)
