"""The verbs that move an incident. Only here its state changes, always together with its timeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NoReturn

from django.conf import settings
from django.db import connection, transaction

from catalog import permissions
from catalog.actors import ALERT, ENGINE, Actor
from catalog.models import Service, Team
from catalog.permissions import Permission
from common import clock, statements
from common.errors import Conflict, Forbidden, Invalid
from common.statements import Written
from incidents import notices, postmortems, timeline
from incidents.locking import locked
from incidents.models import Alert, Gate, Incident, Postmortem, TimelineEntry

# Which verb may be used in which states. A closed incident is a record: its sequel is a new incident.
TRANSITIONS: dict[str, frozenset[str]] = {
    "acknowledge": frozenset({"open"}),
    "mitigate": frozenset({"open", "acknowledged"}),
    "resolve": frozenset({"open", "acknowledged", "mitigated"}),
    "reopen": frozenset({"mitigated", "resolved"}),
    "close": frozenset({"resolved"}),
}
SEVERITY_WORDS = dict(Incident.SEVERITIES)
_TYPES = dict(Incident.TYPES)
# Any constant will do: transactions that open incidents queue here, so that numbers have no gaps and no clashes.
_NUMBERS_LOCK = 4_242_001


def declare(
    *,
    team: Team,
    title: str,
    severity: int,
    actor: Actor,
    service: Service | None = None,
    summary: str = "",
    incident_type: str = "other",
    started_at: datetime | None = None,
    group_key: str | None = None,
    is_drill: bool = False,
    unrouted: bool = False,
    came_at: datetime | None = None,
) -> Incident:
    """Open an incident, write it down and tell the team.

    Without a `group_key` it collects the service's alerts if no other open incident does, else no alerts. `came_at` is
    when the news of it came in, if it was read only now. Raises Conflict when an open incident of the team already has
    the given key.
    """
    _may(actor, Permission.RESPOND, team)
    title = " ".join(title.split())
    if not title:
        raise Invalid("An incident needs a title.", fields={"title": "what is wrong, in one line"})
    _check_severity(severity)
    if incident_type not in _TYPES:
        raise Invalid(f"There is no incident type {incident_type[:40]!r}.", fix=f"Known: {', '.join(_TYPES)}.")
    _check_service(service, team)
    if started_at is not None and started_at > clock.now():
        raise Invalid("An incident cannot start in the future.", fields={"started_at": "now or earlier"})
    # All of it or nothing: what fails in here fails the caller's transaction too.
    with transaction.atomic(savepoint=False):
        lock_numbers()
        now = clock.now()
        number = (_last_number.first() or 0) + 1
        incident = Incident(
            number=number,
            team=team,
            service=service,
            unrouted=unrouted,
            title=title[:500],
            summary=summary,
            incident_type=incident_type,
            severity=severity,
            group_key=_group_key(team, service, group_key, is_drill=is_drill, number=number),
            is_drill=is_drill,
            declared_by=actor.label[:120],
            started_at=started_at or now,
            detected_at=now,
        )
        statements.insert(incident)
        text = _opened_text(incident, actor)
        timeline.record(incident, kind="state", actor=actor, text=text, data={"to": "open"}, pinned=True, now=now)
        notices.tell(
            team=team,
            kind="opened",
            key=f"{incident.key}:opened",
            subject=notices.subject(incident, what=incident.title),
            body=notices.body("opened", incident=incident, where=f"{_declared(actor).rstrip(':')}."),
            link=f"{settings.BASE_URL}/incidents/{number}",
            incident=incident,
            since=came_at,
            now=now,
        )
    return incident


def lock_numbers() -> None:
    """Let one transaction at a time open incidents; held until it ends. SQLite's writers are one at a time anyway."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_NUMBERS_LOCK])


def acknowledge(incident: Incident, *, actor: Actor) -> Incident:
    """Somebody is on it; the first one leads it, unless somebody leads already."""

    def change(row: Incident, now: datetime) -> str:
        row.state, row.acknowledged_at, row.acknowledged_by = "acknowledged", now, actor.label[:120]
        if row.commander_id is None:
            row.commander = actor.user
        return f"{actor.label} acknowledged the incident{_leads(row, actor)}."

    return _move(incident, "acknowledge", actor, change)


def take_over(incident: Incident, *, actor: Actor) -> Incident:
    """Lead it from now on; an open incident is thereby acknowledged."""
    if actor.user is None:
        raise Forbidden("Only a person can lead an incident.", fix="Sign in and take it over yourself.")
    with transaction.atomic():
        row = locked(incident, actor)
        if not row.is_open:
            _refuse(row, "taken over")
        if row.commander_id == actor.user_id and row.state != "open":
            raise Conflict(f"You already lead {row.key}.")
        before, was = row.commander, row.state
        row.commander = actor.user
        if row.state == "open":
            row.state, row.acknowledged_at, row.acknowledged_by = "acknowledged", clock.now(), actor.label[:120]
        row.save(update_fields=["commander", "state", "acknowledged_at", "acknowledged_by"])
        after = f" from {before.label}" if before is not None and before.pk != actor.user_id else ""
        text = f"{actor.label} took over the incident{after}."
        timeline.record(row, kind="state", actor=actor, text=text, data=_data(row, was), pinned=True)
    return _handed_back(incident, row)


