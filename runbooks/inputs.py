"""The values a run starts with: read from the alert or a form, checked, with a note of where each came from."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import re2

from common.errors import Invalid
from common.secrets import SHORTEST
from runbooks.fields import HIDDEN, Input, seconds

# A value from an alert is foreign text; longer than this it is no input.
MAX_TEXT = 10_000


@dataclass(frozen=True)
class Inputs:
    """Checked values by name, and the source of each: "form", "alert.labels.service", "default".

    A sensitive value is in `sealed`, and HIDDEN stands for it in `values`.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    sealed: dict[str, Any] = field(default_factory=dict)


def resolve(
    declared: Mapping[str, Input], *, given: Mapping[str, Any], alert: Mapping[str, Any] | None = None
) -> Inputs:
    """Every declared input from what was given, else from the alert, else its default.

    Raises Invalid whose `fields` (in extra) maps input names to sentences: all of them, not the first.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    sealed: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name in given:
        if name not in declared:
            faults[name] = f"There is no input {name!r}; known: {', '.join(declared) or 'none'}."
    for name, definition in declared.items():
        value, source = _found(name, definition, given, alert or {})
        if value is None:
            if definition.is_required:
                wanted = f" (looked at {definition.from_})" if definition.from_ else ""
                faults[name] = f"{name} is required{wanted}."
            continue
        try:
            values[name], sources[name] = read_value(definition, value), source
        except ValueError as error:
            faults[name] = f"{name} {error}."
            continue
        if definition.sensitive:
            sealed[name], values[name] = values[name], HIDDEN
    if faults:
        first = next(iter(faults.values()))
        raise Invalid(f"The runbook cannot start: {first}", fix="Give a value that fits.", fields=faults)
    return Inputs(values, sources, sealed)


def read_value(definition: Input, value: Any) -> Any:
    """The value in the input's type: durations as seconds, datetimes as UTC text, texts of numbers as numbers.

    Raises ValueError whose message continues "<name> …".
    """
    typed = _TYPES[definition.type](value)
    if definition.enum is not None and typed not in [_TYPES[definition.type](one) for one in definition.enum]:
        raise ValueError(f"must be one of {', '.join(map(str, definition.enum))}")
    if definition.pattern is not None and not pattern(definition.pattern).fullmatch(str(typed)):
        raise ValueError(f"does not match {definition.pattern}")
    if definition.sensitive and len(str(typed)) < SHORTEST:
        raise ValueError(f"has fewer than {SHORTEST} characters, so it could not be hidden safely")
    measure = len(typed) if isinstance(typed, str | list | dict) else typed
    if isinstance(measure, int | float) and not isinstance(measure, bool):
        what = "" if definition.type in ("integer", "number", "duration") else " in length"
        if definition.min is not None and measure < definition.min:
            raise ValueError(f"must be at least {definition.min:g}{what}")
        if definition.max is not None and measure > definition.max:
            raise ValueError(f"must be at most {definition.max:g}{what}")
    return typed


def pattern(source: str) -> Any:
    """The compiled RE2 pattern: linear time on any text. Raises ValueError with what is wrong with it."""
    options = re2.Options()
    # The library writes to standard error otherwise.
    options.log_errors = False
    try:
        return re2.compile(source, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be read"
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


def _found(name: str, definition: Input, given: Mapping[str, Any], alert: Mapping[str, Any]) -> tuple[Any, str]:
    if given.get(name) not in (None, ""):
        return given[name], "form"
    if definition.from_:
        value: Any = {"alert": alert}
        for part in definition.from_.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value not in (None, ""):
            return value, definition.from_
    return definition.default, "default"


def _string(value: Any) -> str:
    # A form field that looks like a number is still text for a text input.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be text")
    text = str(value)
    if len(text) > MAX_TEXT:
        raise ValueError(f"has more than {MAX_TEXT:,} characters")
    return text


def _integer(value: Any) -> int:
    if isinstance(value, str) and len(value) <= 19:
        try:
            return int(value)
        except ValueError:
            pass
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("must be a whole number")


def _number(value: Any) -> float:
    if isinstance(value, str) and len(value) <= 40:
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise ValueError("must be a number")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ValueError("must be true or false")


def _duration(value: Any) -> int:
    try:
        return seconds(value)
    except ValueError as error:
        raise ValueError(f"is not a duration: {error}") from None


def _datetime(value: Any) -> str:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if moment.tzinfo is None:
            raise ValueError
        return str(moment.astimezone(UTC).isoformat())
    except (ValueError, AttributeError, TypeError, OverflowError):
        raise ValueError("must be a time with its zone, e.g. 2026-01-31T14:00:00Z") from None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


def _map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a map")
    return value


_TYPES = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "duration": _duration,
    "datetime": _datetime,
    "list": _list,
    "map": _map,
}
