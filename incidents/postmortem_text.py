"""A postmortem's Markdown as sections and blocks. Pure: the text stays the truth, and what is here is read from it.

A section begins at a `## ` heading. A block is the smallest piece that has an author: a paragraph, an item of a list, a
row of a table. Pieces joined give back the text they were cut from, so nothing is lost on the way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

# The seventeen sections of a postmortem in their order (docs/guide/postmortems.md): key and heading.
SECTIONS = {
    "facts": "Facts",
    "summary": "Summary",
    "impact": "Impact",
    "background": "Background and glossary",
    "detection": "Detection",
    "timeline": "Timeline (UTC)",
    "known": "What was known then",
    "response": "Response and recovery",
    "state": "State before, during and after",
    "checks": "What was checked and found",
    "whys": "Five whys",
    "lessons": "What went well, what went poorly",
    "verification": "Verification",
    "items": "Action items",
    "learning": "Learning",
    "message": "External message",
    "appendix": "Appendix",
}
# How a heading may begin; older drafts and people's own words vary after that.
_BEGINS = {
    "facts": "facts",
    "summary": "summary",
    "impact": "impact",
    "background": "background",
    "detection": "detection",
    "timeline": "timeline",
    "what was known": "known",
    "response": "response",
    "state before": "state",
    "what was checked": "checks",
    "five whys": "whys",
    "what went": "lessons",
    "verification": "verification",
    "action items": "items",
    "learning": "learning",
    "external message": "message",
    "appendix": "appendix",
}
# Whose name stands at what the machine wrote.
MACHINE = "engine"
_HEADING = re.compile(r"^## +(.+?)\s*$")
_HIGH_HEADING = re.compile(r"^#{1,2} +(?=\S)")
_FENCE = re.compile(r"^\s*(```|~~~)")
_ITEM = re.compile(r"^(?:[-*+]|\d{1,9}[.)])\s")
_SEPARATOR = re.compile(r"^\s*\|[\s:|-]+\|?\s*$")
# Says that the incident was an exercise; it has no text of its own and belongs to the head of the document.
_DRILL = "this was a drill"


@dataclass(frozen=True)
class Section:
    """One section: a stable key, its heading, and everything below it up to the next."""

    key: str
    title: str
    raw: str

    @property
    def text(self) -> str:
        """The text without the empty lines around it."""
        return self.raw.strip("\n").rstrip()

    @property
    def fingerprint(self) -> str:
        """Changes when the text does: an edit names the one it began from."""
        return fingerprint(self.text)


@dataclass(frozen=True)
class Document:
    """A whole text: what stands before the first section, and the sections in their order."""

    head: str
    sections: tuple[Section, ...]

    def render(self) -> str:
        """The Markdown; of a parsed text the very same."""
        return self.head + "".join(f"## {one.title}\n{one.raw}" if one.title else one.raw for one in self.sections)

    def find(self, key: str) -> Section | None:
        """The section of that key."""
        return next((one for one in self.sections if one.key == key), None)

    def text_of(self, key: str) -> str:
        """The text of a section; empty when there is none."""
        found = self.find(key)
        return found.text if found else ""

    def with_text(self, key: str, text: str) -> Document:
        """The document with a section's text replaced, or with the section put where it belongs."""
        raw = f"\n{text.strip()}\n\n" if text.strip() else "\n"
        if self.find(key):
            kept = tuple(replace(one, raw=raw) if one.key == key else one for one in self.sections)
            return Document(self.head, kept)
        made = Section(key, SECTIONS[key], raw)
        after = list(SECTIONS)[: list(SECTIONS).index(key)]
        place = max((at + 1 for at, one in enumerate(self.sections) if one.key in after), default=0)
        head = self.head.rstrip("\n") + "\n\n" if self.head.strip() and place == 0 else self.head
        before = [*self.sections[:place]]
        if before and not before[-1].raw.endswith("\n\n"):
            before[-1] = replace(before[-1], raw=before[-1].raw.rstrip("\n") + "\n\n")
        return Document(head, (*before, made, *self.sections[place:]))


def parse(body: str) -> Document:
    """Cut a text into its sections; headings inside code are code."""
    head: list[str] = []
    found: list[tuple[str, list[str]]] = []
    fenced = False
    for line in body.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
        match = None if fenced else _HEADING.match(line)
        if match and not (match[1].lower().startswith(_DRILL) and not found):
            found.append((match[1], []))
        else:
            (found[-1][1] if found else head).append(line)
    used: set[str] = set()
    sections = [Section(_key(title, used), title, "".join(lines)) for title, lines in found]
    return Document("".join(head), tuple(sections))


