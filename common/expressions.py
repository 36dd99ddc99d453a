"""Authored expressions and texts: a closed, call-free part of Jinja2, the only template language authors get.

The syntax tree is checked against a list before anything is compiled, so there are no calls, statements, loops or
macros. Maps are looked up by item and nothing is looked up by attribute, so no method or dunder is in reach. A name or
key that does not exist is an error, never false and never empty; `ExpressionError.missing` tells it apart. Values are
never templates: what is inserted is not rendered again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.parser import Parser
from jinja2.runtime import Undefined

from common.errors import Invalid
from common.expression_filters import FILTERS, TESTS, Environment, Refused, as_text, limited_work, size_of, spend

MAX_LENGTH = 2_000
MAX_DEPTH = 30
# Characters of a text, of a rendered text and of a result; also the items of a result.
MAX_TEXT = 64 * 1024
# Expressions in one text: each costs a compilation.
MAX_PARTS = 200
# Numbers beyond this are no measurement, and databases store them differently.
_MAX_INTEGER = 2**63 - 1

_PLAIN = (
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.Div,
    nodes.Neg,
    nodes.List,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    # eq ne lt lteq gt gteq in notin: all there are.
    nodes.Compare,
    nodes.Operand,
)
_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Call: "Calls are not allowed; use a filter, such as `value | round(2)`.",
    nodes.Pow: "`**` is not allowed.",
    nodes.FloorDiv: "`//` is not allowed; write `(a / b) | int`.",
    nodes.Mod: "`%` is not allowed.",
    nodes.Concat: "`~` is not allowed; write several {{ }} in one text.",
    nodes.Slice: "Slices are not allowed; use `first` or `last`.",
    nodes.Tuple: "Tuples are not allowed; write a list: [a, b].",
    nodes.Pos: "Unary plus is not allowed.",
}
# Filters and tests whose argument names a filter or test, by the position of that name.
_NAMES_A_TEST = {"select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}
_BOOLEAN = (nodes.Compare, nodes.Not, nodes.Test)
# What the result is assigned to; no author can use it, because names are checked against the list given.
_RESULT = "result_of_expression"
_ENVIRONMENT = Environment()
_NO_WORDS = "Every expression is one line of logic; statements (`{%`) and comments (`{#`) are not allowed."

Dotted = tuple[str, ...]


class ExpressionError(Invalid):
    """An expression that is refused, or that could not be evaluated.

    `missing` is the dotted path that does not exist, e.g. ("alert", "labels", "kind"), when that was the reason.
    """

    def __init__(self, sentence: str, *, fix: str = "", missing: Dotted | None = None) -> None:
        super().__init__(sentence, fix=fix)
        self.missing = missing


@dataclass(frozen=True)
class Expression:
    """A checked expression. `names_used` are dotted paths as written, e.g. ("steps", "a", "value")."""

    source: str
    names_used: list[Dotted]
    # Whether it can only give true or false, as far as the syntax shows.
    is_boolean: bool
    # Whether it uses no name at all, so that its value never changes.
    is_constant: bool
    _template: jinja2.Template = field(repr=False, compare=False)  # noqa: TID251  compiled from a checked tree

    def evaluate(self, context: Mapping[str, Any]) -> Any:
        """The value, as plain data. Raises ExpressionError: missing name, wrong types, too much work or result."""
        with limited_work():
            return self._evaluate(context)

    def _evaluate(self, context: Mapping[str, Any]) -> Any:
        given = {path[0]: context[path[0]] for path in self.names_used if path[0] in context}
        try:
            scope = self._template.new_context(given)
            for _ in self._template.root_render_func(scope):
                pass
            return _plain(scope.vars[_RESULT])
        except UndefinedError as error:
            raise self._missing(given, str(error.message)) from None
        except Refused as error:
            raise ExpressionError(f"`{_short(self.source)}`: {error}") from None
        except ZeroDivisionError:
            raise ExpressionError(f"`{_short(self.source)}` divides by zero.") from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, TemplateError) as error:
            raise ExpressionError(f"`{_short(self.source)}` cannot be computed: {_short(str(error))}.") from None
        except (RecursionError, MemoryError):
            raise ExpressionError(f"`{_short(self.source)}` is too big to compute.") from None

    def _missing(self, context: Mapping[str, Any], message: str) -> ExpressionError:
        # Jinja2 knows only the last name; the path that does not exist is found by walking what was written.
        path = next((gap for gap in (_gap(path, context) for path in self.names_used) if gap), ())
        if not path:
            return ExpressionError(f"`{_short(self.source)}`: {message}", missing=("?",))
        dotted = ".".join(path)
        return ExpressionError(f"`{dotted}` does not exist (in `{_short(self.source)}`).", missing=path)


@dataclass(frozen=True)
class Text:
    """A checked text with {{ expressions }} in it."""

    source: str
    parts: list[str | Expression]

    @property
    def expressions(self) -> list[Expression]:
        """The expressions in it, in order."""
        return [part for part in self.parts if isinstance(part, Expression)]

    @property
    def names_used(self) -> list[Dotted]:
        """Every dotted path any of them uses."""
        return list(dict.fromkeys(name for part in self.expressions for name in part.names_used))

    def render(self, context: Mapping[str, Any], *, escape: Callable[[str], str] | None = None) -> Any:
        """The typed value of a lone {{ expression }}, else text; `escape` is applied to inserted values only.

        Raises ExpressionError, also when the text becomes longer than 64 KiB.
        """
        with limited_work():
            if len(self.parts) == 1 and isinstance(self.parts[0], Expression) and escape is None:
                return self.parts[0]._evaluate(context)  # noqa: SLF001  the same module's other half
            rendered, length = [], 0
            for part in self.parts:
                text = part
                if isinstance(part, Expression):
                    text = as_text(part._evaluate(context))  # noqa: SLF001  as above
                    text = escape(text) if escape else text
                assert isinstance(text, str)
                length += len(text)
                if length > MAX_TEXT:
                    raise ExpressionError(f"The text becomes longer than {MAX_TEXT // 1024} KiB.")
                rendered.append(text)
            return "".join(rendered)


def compile(source: str, *, names: Iterable[str]) -> Expression:  # noqa: A001  called module-qualified
    """Check a bare expression (no braces) that may use the given names. Raises ExpressionError."""
    return _compile(source, frozenset(names))


def bounds(source: str, *, names: Iterable[str], on: str) -> list[tuple[str, Expression]]:
    """What a condition compares the name `on` with, so that it can be drawn: ("<", the other side), or > <= >=.

    Empty unless the condition is one comparison, or several joined by `and`. Raises ExpressionError as `compile` does.
    """
    known = frozenset(names)
    _compile(source, known)
    return [(sign, _built(source, side, known)) for sign, side in _bounds(_parse(source), on)]


def compile_text(source: str, names: Iterable[str]) -> Text:
    """Check a text that may contain {{ expressions }} over the given names. Raises ExpressionError."""
    return _compile_text(source, frozenset(names))


def render(text: str, context: Mapping[str, Any]) -> Any:
    """Compile and render a text over whatever the context holds; a lone {{ expression }} keeps its type."""
    return compile_text(text, context).render(context)


# The signs that Markdown lets one escape by a backslash; the others become character references.
_SIGNS = re.compile(r"([\\`*_{}\[\]()>#+\-.!])")
_REFERENCES = {"&": "&amp;", "<": "&lt;", "|": "&#124;", "~": "&#126;", ":": "&#58;", "^": "&#94;", "=": "&#61;"}


def as_markdown(text: str) -> str:
    """Foreign text made harmless inside Markdown: one line, every sign that means something escaped."""
    escaped = _SIGNS.sub(r"\\\1", " ".join(text.split()))
    return "".join(_REFERENCES.get(sign, sign) for sign in escaped)


@lru_cache(maxsize=4096)
def _compile(source: str, names: frozenset[str]) -> Expression:
    if len(source) > MAX_LENGTH:
        raise ExpressionError(f"The expression has {len(source):,} characters; at most {MAX_LENGTH:,} are allowed.")
    if not source.strip():
        raise ExpressionError("The expression is empty.")
    if "{{" in source or "{%" in source or "{#" in source:
        raise ExpressionError("Write the expression without braces.", fix="Remove `{{` and `}}`.")
    return _built(source, _parse(source), names)


def _built(source: str, tree: nodes.Expr, names: frozenset[str]) -> Expression:
    check = _Check(names)
    check.visit(tree, 1)
    assign = nodes.Assign(nodes.Name(_RESULT, "store"), tree, lineno=1)
    try:
        template = _ENVIRONMENT.from_string(nodes.Template([assign], lineno=1))
    except (TemplateError, RecursionError, SyntaxError, ValueError, MemoryError) as error:
        raise ExpressionError(f"`{_short(source)}` cannot be compiled: {_short(str(error))}.") from None
    return Expression(source, check.paths, _is_boolean(tree), not check.paths, template)


def _parse(source: str) -> nodes.Expr:
    try:
        parser = Parser(_ENVIRONMENT, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise ExpressionError(f"`{_short(source)}`: unexpected `{_short(str(parser.stream.current.value))}`.")
    except TemplateSyntaxError as error:
        raise ExpressionError(f"`{_short(source)}`: {_short(str(error.message))}.") from None
    except RecursionError:
        raise ExpressionError(f"The expression is nested more than {MAX_DEPTH} deep.") from None
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError, AssertionError) as error:
        # For instance a number of 5,000 digits, which int() refuses.
        raise ExpressionError(f"`{_short(source)}` cannot be read: {_short(str(error))}.") from None
    # The parser puts positions in a tree whose root knows no environment; filters need it while compiling.
    tree.set_environment(_ENVIRONMENT)
    return tree


_SIGN = {"lt": "<", "gt": ">", "lteq": "<=", "gteq": ">="}
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _bounds(tree: nodes.Expr, on: str) -> list[tuple[str, nodes.Expr]]:
    if isinstance(tree, nodes.And):
        return _bounds(tree.left, on) + _bounds(tree.right, on)
    if not isinstance(tree, nodes.Compare):
        return []
    found: list[tuple[str, nodes.Expr]] = []
    left = tree.expr
    for operand in tree.ops:
        sign, right = _SIGN.get(operand.op, ""), operand.expr
        if sign and isinstance(left, nodes.Name) and left.name == on:
            found.append((sign, right))
        elif sign and isinstance(right, nodes.Name) and right.name == on:
            found.append((_TURNED[sign], left))
        left = right
    return found


class _Check:
    """Walks a syntax tree and refuses whatever is not on the list, collecting the dotted paths it reads."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.paths: list[Dotted] = []

    def visit(self, node: nodes.Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ExpressionError(f"The expression is nested more than {MAX_DEPTH} deep.")
        if isinstance(node, nodes.Name | nodes.Getattr | nodes.Getitem):
            self._path(node, depth)
            return
        if isinstance(node, nodes.Const):
            _check_constant(node.value)
            return
        if isinstance(node, nodes.Filter):
            self._filter(node)
        elif isinstance(node, nodes.Test):
            _known("test", node.name, TESTS)
            _no_stars(node)
        elif isinstance(node, nodes.CondExpr):
            if node.expr2 is None:
                raise ExpressionError("An inline `if` needs an `else`.", fix="Write `a if condition else b`.")
        elif not isinstance(node, _PLAIN):
            raise ExpressionError(_REFUSED.get(type(node), f"{type(node).__name__} is not allowed in an expression."))
        for child in node.iter_child_nodes():
            self.visit(child, depth + 1)

    def _path(self, node: nodes.Node, depth: int) -> None:
        """Note the dotted path of a chain of lookups, and check what stands in its brackets."""
        parts: list[str] = []
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            depth += 1
            if depth > MAX_DEPTH:
                raise ExpressionError(f"The expression is nested more than {MAX_DEPTH} deep.")
            if isinstance(node, nodes.Getattr):
                parts.append(node.attr)
            elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str | int):
                _check_constant(node.arg.value)
                parts.append(str(node.arg.value))
            else:
                # Looked up by a value: what comes after it cannot be known from the text.
                self.visit(node.arg, depth + 1)
                parts.clear()
            node = node.node
        if not isinstance(node, nodes.Name):
            self.visit(node, depth + 1)
            return
        if node.name not in self.names:
            raise ExpressionError(f"There is no name `{_short(node.name)}` here.", fix=_hint(node.name, self.names))
        path = (node.name, *reversed(parts))
        if path not in self.paths:
            self.paths.append(path)

    def _filter(self, node: nodes.Filter) -> None:
        _known("filter", node.name, FILTERS)
        _no_stars(node)
        if node.node is None:
            raise ExpressionError("A filter needs a value before it.")
        if node.name in _NAMES_A_TEST:
            _known_argument("test", node, _NAMES_A_TEST[node.name], TESTS)
        if node.name == "map":
            _known_argument("filter", node, 0, FILTERS)


