"""What the postmortem editor shows: sections with their state, blocks with their provenance, evidence, checks, talk."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from catalog import presence
from catalog.models import User
from common import clock
from incidents import citations, postmortem_checks, postmortem_sections, postmortem_text
from incidents import postmortems as verbs
from incidents.models import (
    ActionItem,
    Evidence,
    Postmortem,
    PostmortemComment,
    PostmortemOffer,
    TimelineEntry,
)
from web.pages import exhibits
from web.policy import PersonRequest

TABS = ("evidence", "checks", "comments", "history")
CARDS = 60
ENTRIES = 300
# What a move of the state is called on its button.
MOVES = {
    "draft": "Back to draft",
    "in_review": "Hand in for review",
    "approved": "Approve",
    "published": "Publish",
    "closed": "Close",
}


@dataclass(frozen=True)
class Block:
    """One run of blocks: Markdown with links, and whose words they are."""

    text: str
    author: str
    at: datetime | None
    more: str
    asks: bool


@dataclass(frozen=True)
class SectionShown:
    """One section of the page."""

    key: str
    title: str
    text: str
    fingerprint: str
    questions: int
    owner: User | None
    writer: User | None
    since: datetime | None
    window: str
    linked: str
    blocks: list[Block]
    offers: list[PostmortemOffer]
    comments: int
    checks: int

    @property
    def state(self) -> str:
        """The word for its state."""
        return "asks" if self.questions else "filled" if self.text else "empty"

    @property
    def glyph(self) -> str:
        """The sign for its state."""
        return {"asks": "inconclusive", "filled": "pass", "empty": "queued"}[self.state]


@dataclass(frozen=True)
class Branch:
    """One of the five whys with those beneath it."""

    why: dict[str, Any]
    beneath: list[Branch] = field(default_factory=list)


def context(request: PersonRequest, found: Postmortem, *, edit: str = "", window: str = "") -> dict[str, Any]:
    """Everything the editor's template needs; `edit` is the section that this window writes in."""
    incident = found.incident
    checks = postmortem_checks.checks(found)
    rows = list(Evidence.objects.filter(incident_id=incident.pk, number__isnull=False).order_by("number")[:200])
    entries = list(TimelineEntry.objects.filter(incident=incident).exclude(kind="postmortem").order_by("at", "seq"))
    comments = list(found.comments.all())
    shown = sections(found, checks, comments)
    tab = request.GET.get("tab", "")
    blocking = postmortem_checks.blocking(checks)
    writing = writers_here(shown)
    readers = presence.here("postmortem", str(incident.number), but=request.user)
    return {
        "postmortem": found,
        "incident": incident,
        "began": incident.onset_at or incident.started_at,
        "sections": shown,
        "titles": {one.key: one.title for one in shown},
        "lead": lead(found),
        "edit": edit if any(one.key == edit for one in shown) else "",
        "window": window,
        "may_write": postmortem_sections.may_edit(found, request.actor),
        "here": [(person, writing.get(person.pk, [])) for person in readers],
        "clock": clock_of(found),
        "tab": tab if tab in TABS else "evidence",
        "tabs": TABS,
        "checks": checks,
        "blocking": blocking,
        "advice": [one for one in checks if one not in blocking],
        "comments": comments,
        "talk": [one for one in comments if one.settled_at is None],
        "versions": list(found.editions.defer("body")[:100]),
        "evidence": rows,
        "cards": {row.number: exhibits.exhibit(row, incident) for row in rows[:CARDS]},
        "entries": entries[:ENTRIES],
        "cited_entries": _cited(found),
        "items": list(ActionItem.objects.filter(incident=incident).select_related("owner")),
        "today": clock.now().date(),
        "tree": tree(found.whys),
        "members": list(User.objects.filter(memberships__team=incident.team, is_active=True).distinct()),
        "moves": [(state, MOVES[state]) for state in MOVES if state in verbs.MOVES[found.state]],
        "two_person": settings.BACKSTOP.two_person_on,
    }


def sections(
    found: Postmortem, checks: list[postmortem_checks.Check], comments: list[PostmortemComment]
) -> list[SectionShown]:
    """All seventeen, written or not, and people's own in between."""
    document, now = postmortem_text.parse(found.body), clock.now()
    drafted = postmortem_text.machine_blocks(found.drafted_body)
    kept = {row.key: row for row in found.sections.select_related("owner", "writer")}
    offers = list(found.offers.filter(state="open"))
    shown = []
    for section in postmortem_text.listed(document):
        row = kept.get(section.key)
        writes = row is not None and row.until is not None and row.until > now
        pieces = postmortem_text.pieces(section.text, drafted=drafted, authors=found.authors)
        shown.append(
            SectionShown(
                key=section.key,
                title=section.title,
                text=section.text,
                fingerprint=section.fingerprint,
                questions=len(citations.open_questions(section.text)),
                owner=row.owner if row else None,
                writer=row.writer if row and writes else None,
                since=row.since if row and writes else None,
                window=row.window if row and writes else "",
                linked=citations.linked(section.text, found.incident.number),
                blocks=[_block(piece, found) for piece in pieces],
                offers=[offer for offer in offers if offer.section == section.key],
                comments=sum(one.section == section.key and one.settled_at is None for one in comments),
                checks=sum(one.section == section.key for one in checks),
            )
        )
    return shown


def _block(piece: postmortem_text.Piece, found: Postmortem) -> Block:
    at = datetime.fromisoformat(piece.at) if piece.at else None
    asks = len(citations.open_questions(piece.text)) == len(postmortem_text.blocks(piece.text))
    return Block(citations.linked(piece.text, found.incident.number), piece.author, at, piece.more, asks)


def _cited(found: Postmortem) -> set[int]:
    """The entries that the text's timeline tells of already."""
    marks = citations.references(postmortem_text.parse(found.body).text_of("timeline"))
    return {int(mark[1:]) for mark in marks if mark.startswith("T")}


def lead(found: Postmortem) -> str:
    """What stands before the first section, but for the title that the page has already."""
    head = postmortem_text.parse(found.body).head
    return "\n".join(line for line in head.split("\n") if not line.startswith(("# ", "## "))).strip()


def writers_here(shown: list[SectionShown]) -> dict[int, list[str]]:
    """In which sections whoever writes does."""
    found: dict[int, list[str]] = {}
    for section in shown:
        if section.writer is not None:
            found.setdefault(section.writer.pk, []).append(section.title)
    return found


@dataclass(frozen=True)
class Clock:
    """The 48 hours in words."""

    words: str
    late: bool = False
    at: datetime | None = None


def clock_of(found: Postmortem) -> Clock:
    """How long there is left, or why no clock runs."""
    if found.incident.is_drill:
        return Clock("a drill: no clock")
    if found.state not in verbs.CLOCK_STATES:
        return Clock("handed in" if found.state == "in_review" else "done")
    if found.due is None:
        return Clock("due 48 h after mitigation")
    left = found.due - clock.now()
    if left < timedelta(0):
        return Clock("overdue since", late=True, at=found.due)
    return Clock("due", at=found.due)


def tree(whys: list[dict[str, Any]]) -> list[Branch]:
    """The five whys as a tree: three branches below what users felt, and the condition beneath the cause."""
    by_level = {int(why.get("level", 0)): {"lines": [], "evidence": [], "entries": []} | why for why in whys}
    if 1 not in by_level:
        return []
    beneath = [Branch(by_level[5])] if 5 in by_level else []
    branches = [Branch(by_level[level], beneath if level == 2 else []) for level in (2, 3, 4) if level in by_level]
    return [Branch(by_level[1], branches)]
