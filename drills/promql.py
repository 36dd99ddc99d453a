"""A small part of PromQL, enough for the checks: parsed into closures that are evaluated at one time after another.

Understood: numbers, selectors with = != =~ !~, [range], offset, + - * / and comparisons (with `bool`, `on`,
`ignoring`), and, or, unless, the aggregations sum avg min max count with by or without, and the functions named in
`FUNCTIONS`.
Everything else is refused as Prometheus refuses it: HTTP 400, errorType bad_data.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from drills.metrics import Labels
from drills.promql_values import (
    AGGREGATIONS,
    COMPARE,
    FUNCTIONS,
    BadQuery,
    Node,
    Ranged,
    Selected,
    Store,
    Value,
    Vector,
    aggregate,
    arithmetic,
    comparison,
    set_operation,
    without_name,
)

__all__ = ["BadQuery", "Store", "Value", "Vector", "compile_query", "duration"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<duration>(?:\d+(?:ms|[smhdwy]))+)(?![\w.])|(?P<number>0x[0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"""
    r"""|(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<name>[a-zA-Z_:][\w:]*)"""
    r"""|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){}\[\],=<>]))"""
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_LEVELS = [("or",), ("and", "unless"), tuple(COMPARE), ("+", "-"), ("*", "/")]


def duration(text: str) -> float:
    """Seconds of a duration such as 5m or 1h30m, or of a plain number."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if parts and "".join(count + unit for count, unit in parts) == text:
        return sum(int(count) * _UNITS[unit] for count, unit in parts)
    return float(text)


def compile_query(text: str, store: Store) -> Node:
    """A query as a function of time; BadQuery with position and reason."""
    parser = _Parser(text, store)
    node = parser.expression(0)
    if parser.kind:
        parser.refuse(f'unexpected "{parser.text}"')
    if not isinstance(node, Ranged):
        return node
    raise BadQuery('invalid expression type "range vector" for query, must be Scalar or instant Vector')


@dataclass
class _Parser:
    source: str
    store: Store
    position: int = 0
    depth: int = 0
    kind: str = field(default="", init=False)
    text: str = field(default="", init=False)
    start: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if len(self.source) > 4000:
            raise BadQuery('invalid parameter "query": the query is longer than 4000 characters')
        self.forward()

    def refuse(self, why: str) -> NoReturn:
        raise BadQuery(f'invalid parameter "query": 1:{self.start + 1}: parse error: {why}')

    def forward(self) -> str:
        """Move to the next token; answers the text of the one left behind."""
        left = self.text
        match = _TOKEN.match(self.source, self.position)
        if match is None:
            rest = self.source[self.position :].strip()
            self.kind = self.text = ""
            self.start = len(self.source) - len(self.source[self.position :].lstrip())
            if rest:
                self.refuse(f"unexpected character: {rest[0]!r}")
            return left
        self.kind = match.lastgroup or ""
        self.text = match.group(self.kind)
        self.start = match.start(self.kind)
        self.position = match.end()
        return left

    def expect(self, sign: str) -> None:
        if self.text != sign or self.kind == "string":
            self.refuse(f'unexpected {self.text or "end of input"!r}, expected "{sign}"')
        self.forward()

    def taken(self, sign: str) -> bool:
        """Whether the next token is this sign or word; it is then behind us."""
        if self.text == sign and self.kind in ("sign", "name"):
            self.forward()
            return True
        return False

    # Expressions, by level of precedence.

    def expression(self, level: int) -> Node | Ranged:
        if level == len(_LEVELS):
            return self.unary()
        left = self.expression(level + 1)
        while self.kind in ("sign", "name") and self.text in _LEVELS[level]:
            sign = self.forward()
            as_bool = self.taken("bool")
            key = self.matching()
            a, b = self.instant(left), self.instant(self.expression(level + 1))
            if sign in COMPARE:
                left = comparison(sign, a, b, key, as_bool=as_bool)
            elif sign in ("and", "or", "unless"):
                left = set_operation(sign, a, b, key)
            else:
                left = arithmetic(sign, a, b, key)
        return left

    def matching(self) -> Callable[[Labels], Labels]:
        if self.kind == "name" and self.text in ("on", "ignoring"):
            only = self.forward() == "on"
            names = self.names()
            return lambda labels: tuple(p for p in labels if p[0] != "__name__" and (p[0] in names) == only)
        return without_name

    def unary(self) -> Node | Ranged:
        self.depth += 1
        if self.depth > 50:
            self.refuse("nested too deeply")
        if self.taken("-"):
            inner = self.instant(self.unary())
            node: Node | Ranged = arithmetic("*", lambda at: -1.0, inner, without_name)
        else:
            node = self.primary()
        self.depth -= 1
        return node

    def instant(self, node: Node | Ranged) -> Node:
        if isinstance(node, Ranged):
            self.refuse("expected type instant vector, got range vector")
        return node

    def primary(self) -> Node | Ranged:
        if self.kind == "number":
            number = float(int(self.text, 16)) if self.text.startswith("0x") else float(self.text)
            self.forward()
            return lambda at: number
        if self.taken("("):
            inner = self.expression(0)
            self.expect(")")
            return inner
        if self.kind == "name":
            name = self.forward()
            if name in AGGREGATIONS:
                return self.aggregation(name)
            if self.text == "(" and self.kind == "sign":
                return self.call(name)
            return self.selector(name)
        if self.text != "{":
            self.refuse(f"unexpected {self.text or 'end of input'!r}")
        return self.selector("")

    def names(self) -> set[str]:
        found = set()
        self.expect("(")
        while not self.taken(")"):
            if self.kind != "name":
                self.refuse(f'unexpected "{self.text}" in grouping, expected label')
            found.add(self.forward())
            if not self.taken(","):
                self.expect(")")
                break
        return found

    def aggregation(self, name: str) -> Node:
        by, names = True, set[str]()
        grouped = self.text in ("by", "without")
        if grouped:
            by, names = self.forward() == "by", self.names()
        self.expect("(")
        inner = self.instant(self.expression(0))
        self.expect(")")
        if not grouped and self.text in ("by", "without"):
            by, names = self.forward() == "by", self.names()
        return aggregate(
            AGGREGATIONS[name],
            inner,
            lambda labels: tuple(p for p in labels if p[0] != "__name__" and (p[0] in names) == by),
        )

    def call(self, name: str) -> Node:
        function = FUNCTIONS.get(name)
        if function is None:
            self.refuse(f'unknown function with name "{name}"')
        self.expect("(")
        arguments: list[Node | Ranged] = []
        began = self.start
        while not self.taken(")"):
            arguments.append(self.expression(0))
            if not self.taken(","):
                self.expect(")")
                break
        try:
            return function(*arguments)
        except TypeError:
            self.start = began
            self.refuse(f'wrong arguments in call to function "{name}"')

    def selector(self, name: str) -> Node | Ranged:
        tests: list[tuple[str, str, Callable[[str], bool]]] = [("__name__", "=", name.__eq__)] if name else []
        equal = {"__name__": name} if name else {}
        if self.taken("{"):
            while not self.taken("}"):
                tests.append(self.matcher(equal))
                if not self.taken(","):
                    self.expect("}")
                    break
        if not tests:
            self.refuse("vector selector must contain at least one non-empty matcher")
        seconds = None
        if self.taken("["):
            if self.kind != "duration":
                self.refuse("missing duration in range selector")
            seconds = duration(self.forward())
            self.expect("]")
        offset = 0.0
        if self.taken("offset"):
            if self.kind != "duration":
                self.refuse("unexpected end of offset, expected duration")
            offset = duration(self.forward())
        tracks = self.store.select(
            equal.get("__name__", ""),
            lambda labels: all(test(labels.get(label, "")) for label, _, test in tests),
        )
        if seconds is None:
            return Selected(self.store, tracks, offset, equal)
        return Ranged(self.store, tracks, seconds, offset)

    def matcher(self, equal: dict[str, str]) -> tuple[str, str, Callable[[str], bool]]:
        if self.kind != "name":
            self.refuse(f'unexpected "{self.text}" in label matching, expected identifier or "}}"')
        label = self.forward()
        sign = self.text
        if sign not in ("=", "!=", "=~", "!~"):
            self.refuse(f'unexpected "{self.text}" in label matching, expected label matching operator')
        self.forward()
        if self.kind != "string":
            self.refuse(f'unexpected "{self.text}" in label matching, expected string')
        wanted = re.sub(r"\\(.)", r"\1", self.forward()[1:-1])
        if sign == "=":
            equal[label] = wanted
        if sign in ("=", "!="):
            return label, sign, (wanted.__eq__ if sign == "=" else wanted.__ne__)
        try:
            pattern = re.compile(wanted)
        except re.error as error:
            self.refuse(f"error parsing regexp: {error}")
        return label, sign, lambda value: (pattern.fullmatch(value) is not None) == (sign == "=~")