def listed(document: Document) -> list[Section]:
    """The sections as an editor shows them: all seventeen, those not written yet too, and people's own in between."""
    found = list(document.sections)
    for key in reversed(SECTIONS):
        if document.find(key) is None:
            after = list(SECTIONS)[: list(SECTIONS).index(key)]
            place = max((at + 1 for at, one in enumerate(found) if one.key in after), default=0)
            found.insert(place, Section(key, SECTIONS[key], ""))
    return found


def _key(title: str, used: set[str]) -> str:
    words = title.lower()
    key = next((key for begins, key in _BEGINS.items() if words.startswith(begins)), "")
    key = key or re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:40] or "section"
    number, unique = 1, key
    while unique in used:
        number += 1
        unique = f"{key}-{number}"
    used.add(unique)
    return unique


def fingerprint(text: str) -> str:
    """A short name of a text, blind to the empty lines around it."""
    return hashlib.sha256(text.strip().encode("utf-8", "replace")).hexdigest()[:16]


def demoted(text: str) -> str:
    """The text of a section with its own headings made small ones, so that it stays one section."""
    lines, fenced = [], False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        lines.append(line if fenced else _HIGH_HEADING.sub("### ", line))
    return "\n".join(lines)


def blocks(text: str) -> list[str]:
    """The blocks of a text, each with the line ends after it; joined they are the text."""
    found: list[list[str]] = []
    fenced = False
    for line in text.splitlines(keepends=True):
        fence = bool(_FENCE.match(line))
        if not found or (not fenced and _begins(line, found[-1], fence=fence)):
            found.append([line])
        else:
            found[-1].append(line)
        fenced ^= fence
    return ["".join(lines) for lines in found]


def _begins(line: str, block: list[str], *, fence: bool) -> bool:
    """Whether a line starts a block after this one."""
    if not line.strip():
        return False
    first, last = block[0], block[-1]
    if line.startswith("|"):
        return not (len(block) == 1 and first.startswith("|") and _SEPARATOR.match(line))
    if line.startswith("#") or _ITEM.match(line):
        return True
    if not last.strip():
        # After an empty line an indented one goes on with an item.
        return not (line.startswith((" ", "\t")) and _ITEM.match(first))
    return first.startswith(("|", "#")) or (fence and not _ITEM.match(first))


def is_table(block: str) -> bool:
    """Whether a block is a row, or the head, of a table."""
    return block.startswith("|")


def authors_of(body: str, *, machine: str, known: dict[str, list[str]], author: str, at: str) -> dict[str, list[str]]:
    """Who wrote which block that the machine did not: `{fingerprint: [name, moment]}`; what is new is `author`'s."""
    drafted = machine_blocks(machine)
    found = {}
    for section in parse(body).sections:
        for block in blocks(section.text):
            name = fingerprint(block)
            if name not in drafted:
                found[name] = known.get(name) or [author, at]
    return found


def machine_blocks(machine: str) -> set[str]:
    """Fingerprints of all blocks of the machine's draft: a block that is moved stays from evidence."""
    return {fingerprint(block) for section in parse(machine).sections for block in blocks(section.text)}


@dataclass(frozen=True)
class Piece:
    """Neighbouring blocks of one provenance, to be shown together. `author` is empty for the machine's words."""

    text: str
    author: str
    at: str
    more: str = ""


def pieces(text: str, *, drafted: set[str], authors: dict[str, list[str]]) -> list[Piece]:
    """A section's text in runs of one provenance; a table is one piece, and `more` says who else is in it."""
    found: list[Piece] = []
    table: list[tuple[str, tuple[str, str]]] = []

    def close_table() -> None:
        if table:
            others = [who for _, who in table if who[0]]
            names = ", ".join(dict.fromkeys(name for name, _ in others))
            rows = f"{len(others)} row{'s' if len(others) != 1 else ''} edited by {names}" if others else ""
            whole = len(others) == len(table)
            author, at = others[-1] if whole and others else ("", "")
            found.append(Piece("".join(block for block, _ in table), author, at, "" if whole else rows))
            table.clear()

    for block in blocks(text):
        name = fingerprint(block)
        author, at = ("", "") if name in drafted else tuple(authors.get(name) or ["somebody", ""])[:2]
        # What the machine wrote in an earlier draft, and nobody has touched since.
        author = "" if author == MACHINE else author
        if is_table(block):
            table.append((block, (author, at)))
            continue
        close_table()
        last = found[-1] if found else None
        if last and not is_table(last.text) and last.author == author:
            found[-1] = replace(last, text=last.text + block, at=max(last.at, at))
        else:
            found.append(Piece(block, author, at))
    close_table()
    return found


@dataclass(frozen=True)
class Offer:
    """New words of the machine for a place where people have written: `current` is what they would replace."""

    section: str
    current: str
    text: str


