"""What people say about a section of a postmortem, beside the text."""

from __future__ import annotations

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Invalid
from incidents import postmortem_text
from incidents.models import Postmortem, PostmortemComment
from incidents.postmortem_versions import cleaned, locked, store

LENGTH = 4000


def say(postmortem: Postmortem, *, section: str, text: str, actor: Actor) -> PostmortemComment:
    """Say something about a section ("" for the whole)."""
    text = cleaned(text)
    if not text or len(text) > LENGTH:
        fix = f"Write 1 to {LENGTH} characters."
        raise Invalid("The comment cannot be kept like this.", fix=fix, fields={"text": fix})
    with transaction.atomic():
        row = locked(postmortem)
        if actor.user is not None:
            permissions.require(actor, Permission.EDIT_POSTMORTEM, row.incident.team)
        known = section in postmortem_text.SECTIONS or postmortem_text.parse(row.body).find(section) is not None
        made = PostmortemComment.objects.create(
            postmortem=row, section=section if known else "", author=actor.label[:120], text=text, at=clock.now()
        )
        store(row)
    return made


def settle(comment: PostmortemComment, *, actor: Actor) -> PostmortemComment:
    """Say that it is answered, in the text or in words; once."""
    with transaction.atomic():
        row = locked(comment.postmortem)
        if actor.user is not None:
            permissions.require(actor, Permission.EDIT_POSTMORTEM, row.incident.team)
        fresh = PostmortemComment.objects.select_for_update().get(pk=comment.pk)
        if fresh.settled_at is not None:
            raise Conflict(f"{fresh.settled_by} has settled this already.")
        fresh.settled_by, fresh.settled_at = actor.label[:120], clock.now()
        fresh.save(update_fields=["settled_by", "settled_at"])
        store(row)
    return fresh
