"""Durations as runbooks write them: `90s`, `30m`, `1h30m`, `7d`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_FORM = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")


def seconds(text: Any) -> Any:
    """Whole seconds of a written duration; anything else is left to the validator."""
    if not isinstance(text, str):
        return text
    match = _FORM.fullmatch(text.strip())
    if match is None or not text.strip():
        raise ValueError("write a duration such as 90s, 30m, 1h30m or 7d")
    return sum(int(part) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True) if part)


# A parameter in whole seconds, written as a duration; at most 31 days.
Duration = Annotated[int, BeforeValidator(seconds), Field(gt=0, le=31 * 86400)]


def words(amount: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h`, `2 d`."""
    if amount < 90:
        return f"{amount:.0f} s"
    if amount < 90 * 60:
        return f"{amount / 60:.0f} min"
    if amount < 36 * 3600:
        return f"{amount / 3600:.1f} h".replace(".0 h", " h")
    return f"{amount / 86400:.1f} d".replace(".0 d", " d")
