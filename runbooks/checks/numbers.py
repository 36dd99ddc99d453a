"""Numbers as sentences show them: three digits that matter, a real minus sign, an interval beside every difference."""

from __future__ import annotations

import math

# Units that stand close to the number.
_CLOSE = {"x", "°"}
# The units of shares between 0 and 1, which people read as percentages.
_SHARES = {"ratio", "share"}


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits and the unit: `0.91`, `1,240 ms`, `12.5 %`."""
    if value is None:
        return "nothing"
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinity" if value > 0 else "minus infinity"
    if unit in _SHARES:
        return percent(value)
    return _digits(value) + _tail(unit)


def signed(value: float | None, unit: str = "") -> str:
    """The same with its sign: `−0.13`, `+20 ms`; a difference of shares in percentage points, `−18.8 points`."""
    if value is None or not math.isfinite(value):
        return number(value, unit)
    if unit in _SHARES:
        return f"{signed(value * 100)} points"
    return ("+" if value > 0 else "") + number(value, unit)


def interval(lo: float | None, hi: float | None, unit: str = "") -> str:
    """`[−0.17, −0.09]`, in points for shares; an open end is shown as `…`."""
    scale = 100 if unit in _SHARES else 1
    ends = [signed(end * scale) if end is not None else "…" for end in (lo, hi)]
    return f"[{ends[0]}, {ends[1]}]"


def percent(share: float) -> str:
    """A share as a percentage: `12 %`."""
    return f"{_digits(share * 100)} %"


def title(name: str) -> str:
    """A signal's name as the start of a sentence: `Error rate`."""
    words = name.replace("_", " ").replace("-", " ").strip() or "value"
    return words[0].upper() + words[1:]


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        text = f"{size:,.0f}"
    elif size < 1e-4:
        text = f"{size:.2g}"
    else:
        places = max(0, 2 - math.floor(math.log10(size)))
        text = f"{size:.{places}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
    return ("−" if value < 0 else "") + text


def _tail(unit: str) -> str:
    if not unit:
        return ""
    return unit if unit in _CLOSE else f" {unit}"
