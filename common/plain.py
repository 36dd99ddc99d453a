"""JSON values of others as every database can keep them."""

from __future__ import annotations

import math
from typing import Any

# Floats from here on have no fraction, and are written without an exponent by some databases.
_INTEGERS_FROM = 1e15


def plain(value: Any) -> Any:
    """A JSON value that reads back the same from every database.

    NaN and infinities become None. PostgreSQL writes 1e22 as an integer and knows no -0.0. Text loses NUL and halves of
    surrogate pairs, which neither can store.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if abs(value) >= _INTEGERS_FROM else value + 0.0
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
