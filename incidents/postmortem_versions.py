"""How a postmortem's text is stored: under its lock, with who wrote which block, and as a version when it is worth one.

Every saved text raises `edition`, so that an edit can name the text it began from. Texts saved while somebody types are
kept as a version of their own (a PostmortemEdition) when the writer pauses, leaves, or somebody else goes on
(docs/decisions/0014): what was saved is in the row at once, and the history stays readable.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common.errors import Conflict, Invalid
from common.plain import plain
from common.secrets import redact
from incidents import postmortem_text
from incidents.models import Incident, Postmortem, PostmortemEdition

# The one limit of all doors; Markdown is rendered up to half of it, and more is shown plain.
BODY_LENGTH = 400_000
VERSION_EVERY = timedelta(minutes=5)


def locked(postmortem: Postmortem) -> Postmortem:
    """The row, ours until the transaction ends. Lock order: the incident first, as everywhere."""
    Incident.objects.select_for_update().filter(pk=postmortem.incident_id).first()
    rows = Postmortem.objects.select_for_update(of=("self",)).select_related("incident__team", "owner", "reviewer")
    return rows.get(pk=postmortem.pk)


def store(row: Postmortem, *fields: str) -> None:
    """Write these fields and raise the version, by which open pages see that something changed."""
    row.version = F("version") + 1
    row.save(update_fields=[*fields, "version"])
    row.refresh_from_db(fields=["version"])


def cleaned(text: str) -> str:
    """What may be stored: somebody may have pasted a token from a log, and what goes into a postmortem goes far."""
    return redact(plain(text.replace("\r\n", "\n"))).strip()


def may_write(row: Postmortem, actor: Actor) -> None:
    """Nothing, or Conflict for a closed postmortem, or Forbidden: after approval only who publishes may edit."""
    if actor.user is not None:
        permissions.require(actor, Permission.EDIT_POSTMORTEM, row.incident.team)
    if row.state == "closed":
        raise Conflict("This postmortem is closed; its text stays as it is.", current=row.body, edition=row.edition)
    if row.state in ("approved", "published") and actor.user is not None:
        permissions.require(actor, Permission.PUBLISH_POSTMORTEM, row.incident.team)


def put(row: Postmortem, body: str, *, author: str, now: datetime, as_version: bool) -> bool:
    """Store a new text of a locked row; True if it became a version of its own."""
    body = body.strip() + "\n"
    if len(body) > BODY_LENGTH + 1:
        fix = f"At most {BODY_LENGTH} fit; attach long logs as evidence."
        raise Invalid(f"The text has {len(body) - 1} characters.", fix=fix, fields={"body": fix})
    if row.saved_by != author[:120]:
        keep(row)
    row.authors = postmortem_text.authors_of(
        body, machine=row.drafted_body, known=row.authors, author=author, at=now.isoformat(timespec="seconds")
    )
    row.body, row.edition, row.saved_by, row.saved_at = body, row.edition + 1, author[:120], now
    if row.state == "due":
        row.state = "draft"
    last = row.editions.defer("body").first()
    is_version = as_version or last is None or now - last.saved_at >= VERSION_EVERY
    if is_version:
        keep(row)
    store(row, "body", "edition", "saved_by", "saved_at", "authors", "drafted_body", "state")
    return is_version


def keep(row: Postmortem) -> bool:
    """Make the present text a version, unless it is one; True if it became one by this."""
    if not row.edition or row.saved_at is None or row.editions.filter(number=row.edition).exists():
        return False
    PostmortemEdition.objects.create(
        postmortem=row, number=row.edition, body=row.body, author=row.saved_by, saved_at=row.saved_at
    )
    return True


def is_edited(row: Postmortem) -> bool:
    """Whether the text is anything but the machine's own draft."""
    return bool(row.body.strip()) and row.body.strip() != row.drafted_body.strip()