def merge(*, base: str, ours: str, theirs: str, held: Iterable[str] = ()) -> tuple[str, list[Offer]]:
    """A new draft brought into an edited text: the merged text, and offers where a person's words stand.

    `base` is the draft that `ours` was edited from. Blocks that nobody touched follow the new draft; an edited block is
    never replaced; sections in `held`, where somebody is writing, are left as they are and only get offers.
    """
    old, mine, new = parse(base), parse(ours), parse(theirs)
    held, merged, offers = set(held), mine, list[Offer]()
    if not mine.sections and not mine.head.strip():
        return theirs, []
    for section in new.sections:
        before, current = old.find(section.key), mine.find(section.key)
        if current is None:
            # A section that somebody took out stays out; one that the old draft did not know comes in.
            if before is None and section.key in SECTIONS and section.text:
                merged = merged.with_text(section.key, section.text)
            elif before is not None and section.text != before.text and section.key in SECTIONS:
                offers.append(Offer(section.key, "", section.text))
            continue
        was = before.text if before else ""
        if section.text == was or section.text == current.text:
            continue
        if current.text == was and section.key not in held:
            merged = merged.with_text(section.key, section.text)
            continue
        text, found = _merge_blocks(was, current.text, section.text, is_held=section.key in held)
        offers += [Offer(section.key, current, new) for current, new in found]
        if text != current.text:
            merged = merged.with_text(section.key, text)
    return merged.render(), offers


def _merge_blocks(base: str, ours: str, theirs: str, *, is_held: bool) -> tuple[str, list[tuple[str, str]]]:
    """The same for the blocks of one section: the text, and (words to be replaced, new words) of each offer."""
    raw, fresh = blocks(ours), blocks(theirs)
    old, mine, new = ([block.strip() for block in found] for found in (blocks(base), raw, fresh))
    place = _places(old, mine)
    result: list[list[str]] = [[block] for block in raw]
    at_start: list[str] = []
    offers: list[tuple[str, str]] = []
    changes = [row for row in SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes() if row[0] != "equal"]
    for _, begin, end, new_begin, new_end in changes:
        added = [block.rstrip("\n") + "\n" for block in fresh[new_begin:new_end]]
        added = [block for block in added if block.strip() not in mine]
        touched = [place[number] for number in range(begin, end)]
        if is_held or None in touched:
            if added:
                offers.append((_instead(old, mine, raw, begin, end), "".join(added).strip()))
            continue
        spots = [spot for spot in touched if spot is not None]
        for spot in spots:
            result[spot] = []
        if spots:
            result[spots[0]] = added
        elif begin and place[begin - 1] is not None:
            result[int(place[begin - 1] or 0)] += added
        elif begin == 0:
            at_start += added
        elif added:
            offers.append(("", "".join(added).strip()))
    return _joined([*at_start, *(block for group in result for block in group)]), offers


def _places(old: list[str], mine: list[str]) -> dict[int, int | None]:
    """Where each block of the old draft stands in the edited text; None for one that somebody changed or took out."""
    place: dict[int, int | None] = dict.fromkeys(range(len(old)))
    for first, second, size in SequenceMatcher(a=old, b=mine, autojunk=False).get_matching_blocks():
        place.update({first + step: second + step for step in range(size)})
    return place


def _instead(old: list[str], mine: list[str], raw: list[str], begin: int, end: int) -> str:
    """What stands in the edited text where these blocks of the old draft stood."""
    spots: set[int] = set()
    for tag, first, last, second, second_last in SequenceMatcher(a=old, b=mine, autojunk=False).get_opcodes():
        if tag == "equal":
            spots |= {second + number - first for number in range(max(first, begin), min(last, end))}
        elif tag == "replace" and first < end and last > begin:
            spots |= set(range(second, second_last))
    return "".join(raw[min(spots) : max(spots) + 1]).strip() if spots else ""


def _joined(parts: list[str]) -> str:
    """Blocks as text again: rows of a table and items of a list follow each other, paragraphs stand apart."""
    text = ""
    for part in parts:
        if text and not text.endswith("\n\n") and not _follows(text, part):
            text = text.rstrip("\n") + "\n\n"
        elif text and not text.endswith("\n"):
            text += "\n"
        text += part
    return text.strip()


def _follows(text: str, part: str) -> bool:
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if is_table(part):
        return is_table(last)
    return bool(_ITEM.match(part)) and (bool(_ITEM.match(last)) or last.startswith((" ", "\t")))


def replaced(text: str, current: str, new: str) -> str:
    """A section's text with an offer taken: in place of the words it was made for, or at the end if they are gone."""
    if current and current in text:
        return text.replace(current, new, 1)
    return _joined([text.rstrip("\n") + "\n", new])
