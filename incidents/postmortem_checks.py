"""The checklist of a postmortem: what keeps it from the next step, and, apart from that, what is worth a look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from incidents import postmortem_lint, postmortem_text
from incidents.citations import open_questions, references
from incidents.models import ActionItem, Postmortem

BLOCKS, ADVISES = "blocks", "advises"
# Sections that people alone can fill may stay empty; these have no meaning without a text.
_OPTIONAL = {"message", "appendix"}


@dataclass(frozen=True)
class Check:
    """One entry: where it is (section and line of it, from 1), what is to be seen to, and who does."""

    id: str
    section: str
    line: int
    code: str
    severity: str
    message: str
    fix: str
    person: str = ""

    def data(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def checks(row: Postmortem) -> list[Check]:
    """What is to go before the next step, in the order of the text; what blocks first."""
    document = postmortem_text.parse(row.body)
    found = [
        *_words(row, document),
        *_dead_references(row, document),
        *_questions(row, document),
        *_empty(row, document),
    ]
    if row.state == "published":
        found += _open_items(row)
    return sorted(found, key=lambda one: one.severity != BLOCKS)


def blocking(found: Iterable[Check]) -> list[Check]:
    """Those that keep it from the next step."""
    return [one for one in found if one.severity == BLOCKS]


def _made(row: Postmortem, section: str, line: int, code: str, severity: str, message: str, fix: str) -> Check:
    name = f"{code}:{section}:{postmortem_text.fingerprint(message)[:8]}"
    return Check(name, section, line, code, severity, message, fix, row.assigned.get(name, ""))


def _words(row: Postmortem, document: postmortem_text.Document) -> list[Check]:
    if not row.body.strip():
        return []
    places = _places(document)
    found = []
    for one in postmortem_lint.findings(row.body):
        section, line = _place(places, one.line)
        severity = BLOCKS if one.severity == postmortem_lint.ERROR else ADVISES
        found.append(_made(row, section, line, one.code, severity, one.message, one.fix))
    return found


def _dead_references(row: Postmortem, document: postmortem_text.Document) -> list[Check]:
    """References to what this incident does not have: a reader would follow them to nothing."""
    incident = row.incident
    last = {"E": incident.last_evidence, "T": incident.last_seq}
    found = []
    for section in document.sections:
        for reference in references(section.text):
            if not 1 <= int(reference[1:]) <= last[reference[0]]:
                at = section.text[: section.text.find(f"[{reference}]")].count("\n") + 1
                message = f"[{reference}] leads nowhere: {incident.key} has no {reference}."
                fix = "Cite another number; the evidence beside the text shows them all."
                found.append(_made(row, section.key, at, "PM20", BLOCKS, message, fix))
    return found


def _questions(row: Postmortem, document: postmortem_text.Document) -> list[Check]:
    found = []
    for section in document.sections:
        for line, role, question in open_questions(section.text):
            name = f"ask:{section.key}:{postmortem_text.fingerprint(role + question)[:8]}"
            who = row.assigned.get(name, "")
            fix = "Answer in its place and cite what you answer from, or write “unknown” and who was asked."
            found.append(Check(name, section.key, line, "ask", ADVISES, f"{role}: {question}", fix, who))
    return found


def _empty(row: Postmortem, document: postmortem_text.Document) -> list[Check]:
    found = []
    for key, title in postmortem_text.SECTIONS.items():
        if key not in _OPTIONAL and row.body.strip() and not document.text_of(key):
            fix = "Write it, or write “unknown” and who was asked."
            found.append(_made(row, key, 1, "empty", ADVISES, f"“{title}” is empty.", fix))
    return found


def _open_items(row: Postmortem) -> list[Check]:
    left = ActionItem.objects.filter(incident=row.incident, state__in=("proposed", "committed", "in_progress"))
    fix = "Complete it or decline it with a reason."
    return [_made(row, "items", 1, "item", BLOCKS, f"Still open: {item.title}", fix) for item in left]


def _places(document: postmortem_text.Document) -> list[tuple[int, str]]:
    """(line of the whole text where a section's own text begins, its key)."""
    found, line = [], document.head.count("\n")
    for section in document.sections:
        begin = len(section.raw) - len(section.raw.lstrip("\n"))
        found.append((line + 1, section.key))
        line += 1 + section.raw.count("\n")
        found[-1] = (found[-1][0] + begin, section.key)
    return found


def _place(places: list[tuple[int, str]], line: int) -> tuple[str, int]:
    best = ("", line)
    for begin, key in places:
        if line >= begin:
            best = (key, max(1, line - begin))
    return best
