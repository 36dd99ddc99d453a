"""Entries of a timeline as a postmortem tells them: one cited sentence each, people by role, at most twenty shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from incidents.citations import cite, sentences
from incidents.models import Evidence, TimelineEntry
from incidents.postmortem_facts import WORDS, Facts
from incidents.texts import escaped, offset, span, utc

KEY_MOMENTS = 20
GAP = timedelta(minutes=10)
GAPS_ASKED = 5
QUOTED = 300
# Kinds of entries by how much a reader needs them as key moments; pinned ones come before all.
_WEIGHT = {"state": 0, "effect": 0, "approval": 1, "answer": 1, "diagnosis": 1, "change": 1, "note": 2, "run": 3}
# Not told moment by moment: who was told is one sentence, and paperwork stays on the timeline.
_UNTOLD = {"message", "postmortem"}
# Words that are written small inside a sentence; any other may be a name.
_GOES_ON = re.compile(r"^(?:It|Its|The|This|That|A|An|Nobody|Nothing|They|Waits|Without)\b")
# The alert and the opening that it caused say the same: only the alert is shown.
_TOGETHER = timedelta(seconds=5)


@dataclass(frozen=True)
class Moment:
    """One line of the story; `entry` is empty for what only evidence or the incident's row tells."""

    at: datetime
    sentence: str
    weight: int
    entry: TimelineEntry | None = None


def told(facts: Facts) -> tuple[list[str], list[str]]:
    """At most KEY_MOMENTS lines, with questions in the widest gaps; and the lines of all others."""
    moments = sorted([*_before(facts), *_moments(facts)], key=lambda one: (one.at, one.entry.seq if one.entry else 0))
    chosen = sorted(moments, key=lambda one: one.weight)[:KEY_MOMENTS]
    chosen.sort(key=moments.index)
    widest = sorted(pairwise(chosen), key=lambda pair: pair[0].at - pair[1].at)[:GAPS_ASKED]
    asked = {id(after) for before, after in widest if after.at - before.at > GAP}
    lines: list[str] = []
    previous: Moment | None = None
    for one in chosen:
        if previous is not None and id(one) in asked and previous.at >= facts.incident.detected_at - _TOGETHER:
            between = f"{utc(previous.at, '%H:%M')} and {utc(one.at, '%H:%M')}"
            lines.append(f"**On-call:** what happened here, between {between} ({span(one.at - previous.at)})?")
        lines.append(_line(facts, one, previous))
        previous = one
    return lines, [_line(facts, one, None) for one in moments if one not in chosen]


def line(facts: Facts, entry: TimelineEntry) -> str:
    """One entry with its time."""
    return _line(facts, Moment(entry.at, sentence(facts, entry), 0, entry), None)


def sentence(facts: Facts, entry: TimelineEntry) -> str:
    """What an entry says, as one sentence with its references."""
    marks = [f"T{entry.seq}", *(f"E{number}" for number in facts.known([*entry.evidence, *_cites(entry)]))]
    text = facts.without_names(entry.text)
    if entry.kind == "note":
        # A person's words are quoted, so that nobody takes them for the document's own.
        words = re.sub(r"\*\*|__|`", "", _quotable(text))
        words = words if len(words) <= QUOTED else words[:QUOTED].rstrip() + "…"
        return cite(f"Note by the {escaped(entry.role or 'responder')}: “{escaped(words)}”", marks)
    if entry.kind == "check":
        text = _checked(facts, entry) or text
    if entry.kind == "diagnosis":
        # The numbers of evidence that it names follow as references.
        text = re.sub(r"; for it: [^)]*(?=\))", "", text)
    return cite(escaped(_joined(text.replace("«", "“").replace("»", "”"))), marks)


def evidence_sentence(facts: Facts, row: Evidence, *, brief: bool = False) -> str:
    """What a piece of evidence says, as one sentence with its reference."""
    text = facts.brief(row) if brief else facts.without_names(row.summary)
    return cite(escaped(_joined(text)), [row.key])


def _before(facts: Facts) -> list[Moment]:
    """What came before anybody saw it: the suspected change, as evidence names it, and the beginning of the impact."""
    found = []
    noted = {entry.data.get("change") for entry in facts.entries if entry.kind == "change"}
    for row in facts.evidence.values():
        top = row.result.get("top") if row.provider == "change.rank" and row.verdict == "fail" else None
        if not isinstance(top, dict) or top.get("id") in noted or not top.get("at"):
            continue
        noted.add(top.get("id"))
        text = f"Changed ({top.get('kind')}): {facts.without_names(str(top.get('change')))}"
        found.append(Moment(datetime.fromisoformat(str(top["at"])), cite(escaped(text), [row.key]), -1))
    source = facts.start()
    if source is not None and facts.began_at < facts.incident.detected_at:
        found.append(Moment(facts.began_at, f"The impact began [T{source.seq}].", -1))
    return found


def _moments(facts: Facts) -> list[Moment]:
    alert = facts.first("alert")
    found = []
    for entry in facts.entries:
        if entry.kind in _UNTOLD or (entry.kind == "check" and not _stands(facts, entry)):
            continue
        opens = entry.kind == "state" and entry.data.get("to") == "open" and entry.role == "alert"
        if opens and alert is not None and abs(entry.at - alert.at) <= _TOGETHER:
            continue
        found.append(Moment(entry.at, sentence(facts, entry), _weight(facts, entry), entry))
    return found


def _weight(facts: Facts, entry: TimelineEntry) -> int:
    if entry.pinned:
        return -1
    if entry.kind == "alert":
        return 0 if entry is facts.first("alert") else 4
    if entry.kind == "check":
        return 2 if any(facts.evidence[number].verdict == "fail" for number in facts.known(entry.evidence)) else 4
    return _WEIGHT.get(entry.kind, 5)


def _stands(facts: Facts, entry: TimelineEntry) -> bool:
    """A check's entry says what its evidence says, so it goes when that is not here."""
    return not entry.evidence or bool(facts.known(entry.evidence))


def _checked(facts: Facts, entry: TimelineEntry) -> str:
    """The question and the verdict; what was measured is told once, under what was checked and found."""
    row = next((facts.evidence[number] for number in facts.known(entry.evidence)), None)
    if row is None or row.summary not in entry.text:
        return ""
    question = entry.text.partition(row.summary)[0].strip().rstrip(":").strip()
    word = WORDS.get(row.verdict, "measured")
    question = question.removesuffix(word).rstrip(": ")
    return f"Checked “{_quotable(facts.without_names(question))}”: {word.lower()}" if question else ""


def _line(facts: Facts, one: Moment, previous: Moment | None) -> str:
    """The day is named where it changes; the time since the impact began stands beside it."""
    day = previous is None or previous.at.date() != one.at.date()
    at = utc(one.at, "%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")
    return f"**{at}** ({offset(one.at - facts.began_at)}) {one.sentence}"


def _cites(entry: TimelineEntry) -> list[object]:
    cites = entry.data.get("cites")
    return cites if isinstance(cites, list) else []


def _quotable(text: str) -> str:
    return " ".join(text.replace("“", "'").replace("”", "'").split())


def _joined(text: str) -> str:
    """Several sentences as one, so that one reference supports them; a role at its head gets a capital letter."""
    words = " ".join(text.split())
    first, *rest = [piece.rstrip(". ") for piece in sentences(words)] or [""]
    words = "; ".join([first, *(_GOES_ON.sub(lambda match: match.group().lower(), piece) for piece in rest)])
    return words[:1].upper() + words[1:] if words.startswith(("the ", "a program", "a team member")) else words
