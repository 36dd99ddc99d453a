"""What will be done so that it does not happen again: proposed by rule, committed by people, with owner and date."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import Q

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.models import Membership, User
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Invalid
from incidents import timeline
from incidents.models import ActionItem, Evidence, Incident, TimelineEntry
from incidents.notices import body, tell
from incidents.ownership import owner_of
from incidents.texts import span

# Days until due, by severity: 15 and 30 are PagerDuty's published practice, 60 and 90 are ours (design 4.1).
DUE_DAYS = {1: 15, 2: 30, 3: 60, 4: 90}
LATE_DETECTION = timedelta(minutes=5)
SLOW_ROLLBACK_SECONDS = 300
REMIND_EVERY = timedelta(days=7)
OPEN_STATES = ("proposed", "committed", "in_progress")
MOVES = {
    "commit": ({"proposed"}, "committed"),
    "begin": ({"proposed", "committed"}, "in_progress"),
    "complete": ({"proposed", "committed", "in_progress"}, "done"),
    "verify": ({"done"}, "verified"),
    "decline": ({"proposed", "committed", "in_progress"}, "declined"),
}
# First words that promise nothing anybody could see done.
VAGUE = {
    "improve": "Say what will be different: add, remove, limit, alert on, test …",
    "enhance": "Say what will be different: add, remove, limit, alert on, test …",
    "investigate": "Ask the question as a measurable one, e.g. “Measure how often … and write the number down”.",
    "consider": "Decide first: either do it or decline it with a reason.",
    "explore": "Say which question will be answered, and where the answer will be.",
    "discuss": "Say what will be decided, and where it will be written down.",
    "try": "Say what will exist when it is done.",
    "ensure": "Say which check, limit or alert will make sure.",
    "look": "Say what will be measured or changed.",
    "think": "Say what will be measured or changed.",
    "make": "Say what will be different: add, remove, limit, alert on, test …",
    "be": "An item changes a system, not a person.",
    "remember": "An item changes a system, not a person.",
    "remind": "An item changes a system, not a person.",
    "train": "An item changes a system: what will make the right act the easy one?",
    "educate": "An item changes a system: what will make the right act the easy one?",
}
_NOT_VERBS = {
    *("a", "an", "the", "we", "i", "you", "they", "it", "this", "that"),
    *("these", "those", "better", "more", "less", "no", "not", "should", "need", "needs"),
    *("must", "team"),
}


@dataclass(frozen=True)
class Proposal:
    """An action item that follows from the facts by rule."""

    rule: str
    title: str
    kind: str
    priority: int
    closing_check: str
    evidence: list[int] = field(default_factory=list)


def propose(incident: Incident, *, now: datetime, actor: Actor = ENGINE) -> list[ActionItem]:
    """Write the items that the rules ask for, each once; a declined one does not come back. Gives the new ones.

    Without anybody who could own them none is written; the draft then asks the team admin.
    """
    owner = owner_of(incident)
    if owner is None:
        return []
    made = []
    with transaction.atomic():
        for proposal in _proposals(incident):
            item, new = ActionItem.objects.get_or_create(
                incident=incident,
                rule=proposal.rule,
                defaults={
                    "team": incident.team,
                    "title": proposal.title[:300],
                    "kind": proposal.kind,
                    "priority": proposal.priority,
                    "owner": owner,
                    "due_on": now.date() + timedelta(days=DUE_DAYS[incident.severity]),
                    "closing_check": proposal.closing_check[:500],
                    "evidence": proposal.evidence,
                    "created_at": now,
                },
            )
            if new:
                made.append(item)
                _record(item, actor, f"Action item proposed by rule: {item.title}", change="proposed")
    return made


def add(
    incident: Incident,
    *,
    title: str,
    kind: str,
    owner: User | None,
    due_on: date | None,
    actor: Actor,
    priority: int = 2,
    closing_check: str = "",
    evidence: Iterable[int] = (),
    cause: int | None = None,
    tracker: str = "",
) -> ActionItem:
    """Write an item by hand. Invalid names every field that is wrong, also a missing owner or date."""
    if actor.user is not None:
        permissions.require(actor, Permission.EDIT_POSTMORTEM, incident.team)
    with transaction.atomic():
        now = clock.now()
        item = ActionItem(
            incident=incident, team=incident.team, created_at=now, evidence=sorted({int(number) for number in evidence})
        )
        _fill(item, title=title, kind=kind, owner=owner, due_on=due_on, priority=priority, closing_check=closing_check)
        _trace(item, cause=cause, tracker=tracker)
        if item.due_on < now.date():
            raise Invalid("The date is in the past.", fields={"due_on": "Choose today or a later day."})
        item.save()
        _record(item, actor, f"Action item added: {item.title}", change="added")
    return item


def edit(
    item: ActionItem,
    *,
    title: str,
    kind: str,
    owner: User | None,
    due_on: date | None,
    actor: Actor,
    priority: int = 2,
    closing_check: str = "",
    cause: int | None = None,
    tracker: str = "",
) -> ActionItem:
    """Change an open item; a moved date stays on the timeline with both dates."""
    with transaction.atomic():
        row = _locked(item, actor, Permission.EDIT_POSTMORTEM)
        if row.state not in OPEN_STATES:
            raise Conflict(f"This item is {row.get_state_display()}; its text stays as it was.", state=row.state)
        before = (row.title, row.owner_id, row.due_on)
        _fill(row, title=title, kind=kind, owner=owner, due_on=due_on, priority=priority, closing_check=closing_check)
        _trace(row, cause=cause, tracker=tracker)
        row.save()
        text = f"Action item changed: {row.title}"
        if before[2] != row.due_on:
            text += f", due moved from {before[2].isoformat()} to {row.due_on.isoformat()}"
        _record(row, actor, text, change="edited", due_from=before[2].isoformat(), due_to=row.due_on.isoformat())
    return row


def commit(item: ActionItem, *, actor: Actor) -> ActionItem:
    """The team takes it on: owner and date now bind."""
    return _move(item, "commit", actor, Permission.PUBLISH_POSTMORTEM)


def begin(item: ActionItem, *, actor: Actor) -> ActionItem:
    """Somebody works on it."""
    return _move(item, "begin", actor, Permission.EDIT_POSTMORTEM)


def complete(item: ActionItem, *, actor: Actor) -> ActionItem:
    """It is done; `verify` says later that its closing check was seen to hold."""
    return _move(item, "complete", actor, Permission.EDIT_POSTMORTEM)


def verify(item: ActionItem, *, actor: Actor) -> ActionItem:
    """Its closing check holds."""
    return _move(item, "verify", actor, Permission.PUBLISH_POSTMORTEM)


def decline(item: ActionItem, *, reason: str, actor: Actor) -> ActionItem:
    """It will not be done, and this is why."""
    reason = " ".join(reason.split())
    if len(reason) < 5:
        raise Invalid("Declining needs a reason.", fix="One sentence is enough.", fields={"reason": "Write why not."})
    return _move(item, "decline", actor, Permission.PUBLISH_POSTMORTEM, reason=reason[:500])


def due_before(day: date) -> Q:
    """Open items whose day comes before this one. An exercise has items for practice; nobody is late with those."""
    return Q(state__in=OPEN_STATES, due_on__lt=day, incident__is_drill=False)


def remind(now: datetime) -> list[ActionItem]:
    """Tell owners of items that are due within a day, and once a week of those overdue. Gives the items told."""
    today = now.date()
    told = []
    soon = ActionItem.objects.filter(due_before(today + timedelta(days=2))).exclude(
        reminded_on__gt=today - REMIND_EVERY
    )
    for pk in list(soon.values_list("pk", flat=True)):
        with transaction.atomic():
            item = ActionItem.objects.select_for_update(of=("self",)).select_related("incident", "owner").get(pk=pk)
            if item.reminded_on is not None and item.reminded_on > today - REMIND_EVERY:
                continue
            late = timedelta(days=(today - item.due_on).days)
            when = f"overdue by {late.days} d" if late.days > 0 else f"due {item.due_on.isoformat()}"
            tell(
                team=item.team,
                kind="action_item_due",
                key=f"{item.uuid}:{today.isoformat()}",
                subject=f"{item.incident.key} action item {when}: {item.title}",
                body=body("action_item_due", item=item, late=late),
                link=f"/actions/{item.uuid}",
                incident=item.incident,
                users=[item.owner],
                to_team=late.days > 0,
            )
            item.reminded_on = today
            item.save(update_fields=["reminded_on"])
            told.append(item)
    return told


def title_fault(title: str) -> tuple[str, str] | None:
    """What is wrong with a title, and how to say it instead; None when it is fine."""
    words = re.findall(r"[^\W\d_]+", title.lower())
    if len(words) < 2:
        return ("A title says what will be done, in a few words.", "Begin with a verb: “Add an alert on …”.")
    if words[0] in VAGUE:
        return (f"“{words[0].title()}” does not say what will be different.", VAGUE[words[0]])
    if words[0] in _NOT_VERBS:
        return ("A title begins with a verb.", "E.g. “Add …”, “Alert on …”, “Limit …”, “Test …”.")
    return None


def _fill(
    item: ActionItem,
    *,
    title: str,
    kind: str,
    owner: User | None,
    due_on: date | None,
    priority: int,
    closing_check: str,
) -> None:
    title = " ".join(title.replace("\x00", " ").split())
    faults: dict[str, str] = {}
    fault = title_fault(title)
    if fault:
        faults["title"] = " ".join(fault)
    elif len(title) > 300:
        faults["title"] = "At most 300 characters."
    if kind not in dict(ActionItem.KINDS):
        faults["kind"] = f"One of: {', '.join(dict(ActionItem.KINDS))}."
    if owner is None:
        faults["owner"] = "An item without an owner is done by nobody: choose one person."
    elif not owner.is_active or not Membership.objects.filter(user=owner, team=item.team).exists():
        faults["owner"] = f"The owner must be an active member of team {item.team.slug}."
    if due_on is None:
        faults["due_on"] = "An item without a date is done never: choose a day."
    if priority not in range(4):
        faults["priority"] = "P0 to P3."
    if len(closing_check) > 500:
        faults["closing_check"] = "At most 500 characters."
    if faults or owner is None or due_on is None:
        raise Invalid("The action item cannot be saved yet.", fix=" ".join(faults.values()), fields=faults)
    item.title, item.kind, item.owner, item.due_on = title, kind, owner, due_on
    item.priority, item.closing_check = priority, " ".join(closing_check.split())


def _trace(item: ActionItem, *, cause: int | None, tracker: str) -> None:
    """Which of the five whys it answers, and where else the work is tracked."""
    tracker = tracker.strip()
    faults = {}
    if cause is not None and cause not in range(1, 6):
        faults["cause"] = "One of the five whys, 1 to 5."
    if tracker and (len(tracker) > 500 or not re.match(r"https?://\S+$", tracker)):
        faults["tracker"] = "A link that begins with https:// (at most 500 characters)."
    if faults:
        raise Invalid("The action item cannot be saved yet.", fix=" ".join(faults.values()), fields=faults)
    item.cause, item.tracker = cause, tracker


def _locked(item: ActionItem, actor: Actor, permission: Permission) -> ActionItem:
    if actor.user is not None:
        permissions.require(actor, permission, item.team)
    # Only this table: PostgreSQL cannot lock the far side of an outer join.
    rows = ActionItem.objects.select_for_update(of=("self",)).select_related("incident", "team", "owner")
    return rows.get(pk=item.pk)


def _move(item: ActionItem, verb: str, actor: Actor, permission: Permission, *, reason: str = "") -> ActionItem:
    sources, target = MOVES[verb]
    with transaction.atomic():
        row = _locked(item, actor, permission)
        if row.state not in sources:
            raise Conflict(f"This item is {row.get_state_display()} already.", state=row.state)
        row.state = target
        if reason:
            row.reason = reason
        if target == "done":
            row.done_at = clock.now()
        row.save(update_fields=["state", "reason", "done_at"])
        text = f"Action item {row.get_state_display()}: {row.title}" + (f". Reason: {reason}" if reason else "")
        _record(row, actor, text, change=target)
    item.state, item.reason, item.done_at = row.state, row.reason, row.done_at
    return row


def _record(item: ActionItem, actor: Actor, text: str, *, change: str, **more: str) -> None:
    told = {"item": str(item.uuid), "change": change, "rule": item.rule, **more}
    timeline.record(item.incident, kind="postmortem", actor=actor, text=text, data=told)


def _proposals(incident: Incident) -> list[Proposal]:
    """What the rules ask for. Pure over the incident's rows."""
    service = incident.service.slug if incident.service else "this service"
    rows = list(Evidence.objects.filter(incident_id=incident.pk, number__isnull=False).order_by("number"))
    checks = [row for row in rows if row.kind == "check"]
    # An effect's entry cites its evidence; one that was refused changed nothing.
    refused = {row.number for row in rows if row.kind == "effect" and row.verdict == "fail"}
    providers = {row.number: row.provider for row in rows if row.kind == "effect"}
    entries = list(TimelineEntry.objects.filter(incident=incident).order_by("seq"))
    effects = [entry for entry in entries if entry.kind == "effect" and not refused.intersection(entry.evidence)]
    rollbacks = [
        entry
        for entry in effects
        if "model.rollback" in (entry.data.get("provider"), *(providers.get(number) for number in entry.evidence))
    ]
    found = [
        _late_detection(incident, service),
        _inconclusive(checks),
        _override(entries),
        _slow_rollback(rollbacks, service),
        _no_case(incident, checks, service, rolled=bool(rollbacks)),
    ]
    return [proposal for proposal in found if proposal is not None]


