"""Versions of a postmortem: what one says, what changed since, and going back to it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog.permissions import Permission
from common.errors import NotFound
from incidents import postmortem_text
from incidents import postmortems as verbs
from incidents.models import Postmortem, PostmortemEdition
from web.pages.postmortems.finding import find
from web.policy import PersonRequest, allow


@dataclass(frozen=True)
class Change:
    """One place of a section that differs: the words before and after."""

    before: str
    after: str


@allow(Permission.SEE)
def version(request: PersonRequest, number: int, version: int) -> HttpResponse:
    """What changed between a version and the one before it, or the present text (`?against=now`); POST goes back."""
    posted = request.method == "POST"
    found = find(request, number, Permission.EDIT_POSTMORTEM if posted else Permission.SEE)
    row = found.editions.filter(number=version).first()
    if row is None:
        raise NotFound("There is no such version.", fix="Choose one of its history.")
    if posted:
        verbs.save(
            found, body=row.body, edition=found.edition, actor=request.actor, what=f"taken back to edition {version}"
        )
        messages.success(request, f"The text is that of version {version} again; the one before it is kept.")
        return redirect("postmortem", number=number)
    against = "now" if request.GET.get("against") == "now" else "before"
    return render(request, "postmortems/version.html", _context(found, row, against))


def _context(found: Postmortem, row: PostmortemEdition, against: str) -> dict[str, object]:
    earlier = found.editions.filter(number__lt=row.number).first()
    if against == "now":
        before, after = row.body, found.body
    else:
        before, after = earlier.body if earlier else "", row.body
    return {
        "postmortem": found,
        "incident": found.incident,
        "version": row,
        "earlier": earlier,
        "against": against,
        "changes": changes(before, after),
    }


def changes(before: str, after: str) -> list[tuple[str, list[Change]]]:
    """What differs, by section, in whole blocks."""
    old, new = postmortem_text.parse(before), postmortem_text.parse(after)
    titles = {one.key: one.title for one in (*old.sections, *new.sections)}
    found = []
    if old.head.strip() != new.head.strip():
        found.append(("Before the first section", [Change(old.head.strip(), new.head.strip())]))
    for key, title in titles.items():
        pair = _blocks(old.text_of(key)), _blocks(new.text_of(key))
        codes = SequenceMatcher(a=pair[0], b=pair[1], autojunk=False).get_opcodes()
        differs = [
            Change("\n".join(pair[0][a:b]), "\n".join(pair[1][c:d])) for tag, a, b, c, d in codes if tag != "equal"
        ]
        if differs:
            found.append((title, differs))
    return found


def _blocks(text: str) -> list[str]:
    return [block.strip() for block in postmortem_text.blocks(text)]
