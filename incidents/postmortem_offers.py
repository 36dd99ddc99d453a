"""Bringing new evidence into a text that people have edited: their words stay, and the new ones are offered."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from catalog.actors import ENGINE, Actor
from common import clock
from common.errors import Conflict
from incidents import postmortem_sections, postmortem_text, timeline
from incidents.models import Postmortem, PostmortemOffer
from incidents.postmortem_versions import is_edited, locked, may_write, put, store


def bring_in(row: Postmortem, drafted: str, *, now: datetime) -> int:
    """Bring a new draft into a locked row's text; gives how many places it could only be offered in.

    An older offer for the same words goes: it was made of older evidence.
    """
    before = row.body
    if is_edited(row):
        held = postmortem_sections.held(row, now=now)
        merged, offers = postmortem_text.merge(base=row.drafted_body, ours=row.body, theirs=drafted, held=held)
    else:
        merged, offers = drafted, []
    row.drafted_body = drafted
    for offer in offers:
        waiting = row.offers.filter(section=offer.section, state="open")
        waiting.filter(text=offer.text).delete()
        if offer.current:
            waiting.filter(current=offer.current).delete()
        PostmortemOffer.objects.create(
            postmortem=row, section=offer.section, current=offer.current, text=offer.text, made_at=now
        )
    if merged.strip() != before.strip():
        put(row, merged, author=ENGINE.label, now=now, as_version=True)
    return len(offers)


def answer(offer: PostmortemOffer, *, take: bool, actor: Actor) -> PostmortemOffer:
    """Take the new words in place of what stands, or keep what stands; once."""
    with transaction.atomic():
        now = clock.now()
        row = locked(offer.postmortem)
        may_write(row, actor)
        fresh = PostmortemOffer.objects.select_for_update().get(pk=offer.pk)
        if fresh.state != "open":
            raise Conflict(f"{fresh.answered_by} has answered this already: {fresh.get_state_display()}.")
        if take:
            postmortem_sections.require_free(row, fresh.section, actor=actor, now=now)
            document = postmortem_text.parse(row.body)
            text = postmortem_text.replaced(document.text_of(fresh.section), fresh.current, fresh.text)
            put(row, document.with_text(fresh.section, text).render(), author=actor.label, now=now, as_version=True)
            told = {"change": "edited", "edition": row.edition, "section": fresh.section}
            words = f"Postmortem: new evidence taken into “{_title(fresh.section)}” (edition {row.edition})."
            timeline.record(row.incident, kind="postmortem", actor=actor, text=words, data=told)
        fresh.state = "taken" if take else "kept"
        fresh.answered_by, fresh.answered_at = actor.label[:120], now
        fresh.save(update_fields=["state", "answered_by", "answered_at"])
        store(row)
    return fresh


def _title(key: str) -> str:
    return postmortem_text.SECTIONS.get(key, key)