def mitigate(incident: Incident, *, actor: Actor, note: str = "") -> Incident:
    """Users no longer feel it. Starts the postmortem's clock."""

    def change(row: Incident, now: datetime) -> str:
        row.state, row.mitigated_at = "mitigated", now
        return f"{actor.label} marked the incident as mitigated: users no longer feel it.{_with(note)}"

    return _move(incident, "mitigate", actor, change, after=_start_clock)


def resolve(incident: Incident, *, actor: Actor, note: str = "") -> Incident:
    """The cause is dealt with. Refused while a gate that blocks it is unanswered; without an earlier mitigation it
    counts as that too, so that the postmortem's clock starts."""

    def change(row: Incident, now: datetime) -> str:
        _check_gates(row, ["resolve"], "resolved")
        row.state, row.resolved_at = "resolved", now
        row.mitigated_at = row.mitigated_at or now
        firing = row.alerts.filter(status__in=["firing", "acknowledged"]).count()
        still = f" {_count(firing, 'alert')} still {'fires' if firing == 1 else 'fire'}." if firing else ""
        return f"{actor.label} resolved the incident.{_with(note)}{still}"

    return _move(incident, "resolve", actor, change, after=_start_clock)


def reopen(incident: Incident, *, actor: Actor, reason: str) -> Incident:
    """It was not over. Back to acknowledged if somebody had acknowledged it, else to open.

    The postmortem's clock starts anew at the next mitigation.
    """
    _required(reason, "A reason is needed to reopen an incident.", "reason")

    def change(row: Incident, now: datetime) -> str:
        was = row.state
        row.state = "acknowledged" if row.acknowledged_at else "open"
        row.mitigated_at = row.resolved_at = None
        holder = _open_with_key(row.team_id, row.group_key, but=row.pk) if was == "resolved" else None
        if holder is not None:
            row.group_key = f"reopened:{row.number}"
        beside = f" {holder.key} is open for the same alerts and keeps collecting them." if holder else ""
        return f"{actor.label} reopened the incident: {reason.strip()}{_stop(reason)}{beside}"

    return _move(incident, "reopen", actor, change, after=_stop_clock)


def close(incident: Incident, *, actor: Actor, reason: str = "") -> Incident:
    """Nothing is left to do. Needs a published postmortem or a reason for having none, and every gate answered."""

    def change(row: Incident, now: datetime) -> str:
        _check_gates(row, ["resolve", "close"], "closed")
        published = Postmortem.objects.filter(incident=row, state__in=["published", "closed"]).exists()
        if not published and not reason.strip():
            raise Conflict(
                f"{row.key} has no published postmortem yet.",
                fix="Publish the postmortem, or close with a reason why none is needed.",
            )
        row.state, row.closed_at = "closed", now
        why = "." if published else f" without a postmortem: {reason.strip()}{_stop(reason)}"
        return f"{actor.label} closed the incident{why}"

    return _move(incident, "close", actor, change)


def set_severity(incident: Incident, *, severity: int, actor: Actor, reason: str = "") -> Incident:
    """Say how bad it is, 1 (critical) to 4 (low)."""
    _check_severity(severity)
    with transaction.atomic():
        row = locked(incident, actor)
        if row.severity == severity:
            raise Conflict(f"{row.key} already is SEV{severity}.")
        was, row.severity = row.severity, severity
        row.save(update_fields=["severity"])
        verb = "raised" if severity < was else "lowered"
        text = f"{actor.label} {verb} the severity from SEV{was} to SEV{severity} ({SEVERITY_WORDS[severity]})."
        data = {"severity": severity, "severity_was": was}
        timeline.record(row, kind="state", actor=actor, text=text + _with(reason), data=data, pinned=True)
    return _handed_back(incident, row)


def bind_service(incident: Incident, *, service: Service, actor: Actor) -> Incident:
    """Say which service it is about; its alerts without a known service follow. It keeps collecting the same alerts."""
    _check_service(service, incident.team)
    with transaction.atomic():
        # Intake locks alerts before incidents, in this order; so do we.
        alerts = list(
            Alert.objects.select_for_update().filter(incident_id=incident.pk, service=None).order_by("dedup_key", "pk")
        )
        row = locked(incident, actor)
        if row.service_id == service.pk:
            raise Conflict(f"{row.key} already is about {service.slug}.")
        was, row.service, row.unrouted = row.service, service, False
        row.save(update_fields=["service", "unrouted"])
        Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).update(service=service)
        instead = f" instead of {was.slug}" if was else ""
        text = f"{actor.label} bound the incident to the service {service.slug}{instead}."
        timeline.record(row, kind="state", actor=actor, text=text, data={"service": service.slug}, pinned=True)
    return _handed_back(incident, row)


