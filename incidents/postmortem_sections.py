"""Writing in one section of a postmortem: one writer at a time by a lease, and never over words not seen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Membership, User
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Invalid, NotFound
from incidents import postmortem_text, timeline
from incidents.citations import open_questions
from incidents.models import Postmortem, PostmortemSection
from incidents.postmortem_facts import gather
from incidents.postmortem_moments import line
from incidents.postmortem_text import Section
from incidents.postmortem_versions import cleaned, keep, locked, may_write, put, store
from incidents.texts import utc

# An open editor renews it each third of this; a closed lid or a dead browser gives the section back by itself.
LEASE = timedelta(seconds=30)


def take(postmortem: Postmortem, key: str, *, actor: Actor, window: str, over: bool = False) -> PostmortemSection:
    """Begin to write in a section. Conflict while somebody else does, unless `over`: what they saved stays.

    The same person in another window goes on at once: after a crash nobody should wait for their own lease.
    """
    with transaction.atomic():
        now = clock.now()
        row = locked(postmortem)
        may_write(row, actor)
        _known(row, key)
        section = _row(row, key)
        if not over:
            _refuse_if_held(section, actor=actor, now=now)
        changed = section.writer_id != actor.user_id or section.window != window or not _is_held(section, now)
        if section.writer_id != actor.user_id:
            # What the one before has saved is a version, so that it can be told apart from what comes now.
            keep(row)
        section.since = now if changed or section.since is None else section.since
        section.writer, section.window, section.until = actor.user, window[:40], now + LEASE
        section.save(update_fields=["writer", "window", "since", "until"])
        if changed:
            store(row)
    return section


def renew(postmortem: Postmortem, key: str, *, actor: Actor, window: str) -> PostmortemSection:
    """Say that the writer is still there; Conflict when somebody else, or another window, has gone on with it."""
    with transaction.atomic():
        now = clock.now()
        section = PostmortemSection.objects.select_for_update().filter(postmortem=postmortem, key=key).first()
        if section is None or section.writer_id != actor.user_id or section.window != window:
            raise _taken(section, actor)
        section.until = now + LEASE
        section.save(update_fields=["until"])
    return section


def leave(postmortem: Postmortem, key: str, *, actor: Actor, window: str) -> None:
    """Stop writing: the section is free, and what was saved becomes a version."""
    with transaction.atomic():
        row = locked(postmortem)
        mine = row.sections.filter(key=key, writer=actor.user, window=window)
        mine.update(writer=None, window="", since=None, until=None)
        if row.saved_by == actor.label[:120] and keep(row):
            _note_edit(row, key, actor)
        store(row)


def write(postmortem: Postmortem, key: str, *, text: str, was: str, actor: Actor, window: str = "") -> Section:
    """Store a section's text that began from the text named by the fingerprint `was`; gives what is stored.

    Conflict (with `current` and its `fingerprint`) when the section says something else by now, or when somebody else
    writes in it. Saving also begins or renews the writer's lease.
    """
    with transaction.atomic():
        now = clock.now()
        row = locked(postmortem)
        may_write(row, actor)
        _known(row, key)
        document = postmortem_text.parse(row.body)
        current = document.text_of(key)
        text = cleaned(postmortem_text.demoted(text.replace("\r\n", "\n")))
        section = _row(row, key)
        extra = {"current": current, "fingerprint": postmortem_text.fingerprint(current)}
        _refuse_if_held(section, actor=actor, now=now, **extra)
        if text == current:
            return Section(key, postmortem_text.SECTIONS.get(key, key), text)
        if postmortem_text.fingerprint(current) != was:
            raise Conflict(
                f"{row.saved_by or 'Somebody'} changed this section while you were writing.",
                fix="Both texts are kept: compare them, then save yours or put it below.",
                **extra,
            )
        is_version = put(
            row, document.with_text(key, text).render(), author=actor.label, now=now, as_version=not window
        )
        if window:
            section.since = section.since if _is_held(section, now) else now
            section.writer, section.window, section.until = actor.user, window[:40], now + LEASE
            section.save(update_fields=["writer", "window", "since", "until"])
        if is_version:
            _note_edit(row, key, actor)
        stored = postmortem_text.parse(row.body).find(key)
    return stored or Section(key, postmortem_text.SECTIONS.get(key, key), "")


def add_moment(postmortem: Postmortem, seq: int, *, actor: Actor) -> Postmortem:
    """Put one more entry of the incident's timeline into the section, where it belongs in time."""
    with transaction.atomic():
        now = clock.now()
        row = locked(postmortem)
        may_write(row, actor)
        require_free(row, "timeline", actor=actor, now=now)
        facts = gather(row.incident)
        entry = next((one for one in facts.entries if one.seq == seq), None)
        if entry is None:
            raise NotFound(f"{row.incident.key} has no entry {seq}.", fix="Choose one of its timeline.")
        document = postmortem_text.parse(row.body)
        text = document.text_of("timeline")
        if f"[T{seq}]" in text:
            raise Conflict("This entry is in the timeline already.")
        order = {f"[T{one.seq}]": place for place, one in enumerate(facts.entries)}
        found = [f"- {line(facts, entry)}\n"]
        parts = postmortem_text.blocks(text)
        later = [
            at
            for at, block in enumerate(parts)
            if any(mark in block and place > order[f"[T{seq}]"] for mark, place in order.items())
        ]
        at = later[0] if later else len(parts)
        parts = [part if part.endswith("\n") else f"{part}\n" for part in parts]
        body = document.with_text("timeline", "".join([*parts[:at], *found, *parts[at:]])).render()
        put(row, body, author=actor.label, now=now, as_version=True)
        _note_edit(row, "timeline", actor)
    return row


