"""Sentences and what supports them: every claim of a postmortem cites `[E12]` (evidence) or `[T7]` (timeline entry)."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The roles that questions are put to; a question to nobody is answered by nobody.
ROLES = (
    "Service owner",
    "Model owner",
    "Data owner",
    "Platform owner",
    "Postmortem owner",
    "Incident commander",
    "On-call",
    "Approver",
    "Reviewer",
    "Team admin",
)
_REFERENCE = re.compile(r"(?<!\\)\[([ET])(\d{1,7})\](?!\()")
_CODE_OR_REFERENCE = re.compile(
    r"(?ms:^\s*(?P<fence>```|~~~).*?^\s*(?P=fence))|`[^`\n]*`|(?<!\\)\[(?P<kind>[ET])(?P<number>\d{1,7})\](?!\()"
)
_ENDS_CITED = re.compile(r"(?<!\\)\[[ET]\d{1,7}\][.!?:)*_\s]*$")
_ASKS = re.compile(rf"^[\s*_]*(?:{'|'.join(ROLES)})[*_]*:", re.IGNORECASE)
_QUESTION = re.compile(rf"^[\s*_]*({'|'.join(ROLES)})[*_]*:[*_]*\s*(.+)$")
_ENDS_ASKING = re.compile(r"\?[)*_\s]*(?:(?<!\\)\[[ET]\d{1,7}\][.\s]*)*$")
# A sentence ends at . ! ? before a space and a capital, a quotation or an emphasis; "approx. 5" and "v1.2" go on, and
# a reference after the full stop belongs to the sentence before it.
_BOUNDARY = re.compile(r"(?<=[.!?])[)\]*_]*\s+(?!\[[ET]\d)(?=[\"'“(\[*_`]*[A-Z])")
_FENCE = re.compile(r"^\s*(```|~~~)")
_SEPARATOR = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s+")
_CELL = re.compile(r"(?<!\\)\|")


def sentences(text: str) -> list[str]:
    """The sentences of one block of text; what stands between “ and ” is one piece."""
    found: list[str] = []
    begin = 0
    for match in _BOUNDARY.finditer(text):
        before = text[begin : match.start()]
        if before.count("“") > before.count("”"):
            continue
        found.append(text[begin : match.end()].strip())
        begin = match.end()
    rest = text[begin:].strip()
    return [*found, rest] if rest else found


def cite(text: str, marks_of: Iterable[str]) -> str:
    """Text with the references (`E12`, `T7`) at the end of each of its sentences, before the full stop."""
    marks = " ".join(f"[{reference}]" for reference in dict.fromkeys(marks_of))
    if not marks:
        return text
    pieces = [(sentence.rstrip(".!? "), "?" if sentence.endswith("?") else ".") for sentence in sentences(text)]
    return " ".join(f"{words} {marks}{end}" for words, end in pieces)


def references(text: str) -> list[str]:
    """Every reference of a text in order, once: `["T1", "E12"]`."""
    return list(dict.fromkeys(kind + number for kind, number in _REFERENCE.findall(text)))


def unsupported_sentences(markdown: str) -> list[str]:
    """The sentences that neither end with a reference nor put a question to a role; table rows count as sentences.

    Headings, code, comments and the heads of tables claim nothing.
    """
    found = []
    for is_row, block in _blocks(markdown):
        if is_row:
            if not _REFERENCE.search(block) and not any(_asks(cell) for cell in _CELL.split(block)):
                found.append(block.strip())
            continue
        asks = bool(_ASKS.match(block))
        found += [
            sentence
            for sentence in sentences(block)
            if not (_ENDS_CITED.search(sentence) or (asks and _ENDS_ASKING.search(sentence)))
        ]
    return found


def linked(markdown: str, incident: int) -> str:
    """The text with each reference as a link to its evidence or its entry; code is left as it is."""

    def link(match: re.Match[str]) -> str:
        if not match["number"]:
            return match.group()
        place = f"/evidence/{match['number']}" if match["kind"] == "E" else f"#t-{match['number']}"
        return f"[\\[{match['kind']}{match['number']}\\]](/incidents/{incident}{place})"

    return _CODE_OR_REFERENCE.sub(link, markdown)


def open_questions(markdown: str) -> list[tuple[int, str, str]]:
    """(line, role, question) of every question that nobody has answered yet: an answer ends with a reference."""
    found = []
    for number, line in enumerate(markdown.split("\n"), start=1):
        for cell in _CELL.split(line) if line.lstrip().startswith("|") else [_ITEM.sub("", line)]:
            match = _QUESTION.match(cell)
            if match and cell.rstrip().endswith("?"):
                found.append((number, match[1], match[2].strip()))
    return found


def section(markdown: str, title: str) -> str | None:
    """The text under the heading of that title, up to the next heading of the same or a higher level; None without."""
    lines, level, found = markdown.split("\n"), 0, []
    for line in lines:
        match = re.match(r"^(#{1,6})\s+(.*?)\s*$", line)
        if level == 0:
            if match and match.group(2).lower().startswith(title.lower()):
                level = len(match.group(1))
            continue
        if match and len(match.group(1)) <= level:
            break
        found.append(line)
    return "\n".join(found) if level else None


def _asks(text: str) -> bool:
    return bool(_ASKS.match(text) and _ENDS_ASKING.search(text))


def _blocks(markdown: str) -> list[tuple[bool, str]]:
    """(is a table row, text) for every paragraph, list item and table row."""
    found: list[tuple[bool, str]] = []
    open_block: list[str] = []
    lines = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL).split("\n")
    fenced = False

    def close() -> None:
        if open_block:
            found.append((False, " ".join(open_block)))
            open_block.clear()

    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
            close()
        elif fenced:
            continue
        elif not line.strip() or line.startswith("#") or re.fullmatch(r"\s*([-*_]\s*){3,}", line):
            close()
        elif line.lstrip().startswith("|"):
            close()
            heads = number + 1 < len(lines) and _SEPARATOR.match(lines[number + 1])
            if not heads and not _SEPARATOR.match(line):
                found.append((True, line.strip().strip("|")))
        else:
            item = _ITEM.match(line)
            if item:
                close()
            open_block.append((line[item.end() :] if item else line).strip().removeprefix("> "))
    close()
    return found
