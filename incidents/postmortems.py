"""The postmortem of an incident: its 48-hour clock, its draft, its editions and its way to being published."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.models import Membership, User
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Invalid, NotFound
from incidents import action_items, notices, postmortem_checks, postmortem_offers, timeline
from incidents.citations import unsupported_sentences
from incidents.models import ActionItem, Incident, Postmortem
from incidents.ownership import owner_of
from incidents.postmortem_draft import compile_draft
from incidents.postmortem_facts import gather
from incidents.postmortem_versions import BODY_LENGTH, cleaned, is_edited, keep, locked, may_write, put, store
from incidents.texts import span, utc

__all__ = [
    "BODY_LENGTH",
    "assign",
    "check_clocks",
    "draft",
    "review_by",
    "save",
    "set_state",
    "start_clock",
    "stop_clock",
    "unsupported_sentences",
]

# Our rule, stricter than published practice (three calendar days for the highest severity).
DUE_AFTER = timedelta(hours=48)
TELL_AT_HOURS = (24, 44, 48)
# The clock stops when the text is handed in for review.
CLOCK_STATES = ("due", "draft")
SETTLED_STATES = ("published", "closed")
MOVES = {
    "due": {"draft"},
    "draft": {"in_review"},
    "in_review": {"draft", "approved"},
    "approved": {"draft", "published"},
    "published": {"closed"},
    "closed": set[str](),
}


def start_clock(incident: Incident, *, now: datetime) -> Postmortem:
    """Start the 48 hours at mitigation; the owner is told at 24, 44 and 48 h. A clock that runs goes on as it is.

    What came before the mitigation does not count: neither an early draft nor the hours before a reopening.
    """
    with transaction.atomic():
        found, new = _begun(incident, now)
        row = locked(found)
        mitigated = row.incident.mitigated_at
        is_old = mitigated is not None and row.clock_started_at < mitigated and row.state not in SETTLED_STATES
        if new or is_old:
            row.clock_started_at, row.due_at, row.told_hours = now, now + DUE_AFTER, []
            store(row, "clock_started_at", "due_at", "told_hours")
            text = f"Postmortem due {utc(row.due_at)}. Owner: {_owner_label(row)}."
            told = {"change": "clock_started", "due_at": row.due_at.isoformat()}
            timeline.record(incident, kind="postmortem", actor=ENGINE, text=text, data=told)
    return row


def stop_clock(incident: Incident) -> None:
    """Write down that the 48 hours are off: the incident is open again, and its clock waits for the next mitigation."""
    if Postmortem.objects.filter(incident=incident).exclude(state__in=SETTLED_STATES).exists():
        text = "The postmortem's 48 hours are off until the next mitigation."
        timeline.record(incident, kind="postmortem", actor=ENGINE, text=text, data={"change": "clock_stopped"})


def draft(incident: Incident, *, actor: Actor, regenerate: bool = False) -> Postmortem:
    """Write the draft from the timeline and the evidence, with the action items that the rules propose.

    A text that somebody has edited is Conflict unless `regenerate`, and then it is not replaced either: what nobody
    touched follows the evidence, and where a person wrote the new words are offered (PostmortemOffer).
    """
    if actor.user is not None:
        permissions.require(actor, Permission.EDIT_POSTMORTEM, incident.team)
    with transaction.atomic():
        now = clock.now()
        postmortem = start_clock(incident, now=now) if incident.mitigated_at else locked(_begun(incident, now)[0])
        if postmortem.state not in (*CLOCK_STATES, "in_review"):
            raise Conflict(f"This postmortem is {postmortem.get_state_display()}; its text is settled.")
        if is_edited(postmortem) and not regenerate:
            raise Conflict(
                "The text was edited by hand since it was drafted.",
                fix="Ask for new evidence (regenerate): edited words stay, and new ones are offered beside them.",
                current=postmortem.body,
                edition=postmortem.edition,
            )
        action_items.propose(incident, now=now)
        compiled = compile_draft(gather(incident))
        offered = postmortem_offers.bring_in(postmortem, compiled.body, now=now)
        postmortem.whys = [dict(level) for level in compiled.whys]
        postmortem.drafted_at = now
        if postmortem.state == "due":
            postmortem.state = "draft"
        store(postmortem, "whys", "drafted_at", "state", "drafted_body")
        text = f"Postmortem drafted from the timeline (edition {postmortem.edition})."
        if offered:
            text += f" New evidence is offered beside edited words in {offered} places."
        told = {"change": "drafted", "edition": postmortem.edition, "offers": offered}
        timeline.record(incident, kind="postmortem", actor=actor, text=text, data=told)
    return postmortem


def save(postmortem: Postmortem, *, body: str, edition: int, actor: Actor, what: str = "edited") -> Postmortem:
    """Store an edited text that was made from `edition`; Conflict with the current text when that is not the newest."""
    body = cleaned(body)
    with transaction.atomic():
        row = locked(postmortem)
        if actor.user is not None:
            permissions.require(actor, Permission.EDIT_POSTMORTEM, row.incident.team)
        if row.edition != edition:
            raise Conflict(
                f"{row.saved_by or 'Somebody'} saved edition {row.edition} while you were editing edition {edition}.",
                fix="Your text is kept in the form: compare, then save again.",
                current=row.body,
                edition=row.edition,
            )
        may_write(row, actor)
        if body.strip() == row.body.strip():
            return row
        put(row, body, author=actor.label, now=clock.now(), as_version=True)
        text, told = f"Postmortem {what} (edition {row.edition}).", {"change": "edited", "edition": row.edition}
        timeline.record(row.incident, kind="postmortem", actor=actor, text=text, data=told)
    return row


def set_state(postmortem: Postmortem, state: str, *, actor: Actor, reason: str = "") -> Postmortem:
    """Move it on: draft, in_review, approved, published, closed; or back to draft.

    Review needs a text without blocking findings, or a reason. Approval is not the owner's own to give; where one
    person may do all (BACKSTOP_TWO_PERSON=off) it is noted. Closing needs every action item done or declined.
    """
    incident = postmortem.incident
    if actor.user is not None:
        high = state in ("approved", "published", "closed")
        permissions.require(actor, Permission.PUBLISH_POSTMORTEM if high else Permission.EDIT_POSTMORTEM, incident.team)
    with transaction.atomic():
        row = locked(postmortem)
        if state not in MOVES[row.state]:
            allowed = ", ".join(sorted(MOVES[row.state])) or "nowhere"
            raise Conflict(
                f"This postmortem is {row.get_state_display()}; from here it goes to: {allowed}.", state=row.state
            )
        now, told = clock.now(), {"change": state, "from": row.state, "reason": reason[:500]}
        note = _guard(row, state, actor=actor, reason=reason)
        keep(row)
        if note:
            told["override"] = note
        row.state = state
        if state == "published":
            row.published_at = now
        store(row, "state", "published_at")
        text = f"Postmortem {row.get_state_display()}." + (f" {note}" if note else "")
        text += f" Reason: {reason[:500]}" if reason else ""
        timeline.record(incident, kind="postmortem", actor=actor, text=text, data=told)
    return row


def assign(postmortem: Postmortem, *, owner: User, actor: Actor) -> Postmortem:
    """Give it to another person of the team."""
    incident = postmortem.incident
    if actor.user is not None:
        permissions.require(actor, Permission.EDIT_POSTMORTEM, incident.team)
    _member(owner, postmortem, "owner")
    with transaction.atomic():
        row = locked(postmortem)
        if row.owner_id == owner.pk:
            return row
        before = _owner_label(row)
        row.owner = owner
        store(row, "owner")
        text = f"Postmortem given to {owner.label}, before: {before}."
        told = {"change": "assigned", "owner": owner.username}
        timeline.record(incident, kind="postmortem", actor=actor, text=text, data=told)
    return row


def review_by(postmortem: Postmortem, *, reviewer: User | None, actor: Actor) -> Postmortem:
    """Say who reviews it (None: nobody yet): a member of the team, and not its owner where two people are meant."""
    incident = postmortem.incident
    if actor.user is not None:
        permissions.require(actor, Permission.EDIT_POSTMORTEM, incident.team)
    with transaction.atomic():
        row = locked(postmortem)
        if reviewer is not None:
            _member(reviewer, row, "reviewer")
            if reviewer.pk == row.owner_id and settings.BACKSTOP.two_person_on:
                raise Invalid("The owner does not review their own text.", fields={"reviewer": "Choose somebody else."})
        if row.reviewer_id == (reviewer.pk if reviewer else None):
            return row
        row.reviewer = reviewer
        store(row, "reviewer")
        text = f"Postmortem to be reviewed by {reviewer.label}." if reviewer else "Postmortem has no reviewer now."
        told = {"change": "reviewer", "reviewer": reviewer.username if reviewer else ""}
        timeline.record(incident, kind="postmortem", actor=actor, text=text, data=told)
    return row


def running_clocks() -> QuerySet[Postmortem]:
    """Postmortems whose 48 hours run, late ones too: after mitigation, until the review, and never of an exercise."""
    return Postmortem.objects.filter(
        state__in=CLOCK_STATES, incident__is_drill=False, incident__mitigated_at__isnull=False
    )


def check_clocks(now: datetime) -> list[Postmortem]:
    """Tell owners whose clocks have run 24, 44 or 48 hours, each hour once; at 48 the team hears it too.

    After a long standstill only the latest hour is told. Drills run no clock, nor does what
    users still feel. Gives the postmortems told of.
    """
    told = []
    begun = now - timedelta(hours=TELL_AT_HOURS[0])
    for postmortem in running_clocks().filter(clock_started_at__lte=begun).select_related("incident", "owner"):
        if TELL_AT_HOURS[-1] in postmortem.told_hours:
            continue
        with transaction.atomic():
            row = locked(postmortem)
            passed = [hour for hour in TELL_AT_HOURS if now >= row.clock_started_at + timedelta(hours=hour)]
            runs = row.due is not None and row.state in CLOCK_STATES
            if not runs or not passed or passed[-1] in row.told_hours:
                continue
            row.told_hours = passed
            store(row, "told_hours")
            _tell_of_clock(row, passed[-1], now)
            told.append(row)
    return told


def of_incident(incident: Incident) -> Postmortem:
    """The postmortem of an incident; NotFound before its clock has started."""
    found = Postmortem.objects.filter(incident=incident).select_related("incident", "owner").first()
    if found is None:
        raise NotFound(f"{incident.key} has no postmortem yet.", fix="It begins at mitigation, or with a first draft.")
    return found


def _begun(incident: Incident, now: datetime) -> tuple[Postmortem, bool]:
    """The postmortem of an incident, and whether it was made by this."""
    defaults = {"owner": owner_of(incident), "clock_started_at": now, "due_at": now + DUE_AFTER}
    return Postmortem.objects.get_or_create(incident=incident, defaults=defaults)


def _guard(row: Postmortem, state: str, *, actor: Actor, reason: str) -> str:
    """Conflict when the move is not allowed yet; else what must be noted about it."""
    if state == "in_review":
        if not row.body.strip():
            raise Conflict("There is no text to review yet.", fix="Draft it first.")
        found = postmortem_checks.blocking(postmortem_checks.checks(row))
        if found and not reason.strip():
            raise Conflict(
                f"{len(found)} finding{'s' if len(found) > 1 else ''} to go before review: {found[0].message}",
                fix="Change the text, or hand it in with a reason.",
                findings=[one.data() for one in found],
            )
        return f"Handed in with {len(found)} open findings." if found else ""
    if state == "approved" and actor.user is not None and row.owner_id == actor.user.pk:
        if settings.BACKSTOP.two_person_on:
            raise Conflict("The owner cannot approve their own postmortem.", fix="Ask another approver of the team.")
        return "Approved by its owner (one-person mode)."
    if state == "closed":
        left = ActionItem.objects.filter(incident=row.incident, state__in=action_items.OPEN_STATES).count()
        if left:
            raise Conflict(
                f"{left} action items are still open.", fix="Complete or decline them, each with its reason."
            )
    return ""


def _member(user: User, row: Postmortem, field: str) -> None:
    team = row.incident.team
    if not user.is_active or not Membership.objects.filter(user=user, team=team).exists():
        raise Invalid(
            f"The {field} must be an active member of team {team.slug}.",
            fields={field: "Choose a member of the team."},
        )


def _owner_label(row: Postmortem) -> str:
    return row.owner.label if row.owner else "nobody yet"


def _tell_of_clock(row: Postmortem, hour: int, now: datetime) -> None:
    incident, left = row.incident, row.due_at - now
    what = f"postmortem due in {span(left)}" if left.total_seconds() > 0 else "postmortem overdue"
    kind = f"postmortem_{hour}"
    notices.tell(
        team=incident.team,
        kind=kind,
        key=f"{incident.key}:{row.clock_started_at.isoformat()}",
        subject=notices.subject(incident, what=what, asks="a reviewed text" if row.body else "a draft"),
        body=notices.body(kind, incident=incident, postmortem=row, owner=_owner_label(row), left=left),
        link=f"/postmortems/{incident.number}",
        incident=incident,
        users=[row.owner] if row.owner else [],
        # Without an owner the team is the only one who can hear it.
        to_team=hour == TELL_AT_HOURS[-1] or row.owner is None,
        since=row.clock_started_at + timedelta(hours=hour),
    )
