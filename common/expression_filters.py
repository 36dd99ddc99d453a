"""What authored expressions may call: the listed filters and tests, each paying for its work out of one budget.

Our own versions replace Jinja2's where those guess (`int` of "abc" is 0), allocate without bound (`replace`, `join`,
`round`) or escape for HTML (`tojson`).
"""

from __future__ import annotations

import functools
import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2 import filters as stock
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Characters and list items that one evaluation may read and write: seconds on a slow machine, far above any real use.
WORK = 4_000_000


class Refused(Exception):
    """An operation that expressions do not offer, or too much of one; the message is a sentence."""


class _Budget:
    def __init__(self) -> None:
        self.left = WORK

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise Refused("The expression does too much work; make it smaller or measure in the check itself.")


_budget: ContextVar[_Budget | None] = ContextVar("expression_budget", default=None)


@contextmanager
def limited_work() -> Iterator[None]:
    """Give the expressions evaluated inside one budget together."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def spend(units: int) -> None:
    """Pay for so many characters or items. Raises Refused when the budget is used up."""
    budget = _budget.get()
    if budget is not None:
        budget.spend(units)


def size_of(value: object, *, limit: int = WORK) -> int:
    """Characters and items in a value, nested ones too; stops counting beyond the limit."""
    total, open_values = 0, [value]
    while open_values and total <= limit:
        part = open_values.pop()
        total += 1
        if isinstance(part, str):
            total += len(part)
        elif isinstance(part, Mapping):
            open_values += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            open_values += part
    return total


class MissingValue(StrictUndefined):
    """A name or key that does not exist: any use of it is an error."""

    __slots__ = ()


class Environment(ImmutableSandboxedEnvironment):
    """Jinja2 with nothing in it: no globals, no calls, lookup by item only, every operator checked.

    `optimized=False` and the intercepted operators keep Jinja2 from computing constants while it compiles: with its
    defaults, compiling `{{ "a" * 200000000 }}` alone allocates 200 MB.
    """

    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])
    intercepted_unops = frozenset(["+", "-"])

    def __init__(self) -> None:
        super().__init__(undefined=MissingValue, autoescape=False, optimized=False, keep_trailing_newline=True)
        self.globals.clear()
        self.filters.clear()
        self.filters.update(FILTERS)
        self.tests.clear()
        self.tests.update(TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`a.b` means the item "b" of the map `a`, never an attribute."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """The item of a map or list; a missing one is undefined."""
        if isinstance(obj, Undefined):
            # Strict: raises with the name of what is missing.
            return str(obj)
        if isinstance(obj, Mapping):
            if isinstance(argument, str | int) and argument in obj:
                return obj[argument]
        elif isinstance(obj, list | tuple) and isinstance(argument, int) and not isinstance(argument, bool):
            if -len(obj) <= argument < len(obj):
                return obj[argument]
        elif obj is None or not isinstance(obj, list | tuple):
            raise Refused(f"{_kind(obj).capitalize()} has no part {argument!r}.")
        return self.undefined(f"There is no {str(argument)[:80]!r} here.", name=str(argument))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Never: the syntax check lets no call through; this is the second lock."""
        raise Refused("Calls are not allowed.")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers, and `+` on two texts or two lists."""
        for side in (left, right):
            if isinstance(side, Undefined):
                return str(side)
        if _is_number(left) and _is_number(right) and operator in _ARITHMETIC:
            return _ARITHMETIC[operator](left, right)
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            spend(len(left) + len(right))
            return left + right
        if operator == "+" and isinstance(left, list) and isinstance(right, list):
            spend(len(left) + len(right))
            return left + right
        raise Refused(f"`{operator}` does not work on {_kind(left)} and {_kind(right)}.")

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        """Minus on numbers."""
        if isinstance(arg, Undefined):
            return str(arg)
        if operator == "-" and _is_number(arg):
            return -arg
        raise Refused(f"`{operator}` does not work on {_kind(arg)}.")


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _kind(value: object) -> str:
    if value is None:
        return "none"
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return "this value"


_KINDS: list[tuple[Any, str]] = [
    (bool, "true/false"),
    (int | float, "a number"),
    (str, "text"),
    (list | tuple, "a list"),
    (Mapping, "a map"),
]


def _number(value: object, what: str) -> float | int:
    if isinstance(value, Undefined):
        str(value)
    if not _is_number(value):
        raise Refused(f"`{what}` needs a number, not {_kind(value)}.")
    return value  # type: ignore[return-value]  # _is_number has just shown it


# The filters. Each takes the value first, as Jinja2 calls them.


def as_text(value: Any) -> str:
    """How a value reads inside a text: words and numbers as they are, lists and maps as JSON."""
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return to_json(value) if isinstance(value, list | tuple | Mapping) else str(value)


def to_json(value: Any) -> str:
    """The value as JSON text, keys sorted."""
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    except RecursionError:
        raise Refused("The value is nested too deep.") from None


def _parsed(value: Any, default: Any, read: Callable[[Any], Any], what: str) -> Any:
    if isinstance(value, Undefined):
        str(value)
    readable = isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 40)
    try:
        if readable:
            return read(value)
    except (ValueError, OverflowError):
        pass
    if default is None:
        raise Refused(f"{as_text(value)[:60]!r} is not {what}; give `default=` if that is expected.")
    return default


def _int(value: Any, default: Any = None) -> Any:
    return _parsed(
        value, default, lambda given: int(float(given)) if isinstance(given, float) else int(given), "a whole number"
    )


def _float(value: Any, default: Any = None) -> Any:
    return _parsed(value, default, float, "a number")


def _round(value: Any, precision: Any = 0, method: str = "common") -> Any:
    number = _number(value, "round")
    # Unbounded precision is a power of ten without bound.
    if not isinstance(precision, int) or not 0 <= precision <= 12:
        raise Refused("`round` takes 0 to 12 digits.")
    if method == "common":
        return round(number, precision)
    if method not in ("ceil", "floor"):
        raise Refused("`round` knows common, ceil and floor.")
    if not math.isfinite(number):
        raise Refused("`round` needs a finite number.")
    whole = math.ceil if method == "ceil" else math.floor
    return whole(number * 10**precision) / 10**precision


def _join(value: Any, separator: Any = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        raise Refused("Write `map(attribute=…) | join(…)`.")
    parts = [as_text(part) for part in _items(value, "join")]
    between = as_text(separator)
    spend(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def _replace(value: Any, old: Any, new: Any) -> str:
    text, wanted, instead = as_text(value), as_text(old), as_text(new)
    if not wanted:
        raise Refused("`replace` needs a text to look for.")
    spend(len(text) + text.count(wanted) * len(instead))
    return text.replace(wanted, instead)


def _sum(value: Any, attribute: str | None = None, start: Any = 0) -> Any:
    if attribute is not None:
        raise Refused("Write `map(attribute=…) | sum`.")
    return sum((_number(part, "sum") for part in _items(value, "sum")), _number(start, "sum"))


def _items(value: Any, what: str) -> list[Any]:
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise Refused(f"`{what}` needs a list, not {_kind(value)}.")


def _list(value: Any) -> list[Any]:
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, str | list | tuple | Mapping):
        return list(value)
    raise Refused(f"`list` does not work on {_kind(value)}.")


def _length(value: Any) -> int:
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, str | list | tuple | Mapping):
        return len(value)
    raise Refused(f"`length` does not work on {_kind(value)}.")


def _abs(value: Any) -> Any:
    return abs(_number(value, "abs"))


_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def duration(value: Any) -> str:
    """Seconds in words: `5400 | duration` is "1h 30m"."""
    number = _number(value, "duration")
    if not math.isfinite(number) or abs(number) > 10**11:
        raise Refused("`duration` needs a number of seconds.")
    seconds, parts = abs(round(number)), []
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    # Two units say enough: 2d 3h, not 2d 3h 4m 5s.
    return ("-" if number < 0 else "") + (" ".join(parts[:2]) or "0s")


def percent(value: Any, digits: Any = 1) -> str:
    """A share in words: `0.0312 | percent` is "3.1 %"."""
    number = _number(value, "percent")
    if not isinstance(digits, int) or not 0 <= digits <= 6:
        raise Refused("`percent` takes 0 to 6 digits.")
    return f"{number * 100:.{digits}f} %"


def _paid(inner: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, paying for what it reads and writes, and returning a list where Jinja2 returns a generator."""

    # wraps() also copies Jinja2's mark of filters that want the context or environment first.
    @functools.wraps(inner)
    def paid(*args: Any, **kwargs: Any) -> Any:
        for argument in (*args[:4], *kwargs.values()):
            # Jinja2's own context passes for a map, but is not a value.
            if not isinstance(argument, Context):
                spend(size_of(argument))
        value = inner(*args, **kwargs)
        if isinstance(value, Iterator):
            value = _collected(value)
        elif isinstance(value, str | list):
            spend(len(value))
        return value

    return paid


