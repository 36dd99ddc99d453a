"""Hostile expressions (T1 to T9 of the promises): refused when they are kept, harmless when they were kept anyway."""

from __future__ import annotations

import pytest

from catalog.models import Team
from common.errors import Invalid
from common.yaml import Finding
from runbooks import inputs, schema
from runbooks.fields import Input
from tests.factories import make_actor
from tests.factories_language import ACTIONS, CHECKS, RUNBOOK, ends_within
from tests.factories_runbooks import make_runbook, pump, start, step
from tests.fakes.world import World
from tests.runbooks.bad_texts import EXPRESSIONS, STATEMENTS, expression_in, text_in

ASK = '  check:\n    - {{id: a, check: world.ask, pass_if: "{rule}"}}\n'
RULE = RUNBOOK[: RUNBOOK.index("fail_if:")].count("\n") + 1
PARAMETER = RUNBOOK[: RUNBOOK.index("{{ inputs.words")].count("\n") + 1
# What the sample of an alert says; some of it would be code if it were ever read as such.
HOSTILE = "{{ 7 * 7 }}{% raw %}"


def check(text: str) -> list[Finding]:
    return schema.check(text, file="sample.yaml", checks=CHECKS, actions=ACTIONS)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_it_is_refused_as_a_rule_and_in_a_text(name: str) -> None:
    source = EXPRESSIONS[name]
    for text, line in ((expression_in(source), RULE), (text_in("{{ " + source + " }}"), PARAMETER)):
        with ends_within(0.5):
            found = [finding for finding in check(text) if finding.code in ("RB055", "RB057")]
        assert [finding.line for finding in found] == [line], name
        assert found[0].column > 1
        assert found[0].fix


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_text_holds_nothing_but_expressions(name: str) -> None:
    found = [finding for finding in check(text_in(STATEMENTS[name])) if finding.code == "RB057"]
    assert found
    assert found[0].fix


@pytest.mark.parametrize(
    "source",
    ["'a' * 200000000 == inputs.word", "(inputs.word * 1000000000) == 'x'", "inputs.numbers * 100000000 == []"],
)
@pytest.mark.django_db
def test_what_is_refused_only_when_it_runs_is_an_error_of_the_step(team: Team, world: World, source: str) -> None:
    head = "inputs:\n  word: {type: string, default: a}\n  numbers: {type: list, default: [1]}\n"
    run = start(make_runbook(team, ASK.format(rule=source), head=head), make_actor(team), team)
    with ends_within(2):
        pump()
    asked = step(run, "a")
    assert (asked.verdict, asked.reason) == ("error", "expression")


@pytest.mark.django_db
def test_template_text_in_a_value_is_printed_as_it_is(team: Team, world: World) -> None:
    steps = "  check:\n    - {id: a, check: world.ask, with: {to: '<{{ inputs.word }}>'}, pass_if: value > 0}\n"
    steps += "    - {id: b, manual: 'Look at {{ inputs.word }}.'}\n"
    runbook = make_runbook(team, steps, head="inputs: {word: {type: string}}\n")
    run = start(runbook, make_actor(team), team, word=HOSTILE)
    pump()
    assert step(run, "a").params == {"to": f"<{HOSTILE}>"}
    assert "7 \\* 7" in (step(run, "b").params or {})["text"]


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ("search", True),
        ('x"} or vector(1) #', False),
        ("search\n", False),
        ("search\\", False),
        (".*", False),
        ("search|.*", False),
        ("", False),
    ],
)
def test_only_a_value_that_fits_its_pattern_reaches_a_query(value: str, fits: bool) -> None:
    declared = {"service": Input(type="string", pattern="[a-z0-9-]{1,40}")}
    if fits:
        assert inputs.resolve(declared, given={"service": value}).values == {"service": value}
        return
    with pytest.raises(Invalid):
        inputs.resolve(declared, given={"service": value})


@pytest.mark.parametrize("name", ["alert.title", "alert.labels.service", "inputs.words", "steps.first.result", "item"])
def test_foreign_text_never_reaches_a_query(name: str) -> None:
    text = RUNBOOK.replace("with: {signal: latency}", f"with: {{signal: latency, query: 'up{{{{ {name} }}}}'}}", 1)
    assert {"RB041", "RB057"} & {finding.code for finding in check(text)}


@pytest.mark.parametrize("source", ["^(a+)+$", "(a|aa)+$", "(.*)*x", "a{1,900}b"])
def test_a_pattern_takes_the_same_time_on_every_text(source: str) -> None:
    declared = Input(type="string", pattern=source)
    with ends_within(0.2), pytest.raises(ValueError, match="does not match"):
        inputs.read_value(declared, "a" * 9_000 + "!")


@pytest.mark.parametrize("source", ["(?=a)", "(a)\\1", "(?<=a)b", "(" * 300, "a" * 257, "[", "a{1001}"])
def test_a_pattern_that_is_not_re2_or_too_long_is_refused(source: str) -> None:
    quoted = source.replace("'", "''")
    found = check(RUNBOOK.replace('"[a-z-]+"', f"'{quoted}'"))
    assert "RB013" in {finding.code for finding in found}
    assert all(finding.fix for finding in found)