def _known(what: str, name: str, table: Mapping[str, object]) -> None:
    if name not in table:
        raise ExpressionError(f"There is no {what} `{_short(name)}`.", fix=_hint(name, table))


def _known_argument(what: str, node: nodes.Filter, position: int, table: Mapping[str, object]) -> None:
    if len(node.args) <= position:
        return
    argument = node.args[position]
    if not isinstance(argument, nodes.Const) or not isinstance(argument.value, str):
        raise ExpressionError(f"`{node.name}` needs the name of a {what} in quotes.")
    _known(what, argument.value, table)


def _no_stars(node: nodes.Filter | nodes.Test) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise ExpressionError("`*` and `**` arguments are not allowed.")


def _check_constant(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ExpressionError("The number is too large.")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ExpressionError("The number is too large.")


def _is_boolean(node: nodes.Node) -> bool:
    if isinstance(node, nodes.And | nodes.Or):
        return _is_boolean(node.left) and _is_boolean(node.right)
    if isinstance(node, nodes.CondExpr):
        return _is_boolean(node.expr1) and node.expr2 is not None and _is_boolean(node.expr2)
    return isinstance(node, _BOOLEAN) or (isinstance(node, nodes.Const) and isinstance(node.value, bool))


@lru_cache(maxsize=2048)
def _compile_text(source: str, names: frozenset[str]) -> Text:
    if len(source) > MAX_TEXT:
        raise ExpressionError(f"The text has more than {MAX_TEXT // 1024} KiB.")
    if "{{" not in source and "{%" not in source and "{#" not in source:
        return Text(source, [source])
    parts: list[str | Expression] = []
    inside: list[str] | None = None
    try:
        for _, kind, value in _ENVIRONMENT.lex(source):
            if kind == "variable_begin":
                inside = []
            elif kind == "variable_end":
                parts.append(_compile("".join(inside or []).strip(), names))
                inside = None
            elif inside is not None:
                inside.append(value)
            elif kind == "data":
                parts.append(value)
            else:
                raise ExpressionError(_NO_WORDS)
            if len(parts) > 2 * MAX_PARTS:
                raise ExpressionError(f"The text has more than {MAX_PARTS} expressions.")
    except TemplateSyntaxError as error:
        message = _short(str(error.message))
        raise ExpressionError(f"The text cannot be read: {message}.", fix="Close every `{{` with `}}`.") from None
    if inside is not None:
        raise ExpressionError("A `{{` is not closed.", fix="Close it with `}}`.")
    return Text(source, parts)


def _plain(value: Any) -> Any:
    """The result as plain data within limits. Raises Refused or UndefinedError."""
    if size_of(value, limit=MAX_TEXT) > MAX_TEXT + 1:
        raise Refused(f"the result is larger than {MAX_TEXT // 1024} KiB.")
    return _copied(value, 0)


def _copied(value: Any, depth: int) -> Any:
    spend(1)
    if isinstance(value, Undefined):
        # Strict: raises with the name of what is missing.
        return str(value)
    if depth > MAX_DEPTH:
        raise Refused("the result is nested too deep.")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float):
        if not math.isfinite(value) or (isinstance(value, int) and abs(value) > _MAX_INTEGER):
            raise Refused("the result is not a finite number.")
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_copied(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _copied(item, depth + 1) for key, item in value.items()}
    raise Refused("the result is not plain data.")


def _gap(path: Dotted, context: Mapping[str, Any]) -> Dotted:
    """The first part of a path that does not exist in the context; empty when all of it does."""
    value: Any = context
    for length, part in enumerate(path, 1):
        if isinstance(value, Mapping):
            if part not in value:
                return path[:length]
            value = value[part]
        elif isinstance(value, list | tuple) and part.lstrip("-").isdigit():
            if not -len(value) <= int(part) < len(value):
                return path[:length]
            value = value[int(part)]
        else:
            return ()
    return ()


def _hint(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(sorted(known))}."


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "…"
