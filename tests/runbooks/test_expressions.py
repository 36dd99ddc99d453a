"""What authored expressions can do, and what they cannot (attacks T1 to T6 of the design)."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import expressions
from common.expressions import ExpressionError
from tests.factories_language import ends_within

CONTEXT: dict[str, Any] = {
    "a": 3,
    "text": "abc",
    "flag": True,
    "nothing": None,
    "numbers": [3, 1, 2],
    "rows": [{"name": "x", "delta": -0.2}, {"name": "y", "delta": 0.1}],
    "alert": {"status": "firing", "labels": {"kind": "slow", "items": "seven"}},
    "steps": {"one": {"verdict": "fail", "value": 0.25, "result": {"rows": []}}},
}


def value(source: str) -> Any:
    return expressions.compile(source, names=CONTEXT).evaluate(CONTEXT)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a + 1 * 2 - 4 / 2", 3.0),
        ("-a", -3),
        ("a > 2 and not (a == 4 or a in [5, 6])", True),
        ("a not in numbers", False),
        ("1 < a <= 3", True),
        ("'yes' if flag else 'no'", "yes"),
        ("alert.labels.kind == 'slow'", True),
        ("alert['labels']['kind']", "slow"),
        # A key that is also the name of a method of maps.
        ("alert.labels.items", "seven"),
        ("numbers[0] + numbers[-1]", 5),
        ("rows.1.name", "y"),
        ("alert.labels['ki' + 'nd']", "slow"),
        ("[1] + [2]", [1, 2]),
        ("{'k': a}", {"k": 3}),
        ("rows | selectattr('delta', 'lt', -0.05) | list | length > 0", True),
        ("rows | rejectattr('delta', 'lt', 0) | map(attribute='name') | first", "y"),
        ("rows | map(attribute='name') | join(', ')", "x, y"),
        ("numbers | sort | last", 3),
        ("numbers | select('gt', 1) | list", [3, 2]),
        ("numbers | reject('in', [1]) | sum", 5),
        ("[numbers | min, numbers | max]", [1, 3]),
        ("['b', 'a', 'b'] | unique | list", ["b", "a"]),
        ("text | upper | lower | trim | replace('b', 'xx')", "axxc"),
        ("' 7 ' | trim | int + 1", 8),
        ("'0.5' | float", 0.5),
        ("'junk' | int(default=9)", 9),
        ("2.345 | round(1)", 2.3),
        ("2.3 | round(0, 'ceil') | int", 3),
        ("a | string", "3"),
        ("rows | first | tojson", '{"delta": -0.2, "name": "x"}'),
        ("5400 | duration", "1h 30m"),
        ("0.0312 | percent", "3.1 %"),
        ("alert.labels.other | default('none')", "none"),
        ("alert.labels.other is defined", False),
        ("nothing is none and text is string and a is number", True),
        ("a is eq 3 and a is ne 4 and a is ge 3 and a is le 3 and a is lt 4 and a is gt 2 and a is in [3]", True),
        ("-2 | abs", 2),
    ],
)
def test_it_computes(source: str, expected: Any) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        # Ways out of the sandbox (T1, T4).
        "().__class__.__mro__",
        "''.__class__",
        "text.__class__.__mro__",
        "''|attr('format')",
        "text.format_map(a)",
        "text.format(1)",
        "alert.labels.items()",
        "alert.__init__",
        "numbers.append",
        "self",
        "settings.SECRET_KEY",
        "request",
        "lipsum(n=100)",
        "range(9)",
        # Bombs (T2).
        "'a' * 1000000000",
        "9 ** 99",
        "9 // 2",
        "9 % 2",
        "'a'|center(2000000000)",
        "'a'.ljust(2000000000)",
        "'%2000000000d'|format(1)",
        "5 | round(1000000000, 'ceil')",
        "numbers * 1000000000",
        "9" * 1999,
        "1e999",
        # Statements and the like (T3, T5).
        "{{ a }}",
        "{% if a %}",
        "{# a #}",
        "a ~ text",
        "a[0:2]",
        "(1, 2)",
        "+a",
        "'x' if flag",
        "numbers | select(text) | list",
        "numbers | map('attr', 'x') | list",
        "numbers | select('divisibleby', 2) | list",
        "a | join(*numbers)",
        "a b",
        "a; b",
        "",
        "unknown",
        "lambda: 1",
        "a = 3",
        # Strictness
        "text > 3",
        "nothing > 3",
        "nothing.x",
        "text.x",
        "1 / 0",
        "'junk' | int",
        "numbers | sum(start=text)",
        "alert.labels.other",
        "not alert.labels.other",
        "alert.labels.other == 'x'",
        "alert.labels.other + 1",
        "'x' in alert.labels.other",
        "rows | map(attribute='nope') | list",
        "(" * 900 + "1" + ")" * 900,
        "-" * 1999 + "1",
        "not " * 400 + "true",
        "a" + ".b" * 40,
        "+".join(["a"] * 40),
        "a" * 2001,
        "[" * 31 + "]" * 31,
    ],
)
def test_it_refuses_with_a_sentence(source: str) -> None:
    with ends_within(1), pytest.raises(ExpressionError) as caught:
        value(source)
    assert caught.value.sentence.endswith(".")
    assert "Traceback" not in caught.value.sentence


def test_it_compiles_without_computing() -> None:
    with ends_within(0.1):
        expressions.compile_text("{{ 'a' * 200000000 }}", set())
        expressions.compile("'a' * 200000000", names=set())


@pytest.mark.parametrize(
    "source",
    [
        "'a'" + f" | replace('a', '{'a' * 90}')" * 9,
        "long | list | map('replace', 'a', long) | list | length",
        "long | list | join(long)",
        "long | list | map('default', long) | join(long)",
        "long | list | select('in', long | list) | list | length",
        "maps | map(attribute='x', default=long) | list | tojson",
        "maps | map(attribute='x', default=long) | list | sort",
    ],
)
def test_it_bounds_the_work_of_filters(source: str) -> None:
    context: dict[str, Any] = {"long": "a" * 60_000, "maps": [{}] * 1_000}
    with ends_within(2), pytest.raises(ExpressionError, match="too much work"):
        expressions.compile(source, names=context).evaluate(context)


def test_it_tells_a_missing_key_apart() -> None:
    with pytest.raises(ExpressionError) as caught:
        value("alert.status == 'firing' and alert.labels.tenant == 'acme'")
    assert caught.value.missing == ("alert", "labels", "tenant")
    assert "`alert.labels.tenant` does not exist" in caught.value.sentence
    with pytest.raises(ExpressionError) as caught:
        value("text > 3")
    assert caught.value.missing is None


def test_it_knows_the_names_it_uses() -> None:
    used = expressions.compile("steps.one.value > 1 and steps['two'].x and inputs.a", names={"steps", "inputs"})
    assert used.names_used == [("steps", "one", "value"), ("steps", "two", "x"), ("inputs", "a")]
    dynamic = expressions.compile("steps[inputs.which].value", names={"steps", "inputs"})
    assert dynamic.names_used == [("inputs", "which"), ("steps",)]


@pytest.mark.parametrize(
    ("source", "is_boolean"),
    [("a > 1", True), ("not a", True), ("a and flag", False), ("a == 1 or true", True), ("a", False)],
)
def test_it_sees_what_can_only_be_true_or_false(source: str, is_boolean: bool) -> None:
    assert expressions.compile(source, names=CONTEXT).is_boolean is is_boolean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ a }}", 3),
        ("{{ numbers }}", [3, 1, 2]),
        ("{{ a }}\n", "3\n"),
        ("{{ a }} of {{ 0.5 | percent }}", "3 of 50.0 %"),
        ("{{ flag }}/{{ nothing }}/{{ rows | first }}", 'true/none/{"delta": -0.2, "name": "x"}'),
        ("no braces at all {x} }}", "no braces at all {x} }}"),
        ('up{service="{{ text }}"}[10m]', 'up{service="abc"}[10m]'),
        ("{{ '}}' }}", "}}"),
        ("{{ 'resolved' if alert.status == 'healthy' else 'firing' }}", "firing"),
    ],
)
def test_it_renders_texts(text: str, expected: Any) -> None:
    assert expressions.render(text, CONTEXT) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{% raw %}{{ a }}{% endraw %}",
        "{% for x in numbers %}x{% endfor %}",
        "{# note #}",
        "{{ a",
        "{{ }}",
        "{% include 'x' %}",
    ],
)
def test_it_refuses_everything_but_expressions_in_texts(text: str) -> None:
    with pytest.raises(ExpressionError):
        expressions.render(text, CONTEXT)


def test_it_never_renders_a_value_again() -> None:
    context = {"label": "{{ 7 * 7 }} {% raw %}"}
    assert expressions.render("{{ label }}", context) == context["label"]
    assert expressions.render("<{{ label }}>", context) == f"<{context['label']}>"


def test_it_bounds_the_text() -> None:
    with pytest.raises(ExpressionError, match="64 KiB"):
        expressions.render("{{ x }}{{ x }}", {"x": "y" * 40_000})


def test_it_escapes_foreign_text_in_markdown() -> None:
    foreign = "**x** <script> [a](javascript:b)\n# h `c`"
    rendered = expressions.compile_text("**{{ x }}**", {"x"}).render({"x": foreign}, escape=expressions.as_markdown)
    assert rendered == r"**\*\*x\*\* &lt;script\> \[a\]\(javascript&#58;b\) \# h \`c\`**"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="a1.|()[]{}'\"+-*/%~,:<>=! \nnotifelsi", max_size=40))
def test_it_never_raises_anything_but_its_error(source: str) -> None:
    with contextlib.suppress(ExpressionError):
        value(source)
    with contextlib.suppress(ExpressionError):
        expressions.render(source, CONTEXT)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("value < 5", [("<", 5)]),
        ("value >= inputs.floor - 0.02", [(">=", 0.9)]),
        ("0.1 < value <= inputs.floor", [(">", 0.1), ("<=", 0.92)]),
        ("samples > 10 and value > 1 and result.x == 2", [(">", 1)]),
        ("value < 5 or samples > 3", []),
        ("not value < 5", []),
        ("value == 5", []),
        ("value | round < 5", []),
    ],
)
def test_it_tells_what_a_condition_compares_a_name_with(source: str, found: list[tuple[str, float]]) -> None:
    bounds = expressions.bounds(source, names={"value", "samples", "result", "inputs"}, on="value")
    told = [(sign, round(side.evaluate({"inputs": {"floor": 0.92}}), 9)) for sign, side in bounds]
    assert told == found