def _late_detection(incident: Incident, service: str) -> Proposal | None:
    delay = incident.detected_at - (incident.onset_at or incident.started_at)
    if delay <= LATE_DETECTION:
        return None
    check = f"Replaying the signal of {incident.key} rings within 5 minutes of the onset (it took {span(delay)})."
    return Proposal(
        "late_detection", f"Alert on {service} within 5 minutes of an onset like this one", "detect", 1, check
    )


def _inconclusive(checks: list[Evidence]) -> Proposal | None:
    open_ones = [row for row in checks if row.verdict in ("inconclusive", "error")]
    answered = {row.step for row in checks if row.verdict in ("pass", "fail")}
    left = [row for row in open_ones if row.step not in answered]
    if not left:
        return None
    steps = ", ".join(dict.fromkeys(row.step or row.provider for row in left))
    return Proposal(
        "inconclusive_step",
        f"Give the checks that could not tell what they need: {steps}",
        "repair",
        2,
        f"A test run of the runbook gets an answer from: {steps}.",
        [row.number for row in left if row.number],
    )


def _override(entries: list[TimelineEntry]) -> Proposal | None:
    overrides = [entry for entry in entries if entry.kind in ("answer", "approval") and entry.data.get("override")]
    if not overrides:
        return None
    steps = ", ".join(dict.fromkeys(str(entry.data.get("step") or "a rule of the runbook") for entry in overrides))
    numbers = sorted({number for entry in overrides for number in entry.evidence})
    check = "The revised rule gives the overriding verdict on this incident's evidence, or a reason says why not."
    return Proposal(
        "override", f"Revise the rule that was overridden during the response: {steps}", "process", 2, check, numbers
    )