def add_note(incident: Incident, *, text: str, actor: Actor, at: datetime | None = None) -> TimelineEntry:
    """Write something down (Markdown), now or for an earlier moment; possible in every state."""
    _may(actor, Permission.RESPOND, incident.team)
    _required(text, "A note needs a text.", "text")
    if len(text) > 20_000:
        raise Invalid("A note has at most 20,000 characters.", fields={"text": f"{len(text)} characters"})
    if at is not None and at > clock.now():
        raise Invalid("A note cannot be about the future.", fields={"at": "now or earlier"})
    return timeline.record(incident, kind="note", actor=actor, text=text.strip(), at=at)


def set_times(incident: Incident, *, actor: Actor, reason: str, started_at: datetime) -> Incident:
    """Correct when users began to feel it; the reason and the old time stay on the timeline."""
    _required(reason, "A reason is needed to change the start.", "reason")
    with transaction.atomic():
        row = locked(incident, actor)
        if started_at > clock.now():
            raise Invalid("An incident cannot start in the future.", fields={"started_at": "now or earlier"})
        was, row.started_at = row.started_at, started_at
        row.save(update_fields=["started_at"])
        text = (
            f"{actor.label} set the start to {started_at:%Y-%m-%d %H:%M} UTC (was {was:%Y-%m-%d %H:%M} UTC): "
            f"{reason.strip()}{_stop(reason)}"
        )
        data = {"started_at": started_at.isoformat(), "started_at_was": was.isoformat()}
        timeline.record(row, kind="state", actor=actor, text=text, data=data)
    return _handed_back(incident, row)


def open_gate(incident: Incident, *, key: str, title: str, blocks: str) -> Gate:
    """Ask for an answer before the incident may be resolved or closed. The same key again is the same gate."""
    if blocks not in ("resolve", "close"):
        raise ValueError(f"a gate blocks resolve or close, not {blocks!r}")
    with transaction.atomic():
        row = Incident.objects.select_for_update().get(pk=incident.pk)
        gate, created = Gate.objects.get_or_create(
            incident=row, key=key[:120], defaults={"title": title[:300], "blocks": blocks, "opened_at": clock.now()}
        )
        if created:
            text = f"Before the incident is {blocks}d, somebody must answer: {title}"
            timeline.record(row, kind="gate", actor=ENGINE, text=text, data={"gate": gate.key, "blocks": blocks})
    _handed_back(incident, row)
    return gate


def answer_gate(gate: Gate, *, answer: str, actor: Actor) -> Gate:
    """Answer a gate, once."""
    _required(answer, "A gate needs an answer.", "answer")
    with transaction.atomic():
        row = locked(gate.incident, actor)
        fresh = Gate.objects.select_for_update().get(pk=gate.pk)
        if fresh.answered_at is not None:
            raise Conflict(f"{fresh.answered_by} answered it at {fresh.answered_at:%H:%M} UTC: {fresh.answer}")
        fresh.answered_at, fresh.answered_by, fresh.answer = clock.now(), actor.label[:120], answer.strip()
        fresh.save(update_fields=["answered_at", "answered_by", "answer"])
        text = f"{actor.label} answered “{fresh.title}”: {fresh.answer}"
        timeline.record(row, kind="gate", actor=actor, text=text, data={"gate": fresh.key})
    gate.answered_at, gate.answered_by, gate.answer = fresh.answered_at, fresh.answered_by, fresh.answer
    return gate


def _move(
    incident: Incident,
    verb: str,
    actor: Actor,
    change: Callable[[Incident, datetime], str],
    *,
    after: Callable[[Incident, datetime], None] | None = None,
) -> Incident:
    """Lock, check the table, change, write it down; `change` sets the fields and gives the sentence."""
    with transaction.atomic():
        row = locked(incident, actor)
        if row.state not in TRANSITIONS[verb]:
            _refuse(row, _PARTICIPLES[verb])
        was, now = row.state, clock.now()
        text = change(row, now)
        row.save(
            update_fields=[
                "state",
                "group_key",
                "commander",
                "acknowledged_at",
                "acknowledged_by",
                "mitigated_at",
                "resolved_at",
                "closed_at",
            ]
        )
        timeline.record(row, kind="state", actor=actor, text=text, data=_data(row, was), pinned=True)
        if after is not None:
            after(row, now)
    return _handed_back(incident, row)


