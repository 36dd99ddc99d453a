"""Foreign bytes into clean JSON: whatever is posted, a value that the database can keep or a sentence why not."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from incidents.sources.base import NotOfThisSource

# Deeper than any sender nests; far below what Python's own recursion bears.
DEPTH = 100
_SURROGATE = re.compile("[\ud800-\udfff\x00]")
_BIGGEST = 2**63 - 1


class Unparsed(NotOfThisSource):
    """The body cannot be read. It stays stored as it came, for a person to see; the sentence says what is wrong."""


def read_json(body: bytes) -> tuple[Any, list[str]]:
    """The JSON value of a body, cleaned, with a note for each thing that was not as it should be.

    U+0000 and lone surrogates become U+FFFD, NaN and infinities null, integers beyond 64 bits text; of a key that
    appears twice the first value is kept. Raises Unparsed, and nothing else.
    """
    notes: list[str] = []
    text = _text(body)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in found:
            if name in kept:
                _note(notes, f"Ambiguous: the key {name[:60]!r} appears twice in one object; the first is used.")
            else:
                kept[name] = value
        return kept

    def whole(digits: str) -> int | str:
        # Python refuses to read thousands of digits, and databases to store more than 64 bits as a number.
        if len(digits) > 20 or not -_BIGGEST - 1 <= int(digits) <= _BIGGEST:
            _note(notes, f"A number of {len(digits)} digits is kept as text.")
            return digits
        return int(digits)

    def broken(digits: str) -> float | None:
        number = float(digits)
        if math.isfinite(number):
            return number
        _note(notes, f"The number {digits[:40]} is out of range and is taken for null.")
        return None

    def constant(name: str) -> None:
        _note(notes, f"{name} is not JSON and is taken for null.")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=whole, parse_float=broken, parse_constant=constant)
        return _clean(value, 0, notes), notes
    except RecursionError:
        raise Unparsed(f"The body is nested deeper than {DEPTH} levels.") from None
    except json.JSONDecodeError as fault:
        raise Unparsed(f"The body is not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}.") from None


def _text(body: bytes) -> str:
    if not body.strip():
        raise Unparsed("The body is empty.")
    if body[:2] in (b"\xff\xfe", b"\xfe\xff") or body[:1] == b"\x00" or body[1:2] == b"\x00":
        raise Unparsed("The body is not UTF-8 text; it looks like UTF-16 or UTF-32.")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise Unparsed(f"The body is not UTF-8 text: byte {fault.start + 1} cannot be read.") from None


def _clean(value: Any, depth: int, notes: list[str]) -> Any:
    if isinstance(value, str):
        cleaned = _SURROGATE.sub("\ufffd", value)
        if cleaned != value:
            _note(notes, "Characters that cannot be stored (U+0000, lone surrogates) were replaced by U+FFFD.")
        return cleaned
    if isinstance(value, dict | list) and depth >= DEPTH:
        raise Unparsed(f"The body is nested deeper than {DEPTH} levels.")
    if isinstance(value, dict):
        return {_clean(name, depth + 1, notes): _clean(item, depth + 1, notes) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth + 1, notes) for item in value]
    return value


def _note(notes: list[str], sentence: str) -> None:
    # One hostile body must not fill the delivery log.
    if sentence not in notes and len(notes) < 20:
        notes.append(sentence)