def _slow_rollback(rollbacks: list[TimelineEntry], service: str) -> Proposal | None:
    slow = [entry for entry in rollbacks if _seconds(entry) > SLOW_ROLLBACK_SECONDS]
    if not slow:
        return None
    took = timedelta(seconds=max(_seconds(entry) for entry in slow))
    numbers = sorted({number for entry in slow for number in entry.evidence})
    check = f"A drill rolls {service} back in under 5 minutes from approval to confirmation (it took {span(took)})."
    return Proposal("slow_rollback", f"Cut the rollback of {service} to under 5 minutes", "mitigate", 1, check, numbers)


def _no_case(incident: Incident, checks: list[Evidence], service: str, *, rolled: bool) -> Proposal | None:
    failed = [row for row in checks if row.provider == "eval.compare" and row.verdict == "fail"]
    if not failed and not rolled and incident.incident_type not in ("accuracy_drop", "safety_incident"):
        return None
    # The evaluation room is not ours to read: the closing check says how to see whether cases exist already.
    check = (
        f"The evaluation set of {service} holds cases with origin {incident.key}, and the faulty version fails them."
    )
    numbers = [row.number for row in failed if row.number]
    title = f"Add the failing inputs of {incident.key} to the evaluation set of {service}"
    return Proposal("no_evaluation_case", title, "prevent", 1, check, numbers)


def _seconds(entry: TimelineEntry) -> float:
    value = entry.data.get("seconds")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
