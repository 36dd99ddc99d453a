"""Whatever is written: the loader answers with findings or a runbook that can run, an expression with a value or its
error; neither crashes nor hangs. `-m nightly` looks a hundred times longer."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import expressions
from common.expression_filters import FILTERS, TESTS
from common.expressions import ExpressionError
from runbooks import schema
from runbooks.definitions import Book
from runbooks.fields import Approval, Backoff, Concurrency, Hypothesis, Input, OnVerdict, Part, Undo, Watch
from runbooks.spec import Phases, RunbookSpec
from runbooks.steps import STEP_MODELS
from tests.factories_language import ACTIONS, CHECKS, RUNBOOK, ends_within

MODELS: list[type[Part]] = [
    RunbookSpec, Phases, Input, Concurrency, Hypothesis, Backoff, OnVerdict, Watch, Approval, Undo,
    *STEP_MODELS.values(),
]  # fmt: skip
FIELDS = sorted({field.alias or name for model in MODELS for name, field in model.model_fields.items()})
WORDS = [
    "first", "second", "change", "service", "words", "fake.judge", "fake.switch", "fake.once", "1m", "90s", "0s", "8d",
    "high", "low", "role:oncall", "team:default", "string", "integer", "duration", "pass", "fail", "ask", "unknown",
    "value > 1", "steps.first.value", "inputs.words", "diagnosis.top == 'x'", "{{ inputs.words }}", "{{ item }}", "{{",
]  # fmt: skip
odd = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False), st.sampled_from(WORDS),
    st.text(max_size=8),
)  # fmt: skip
names = st.one_of(st.sampled_from(FIELDS), st.sampled_from(WORDS), st.text(max_size=4))
data = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5), max_leaves=20
)


def check(text: str) -> None:
    """The promise: findings with code, place and fix; without an error among them, a runbook that the engine reads."""
    with ends_within(2):
        spec, found = schema.examine(text, file="sample.yaml", checks=CHECKS, actions=ACTIONS)
    lines = text.count("\n") + text.count("\r") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + 2
    for finding in found:
        assert finding.code.startswith("RB")
        assert 1 <= finding.line <= lines
        assert finding.column >= 1
        assert finding.message
        assert finding.fix
    if all(finding.severity == "warning" for finding in found):
        assert spec is not None
        assert schema.load(json.loads(json.dumps(spec.stored()))) == spec
        assert Book(spec).definitions


def profile(examples: int) -> Callable[[Any], Any]:
    """So many examples, the same in every run."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=examples < 1_000,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )


# --- texts -----------------------------------------------------------------------------------------------------------
pieces = st.one_of(
    st.sampled_from([f"{name}:" for name in FIELDS]),
    st.sampled_from(
        [*"[]{}:,-?&*!|>%#'\"\n ", "\n  ", "\n    - ", ": ", "---\n", "<<: ", "&a ", "*a", "!!str ", "|-\n"]
    ),
    st.sampled_from(WORDS),
    st.text(max_size=3),
)
yaml_like = st.lists(pieces, max_size=40).map("".join)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """The sample with a few of its lines changed, moved, doubled or dropped."""
    lines = RUNBOOK.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["drop", "double", "move", "value", "key", "indent"]))
        key, colon, value = lines[at].partition(":")
        if kind == "drop":
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif kind == "value":
            lines[at] = f"{key}{colon} {json.dumps(draw(data))}"
        elif kind == "key":
            lines[at] = f"{key[: len(key) - len(key.lstrip(' -'))]}{draw(st.sampled_from(FIELDS))}{colon}{value}"
        else:
            lines[at] = " " * draw(st.integers(0, 9)) + lines[at].lstrip()
    return "\n".join(lines)


@st.composite
def written(draw: st.DrawFn) -> str:
    """Steps of the right shape with odd values, in the sample: JSON is YAML."""
    kind = draw(st.sampled_from(["check", "action", "manual", "wait", "runbook"]))
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), data, max_size=6))
    step = {
        "id": "odd",
        kind: draw(st.sampled_from(WORDS)),
        **{key: value for key, value in fields.items() if key != "id"},
    }
    phase = draw(st.sampled_from(["check", "measure", "remediate", "verify"]))
    return RUNBOOK.replace(f"  {phase}:\n", f"  {phase}:\n    - {json.dumps(step)}\n", 1)


@pytest.mark.parametrize("texts", [yaml_like, mutants(), written(), data.map(json.dumps)], ids=range(4))
@pytest.mark.parametrize("examples", [60, pytest.param(10_000, marks=pytest.mark.nightly)])
def test_a_text_gives_findings_or_a_runbook(texts: st.SearchStrategy[str], examples: int) -> None:
    @profile(examples)
    @given(texts)
    def run(text: str) -> None:
        check(text)

    run()


# --- expressions -----------------------------------------------------------------------------------------------------
CONTEXT: dict[str, Any] = {
    "a": 3,
    "text": "abc",
    "flag": True,
    "nothing": None,
    "numbers": [3, 1, 2],
    "rows": [{"name": "x", "delta": -0.2}, {"name": "y", "delta": 0.1}],
    "alert": {"labels": {"kind": "slow"}},
}
atoms = st.one_of(
    st.sampled_from(
        [*CONTEXT, "alert.labels.kind", "rows[0].delta", "numbers[-1]", "rows.0.name", "nobody", "''", "[]"]
    ),
    st.integers(-(10**19), 10**19).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.text(alphabet="ab{}%'", max_size=3).map(lambda word: "'" + word.replace("'", "") + "'"),
)


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Every construct of the grammar, and a few that are not in it."""
    operators = ["+", "-", "*", "/", "==", "!=", "<", ">=", "in", "not in", "and", "or", "**", "//", "%", "~", "|"]
    filters = sorted({*FILTERS, "attr", "format"})
    tests = sorted({*TESTS, "callable"})
    return st.one_of(
        st.tuples(inner, st.sampled_from(operators), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(filters)).map(lambda t: f"({t[0]} | {t[1]})"),
        st.tuples(inner, st.sampled_from(filters), inner).map(lambda t: f"({t[0]} | {t[1]}({t[2]}))"),
        st.tuples(inner, st.sampled_from(filters), inner, inner).map(lambda t: f"({t[0]} | {t[1]}({t[2]}, {t[3]}))"),
        st.tuples(inner, st.sampled_from(tests), inner).map(lambda t: f"({t[0]} is {t[1]} {t[2]})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{'k': {t[0]}, {t[1]}: 1}}"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        inner.map(lambda one: f"{one}.{'items'}"),
        inner.map(lambda one: f"not -{one}"),
        inner.map(lambda one: f"{one}()"),
    )


@pytest.mark.parametrize("examples", [150, pytest.param(30_000, marks=pytest.mark.nightly)])
def test_an_expression_gives_plain_data_or_its_error(examples: int) -> None:
    @profile(examples)
    @given(st.recursive(atoms, combined, max_leaves=12))
    def run(source: str) -> None:
        with ends_within(1), contextlib.suppress(ExpressionError):
            found = expressions.compile(source, names=CONTEXT).evaluate(CONTEXT)
            json.dumps(found, allow_nan=False)
        with ends_within(1), contextlib.suppress(ExpressionError):
            expressions.render(f"<{{{{ {source} }}}}>", CONTEXT)

    run()