def _collected(items: Iterable[Any]) -> list[Any]:
    collected = []
    for item in items:
        spend(1)
        collected.append(item)
    return collected


def _stock(name: str) -> Callable[..., Any]:
    inner: Callable[..., Any] = stock.FILTERS[name]
    return inner


_LISTED: dict[str, Callable[..., Any]] = {
    "abs": _abs,
    "default": _stock("default"),
    "duration": duration,
    "first": _stock("first"),
    "float": _float,
    "int": _int,
    "join": _join,
    "last": _stock("last"),
    "length": _length,
    "list": _list,
    "lower": _stock("lower"),
    "map": _stock("map"),
    "max": _stock("max"),
    "min": _stock("min"),
    "percent": percent,
    "reject": _stock("reject"),
    "rejectattr": _stock("rejectattr"),
    "replace": _replace,
    "round": _round,
    "select": _stock("select"),
    "selectattr": _stock("selectattr"),
    "sort": _stock("sort"),
    "string": as_text,
    "sum": _sum,
    "tojson": to_json,
    "trim": _stock("trim"),
    "unique": _stock("unique"),
    "upper": _stock("upper"),
}
FILTERS: dict[str, Callable[..., Any]] = {name: _paid(inner) for name, inner in _LISTED.items()}


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, other: Any) -> bool:
        spend(size_of(other) + size_of(value))
        return compare(value, other)

    return test


TESTS: dict[str, Callable[..., bool]] = {
    "defined": lambda value: not isinstance(value, Undefined),
    "none": lambda value: value is None,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "in": _compared(lambda value, other: value in other),
    "eq": _compared(operator.eq),
    "ne": _compared(operator.ne),
    "lt": _compared(operator.lt),
    "le": _compared(operator.le),
    "gt": _compared(operator.gt),
    "ge": _compared(operator.ge),
}
