"""The only place where YAML is read: a small, unambiguous part of YAML 1.2, with a position for every value.

A file is walked event by event, so that depth, count and forbidden constructs are refused before anything is built:
no anchors, aliases, tags, merge keys, directives or second document, no duplicate or non-text keys. Scalars follow the
YAML 1.2 core schema (`true`, `null`, decimal numbers); `on`, `012`, `24:00` and dates stay text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from common.errors import Invalid

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_EVENTS = 20_000
# The parser works character by character and is quadratic in some long lines (a 250,000-character tag took 6 s here),
# so that shape is bounded before it starts. No readable file comes near.
MAX_LINES = 12_000
MAX_LINE_LENGTH = 8_192
# Longer digit strings are identifiers, not amounts; they stay text (and never reach int(), which refuses 4,301 digits).
MAX_DIGITS = 18

Path = tuple[str | int, ...]
Severity = Literal["error", "warning"]

_INTEGER = re.compile(rf"[-+]?(?:0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,3})?")
# Everything YAML calls printable, but no byte-order mark: it is invisible and makes the first key unfindable.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_INVISIBLE = {"\ufeff": "a byte-order mark", "\0": "a NUL character"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}
# What the parser may raise besides its own errors when it is fed rubbish (found by fuzzing).
_PARSER_FAILURES = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError, ArithmeticError)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing wrong in a file, or worth a thought: where, what, and how to put it right. Lines count from 1."""

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    message: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` and the API show it."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.code} {self.message} {self.fix}"


class FileFaults(Invalid):
    """A file that cannot be used; `findings` lists everything wrong with it, in file order."""

    def __init__(self, findings: list[Finding]) -> None:
        first = findings[0]
        more = f" ({len(findings) - 1} more)" if len(findings) > 1 else ""
        sentence = f"{first.file}, line {first.line}: {first.message}{more}"
        super().__init__(sentence, fix=first.fix, findings=[finding.as_dict() for finding in findings])
        self.findings = findings


class YamlFaults(FileFaults):
    """A text that is not the YAML we read."""


@dataclass(frozen=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) with the place of every key and value."""

    data: Any
    file: str
    values: dict[Path, tuple[int, int]] = field(repr=False)
    keys: dict[Path, tuple[int, int]] = field(repr=False)

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column of the value at that path, or of the nearest part that holds it."""
        return self._nearest(self.values, path)

    def key_position(self, path: Path) -> tuple[int, int]:
        """Line and column of the key that leads to that path; of the value itself inside a list."""
        return self.keys.get(path) or self._nearest(self.values, path)

    def _nearest(self, table: dict[Path, tuple[int, int]], path: Path) -> tuple[int, int]:
        for length in range(len(path), 0, -1):
            if path[:length] in table:
                return table[path[:length]]
        return table.get((), (1, 1))


def decode(raw: bytes, *, file: str) -> str:
    """The text of a file's bytes; YamlFaults when it is too big or not UTF-8."""
    if len(raw) > MAX_BYTES:
        raise YamlFaults([_too_big(file, len(raw))])
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        fault = Finding(file, line, column, "RB081", "error", "The file is not UTF-8 text.", "Save it as UTF-8.")
        raise YamlFaults([fault]) from None


def read(text: str, *, file: str) -> Document:
    """The document in `text`. Raises YamlFaults with every fault found (a syntax error or a limit ends the search)."""
    faults = _faults_of_text(text, file)
    if faults:
        raise YamlFaults(faults)
    builder = _Builder(file)
    events = _events(text, file, builder.faults)
    for count, event in enumerate(events):
        if count >= MAX_EVENTS:
            builder.fault(
                event, "RB079", f"The file has more than {MAX_EVENTS:,} parts.", "Split it into several files."
            )
            break
        if not builder.take(event):
            break
    events.close()
    if not builder.faults and builder.documents == 0:
        builder.faults.append(Finding(file, 1, 1, "RB083", "error", "The file is empty.", "Write `spec: 1` first."))
    if builder.faults:
        raise YamlFaults(sorted(builder.faults))
    return Document(builder.root, file, builder.values, builder.keys)


def nearest(name: str, known: list[str]) -> str:
    """A hint for a wrong name: `Did you mean "timeout"?`, or the known names when none is near."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    return f"Known here: {', '.join(sorted(known))}." if known else "There is nothing of that kind here."


def scalar(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means: YAML 1.2 core schema, decimal numbers only, anything else stays text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _too_big(file: str, size: int) -> Finding:
    limit = MAX_BYTES // 1024
    message = f"The file has {size / 1024:.0f} KiB; at most {limit} KiB are read."
    return Finding(file, 1, 1, "RB079", "error", message, "Split it, or move long texts out.")


def _faults_of_text(text: str, file: str) -> list[Finding]:
    # A lone surrogate cannot be encoded; it counts as three bytes here and is refused as a character below.
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        return [_too_big(file, size)]
    bad = _UNPRINTABLE.search(text)
    if bad:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        name = _INVISIBLE.get(bad[0], f"the character U+{ord(bad[0]):04X}")
        return [Finding(file, line, column, "RB081", "error", f"There is {name} in the file.", "Delete it.")]
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        return [
            Finding(file, MAX_LINES, 1, "RB079", "error", f"The file has more than {MAX_LINES:,} lines.", "Split it.")
        ]
    for number, line_text in enumerate(lines, 1):
        if len(line_text) > MAX_LINE_LENGTH:
            message = f"This line has more than {MAX_LINE_LENGTH:,} characters."
            return [Finding(file, number, 1, "RB079", "error", message, "Break it; use a block text (`|`).")]
    return []


def _events(text: str, file: str, faults: list[Finding]) -> Generator[Event, None, None]:
    """The parser's events; what stops it becomes one fault."""
    try:
        # typ="safe", pure=True is the scanner without comment keeping, in Python: the C one crashes on deep nesting.
        # Text, not a stream: streams are read in pieces, and the buffer is copied for each.
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        faults.append(_syntax_fault(file, line, column, str(error.problem or error.context or "cannot be read")))
    except (YAMLError, *_PARSER_FAILURES):
        faults.append(_syntax_fault(file, 1, 1, "cannot be read"))


def _syntax_fault(file: str, line: int, column: int, problem: str) -> Finding:
    if "'\\t'" in problem or "\t" in problem:
        return Finding(file, line, column, "RB081", "error", "A tab stands where indentation is.", "Use spaces.")
    if "undefined alias" in problem:
        return Finding(file, line, column, "RB072", "error", "An alias is used.", "Write the value out.")
    if "undefined tag handle" in problem:
        return Finding(file, line, column, "RB073", "error", "A tag is used.", "Remove the word that starts with `!`.")
    fix = "Check indentation, quotes and brackets; quote text that contains `: ` or starts with a sign."
    return Finding(file, line, column, "RB070", "error", f"This is not YAML: {problem}.", fix)


class _Open:
    """One list or map that is being built."""

    def __init__(self, path: Path, container: dict[str, Any] | list[Any]) -> None:
        self.path = path
        self.container = container
        # For a map: the key that waits for its value, and how deep we are inside a key that is itself a list or map.
        self.key: str | None = None
        self.awaits_value = False


class _Builder:
    """Turns events into data and positions, noting every fault on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Finding] = []
        self.values: dict[Path, tuple[int, int]] = {}
        self.keys: dict[Path, tuple[int, int]] = {}
        self.root: Any = None
        self.documents = 0
        self._open: list[_Open] = []
        # Depth inside a key that is a list or map: refused, and its parts are skipped.
        self._skipping = 0

    def fault(self, event: Event, code: str, message: str, fix: str) -> None:
        line, column = _at(event)
        self.faults.append(Finding(self.file, line, column, code, "error", message, fix))

    def take(self, event: Event) -> bool:
        """Use one event; False when reading on makes no sense."""
        if isinstance(event, DocumentStartEvent):
            return self._document(event)
        starts = isinstance(event, MappingStartEvent | SequenceStartEvent)
        ends = isinstance(event, MappingEndEvent | SequenceEndEvent)
        if starts and len(self._open) + self._skipping >= MAX_DEPTH:
            message = f"Lists and maps are nested more than {MAX_DEPTH} deep."
            self.fault(event, "RB080", message, "Flatten the structure.")
            return False
        self._refuse_marks(event)
        if self._skipping:
            self._skipping += int(starts) - int(ends)
            return True
        if ends:
            self._open.pop()
        elif isinstance(event, ScalarEvent | AliasEvent) or starts:
            self._node(event)
        return True

    def _document(self, event: DocumentStartEvent) -> bool:
        self.documents += 1
        if self.documents > 1:
            self.fault(event, "RB075", "A second document starts here.", "One file is one document; remove `---`.")
            return False
        if event.version or event.tags:
            self.fault(event, "RB084", "There is a `%` directive.", "Remove it; files are always YAML 1.2.")
        return True

    def _refuse_marks(self, event: Event) -> None:
        if isinstance(event, AliasEvent):
            self.fault(event, "RB072", f"The alias `*{event.anchor}` is used.", "Write the value out.")
        elif isinstance(event, NodeEvent) and event.anchor:
            self.fault(event, "RB072", f"The anchor `&{event.anchor}` is set.", "Remove it; values are written out.")
        if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent) and event.ctag is not None:
            self.fault(event, "RB073", f"The tag `{event.ctag}` is used.", "Remove it; quote text that must stay text.")

    def _node(self, event: Event) -> None:
        holder = self._open[-1] if self._open else None
        if holder is not None and isinstance(holder.container, dict) and not holder.awaits_value:
            self._key(holder, event)
            return
        value, path = self._value(event), self._place(holder)
        if path is not None:
            self.values.setdefault(path, _at(event))
        if holder is None:
            self.root = value
        elif isinstance(holder.container, list):
            holder.container.append(value)
        else:
            if holder.key is not None:
                holder.container[holder.key] = value
            holder.awaits_value = False
        if isinstance(value, dict | list) and not isinstance(event, ScalarEvent):
            self._open.append(_Open(path or (), value))

    def _place(self, holder: _Open | None) -> Path | None:
        if holder is None:
            return ()
        if isinstance(holder.container, list):
            return (*holder.path, len(holder.container))
        return (*holder.path, holder.key) if holder.key is not None else (*holder.path, "")

    def _value(self, event: Event) -> Any:
        if isinstance(event, MappingStartEvent):
            return {}
        if isinstance(event, SequenceStartEvent):
            return []
        if isinstance(event, ScalarEvent):
            return scalar(event.value) if event.implicit[0] and not event.style else event.value
        return None

    def _key(self, holder: _Open, event: Event) -> None:
        holder.awaits_value, holder.key = True, None
        if not isinstance(event, ScalarEvent):
            self.fault(event, "RB082", "A list, map or alias is used as a key.", "Keys are plain words.")
            self._skipping = int(not isinstance(event, AliasEvent))
            return
        key = self._value(event)
        if not isinstance(key, str):
            self.fault(event, "RB082", f"The key `{event.value}` is not text.", f'Write "{event.value}" in quotes.')
            return
        if key == "<<":
            self.fault(event, "RB074", "The merge key `<<` is used.", "Write the fields out.")
            return
        path = (*holder.path, key)
        if key in holder.container:
            first = self.keys[path][0]
            line = _at(event)[0]
            message = f"The key `{_short(key)}` stands on line {first} and again on line {line}."
            self.fault(event, "RB071", message, "Keep one of them.")
            return
        self.keys[path] = _at(event)
        holder.key = key
        # Known from here on, so that a duplicate is seen even when the first value was refused.
        assert isinstance(holder.container, dict)
        holder.container[key] = None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"


def _at(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