_PARTICIPLES = {
    "acknowledge": "acknowledged",
    "mitigate": "mitigated",
    "resolve": "resolved",
    "reopen": "reopened",
    "close": "closed",
}


def _refuse(row: Incident, wanted: str) -> NoReturn:
    """Conflict that says what the state is and who made it so: it may be just what was wanted."""
    moves = TimelineEntry.objects.filter(incident=row, kind="state").order_by("-seq")[:50]
    last = next((entry for entry in moves if entry.data.get("to") == row.state), None)
    who = f" {last.actor} made it so at {last.at:%H:%M} UTC." if last else ""
    if row.state == "acknowledged" and row.acknowledged_at:
        who = f" {row.acknowledged_by} acknowledged it at {row.acknowledged_at:%H:%M} UTC."
    fix = "Declare a new incident if it is back." if row.state == "closed" else ""
    how = "already" if row.state == wanted else "now"
    raise Conflict(
        f"{row.key} cannot be {wanted}: it is {how} {row.state}.{who}",
        fix=fix,
        state=row.state,
        by=last.actor if last else "",
    )


def _handed_back(incident: Incident, row: Incident) -> Incident:
    """The caller's object is brought up to date, so that what it shows next is the present state."""
    for column in Incident._meta.concrete_fields:
        setattr(incident, column.attname, getattr(row, column.attname))
    return incident


def _data(row: Incident, was: str) -> dict[str, str]:
    return {"from": was, "to": row.state}


def _start_clock(row: Incident, now: datetime) -> None:
    postmortems.start_clock(row, now=now)


def _stop_clock(row: Incident, now: datetime) -> None:
    postmortems.stop_clock(row)


_last_number = Written(lambda: Incident.objects.order_by("-number").values_list("number", flat=True)[:1])
_open_of_key = Written(
    lambda team, key: Incident.objects.filter(team_id=team, group_key=key).exclude(state__in=["resolved", "closed"])
)


def _open_with_key(team_id: int, group_key: str, *, but: int | None = None) -> Incident | None:
    return next((row for row in _open_of_key(team_id, group_key) if row.pk != but), None)


def _group_key(team: Team, service: Service | None, given: str | None, *, is_drill: bool, number: int) -> str:
    if given is not None:
        holder = _open_with_key(team.pk, given[:600])
        if holder is not None:
            raise Conflict(f"{holder.key} is already open for this.", fix=f"Work on in {holder.key}.")
        return given[:600]
    if service is not None and not is_drill:
        of_service = f"service:{service.slug}"
        if _open_with_key(team.pk, of_service) is None:
            return of_service
    return f"declared:{number}"


def _check_gates(row: Incident, blocks: list[str], wanted: str) -> None:
    waiting = list(
        Gate.objects.filter(incident=row, blocks__in=blocks, answered_at=None).values_list("title", flat=True)
    )
    if waiting:
        raise Conflict(
            f"{row.key} cannot be {wanted}: {_count(len(waiting), 'question')} must be answered first: "
            + "; ".join(waiting),
            fix="Answer each on the incident's page.",
            gates=waiting,
        )


def _check_severity(severity: int) -> None:
    if severity not in SEVERITY_WORDS:
        known = ", ".join(f"{number} ({word})" for number, word in Incident.SEVERITIES)
        raise Invalid(f"There is no severity {severity!r}.", fix=f"Known: {known}.")


def _check_service(service: Service | None, team: Team) -> None:
    if service is not None and service.team_id != team.pk:
        raise Invalid(f"There is no service {service.slug!r} in team {team.slug}.", fields={"service": "unknown"})


def _opened_text(incident: Incident, actor: Actor) -> str:
    service = f"service {incident.service.slug}" if incident.service else "no known service"
    start = f"{incident.started_at:%Y-%m-%d %H:%M} UTC"
    return (
        f"{_declared(actor)} {incident.title} "
        f"(SEV{incident.severity}, {SEVERITY_WORDS[incident.severity]}; {service}; since {start})"
    )


def _declared(actor: Actor) -> str:
    return "Opened by an alert:" if actor == ALERT else f"Declared by {actor.label}:"


def _leads(row: Incident, actor: Actor) -> str:
    return " and leads it" if actor.user_id is not None and row.commander_id == actor.user_id else ""


def _with(note: str) -> str:
    return f" {note.strip()}{_stop(note)}" if note.strip() else ""


def _stop(sentence: str) -> str:
    """A full stop where a person's sentence has none."""
    return "" if sentence.strip().endswith((".", "!", "?", "…")) else "."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _required(value: str, sentence: str, name: str) -> None:
    if not value.strip():
        raise Invalid(sentence, fields={name: "required"})


def _may(actor: Actor, permission: Permission, team: Team) -> None:
    if actor.user is not None:
        permissions.require(actor, permission, team)