def answer_for(postmortem: Postmortem, key: str, *, owner: User | None, actor: Actor) -> None:
    """Say who answers for a section (None: nobody in particular)."""
    with transaction.atomic():
        row = locked(postmortem)
        may_write(row, actor)
        _known(row, key)
        _member(row, owner)
        section = _row(row, key)
        section.owner = owner
        section.save(update_fields=["owner"])
        store(row)


def see_to(postmortem: Postmortem, check: str, *, person: User | None, actor: Actor) -> None:
    """Say who sees to an entry of the checklist (None: nobody in particular)."""
    with transaction.atomic():
        row = locked(postmortem)
        may_write(row, actor)
        _member(row, person)
        row.assigned.pop(check[:200], None)
        if person is not None:
            row.assigned[check[:200]] = person.username
        store(row, "assigned")


def held(row: Postmortem, *, now: datetime) -> list[str]:
    """Keys of the sections that somebody is writing in."""
    return list(row.sections.filter(until__gt=now, writer__isnull=False).values_list("key", flat=True))


def require_free(row: Postmortem, key: str, *, actor: Actor, now: datetime) -> None:
    """Nothing, or Conflict while somebody else writes in the section."""
    section = row.sections.select_related("writer").filter(key=key).first()
    if section is not None:
        _refuse_if_held(section, actor=actor, now=now)


def _refuse_if_held(section: PostmortemSection, *, actor: Actor, now: datetime, **extra: str) -> None:
    if _is_held(section, now) and section.writer_id != actor.user_id and section.writer is not None:
        raise Conflict(
            f"{section.writer.label} is writing in this section since {utc(section.since, '%H:%M UTC')}.",
            fix="Wait until they leave it, or take it over: what they have saved stays.",
            writer=section.writer.label,
            **extra,
        )


def _taken(section: PostmortemSection | None, actor: Actor) -> Conflict:
    who = section.writer if section else None
    if who is None:
        return Conflict("You are not writing in this section any more.", fix="Open it again to go on.")
    where = "in another window" if who.pk == actor.user_id else "now"
    return Conflict(
        f"{who.label if who.pk != actor.user_id else 'You'} went on with this section {where}.",
        fix="What you typed here is kept on this device; open the section again to compare.",
        writer=who.label,
    )


def _is_held(section: PostmortemSection, now: datetime) -> bool:
    return section.until is not None and section.until > now and section.writer_id is not None


def _row(row: Postmortem, key: str) -> PostmortemSection:
    return PostmortemSection.objects.select_related("writer").get_or_create(postmortem=row, key=key)[0]


def _known(row: Postmortem, key: str) -> None:
    if key not in postmortem_text.SECTIONS and postmortem_text.parse(row.body).find(key) is None:
        raise NotFound("This postmortem has no such section.", fix="Choose one of those on its page.")


def _member(row: Postmortem, user: User | None) -> None:
    if user is None:
        return
    if not user.is_active or not Membership.objects.filter(user=user, team=row.incident.team).exists():
        raise Invalid(
            f"It must be an active member of team {row.incident.team.slug}.",
            fields={"owner": "Choose a member of the team."},
        )


def _note_edit(row: Postmortem, key: str, actor: Actor) -> None:
    title = postmortem_text.SECTIONS.get(key, key)
    told = {"change": "edited", "edition": row.edition, "section": key}
    text = f"Postmortem edited: {title} (edition {row.edition})."
    timeline.record(row.incident, kind="postmortem", actor=actor, text=text, data=told)


def data(row: Postmortem) -> list[dict[str, Any]]:
    """All sections of the contract and people's own, in their order, as the API and exports give them."""
    document, drafted = postmortem_text.parse(row.body), postmortem_text.machine_blocks(row.drafted_body)
    kept = {section.key: section for section in row.sections.select_related("owner", "writer")}
    offers = list(row.offers.filter(state="open"))
    now, found = clock.now(), []
    for section in postmortem_text.listed(document):
        known, asked = kept.get(section.key), len(open_questions(section.text))
        writes = known is not None and known.writer is not None and _is_held(known, now)
        found.append(
            {
                "key": section.key,
                "title": section.title,
                "state": "asks" if asked else "filled" if section.text else "empty",
                "owner": known.owner.username if known and known.owner else None,
                "writer": known.writer.username if known and known.writer and writes else None,
                "questions": asked,
                "fingerprint": section.fingerprint,
                "text": section.text,
                "blocks": [
                    {
                        "text": piece.text.strip(),
                        "provenance": "edited" if piece.author else "evidence",
                        "author": piece.author or None,
                        "at": piece.at or None,
                    }
                    for piece in postmortem_text.pieces(section.text, drafted=drafted, authors=row.authors)
                ],
                "offers": [offer.text for offer in offers if offer.section == section.key],
            }
        )
    return found


def may_edit(row: Postmortem, actor: Actor) -> bool:
    """Whether the actor could write in it now: decides what is shown, never what is done."""
    if row.state == "closed":
        return False
    needed = Permission.PUBLISH_POSTMORTEM if row.state in ("approved", "published") else Permission.EDIT_POSTMORTEM
    return permissions.can(actor, needed, row.incident.team)
