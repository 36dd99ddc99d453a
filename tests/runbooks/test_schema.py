"""Every code of the runbook language: a text that causes it, and where it is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import Invalid
from common.yaml import Finding
from runbooks import inputs, schema
from runbooks.schema import RunbookFaults
from tests.factories_language import ACTIONS, CHECKS, RUNBOOK, ends_within, make_text

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "runbook-language.md"
APPROVAL = "\n      approval: {from: [role:oncall], timeout: 30m}"
LOCK = '      lock: "service:{{ inputs.service }}"\n'
NO_WAY_BACK = "      irreversible: It can be switched again.\n"


def check(text: str, **options: object) -> list[Finding]:
    return schema.check(text, file="sample.yaml", checks=CHECKS, actions=ACTIONS, **options)  # type: ignore[arg-type]


def test_it_accepts_the_example_of_the_guide() -> None:
    example = GUIDE.read_text().partition("```yaml\n")[2].partition("```")[0]
    assert schema.check(example, file="slow_search.yaml") == []


def test_it_accepts_the_sample() -> None:
    assert check(RUNBOOK, principals={"team:default"}) == []


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ([("fail_if: value", "fail_iff: value")], '"fail_if"'),
        ([("titel", "titel")], '"title"'),
        ([("check: fake.measure", "check: fake.mesure")], '"fake.measure"'),
        ([("  measure:", "  mesure:")], '"measure"'),
        ([("incident_type: other", "incident_type: othr")], '"other"'),
        ([("steps.first", "steps.frist")], '"first"'),
        ([("fail_if: value", "timeout: 30\n      fail_if: value")], "Write 30s"),
        ([("{type: string, default: hello}", "{tpye: string}")], '"type"'),
        ([("      wait: 1m", "      wiat: 1m")], '"wait"'),
    ],
)
def test_it_says_what_to_write_instead(changes: list[tuple[str, str]], hint: str) -> None:
    text = make_text(*changes) if changes[0][0] != "titel" else RUNBOOK.replace("title: A", "titel: A", 1)
    assert any(hint in finding.fix for finding in check(text)), [str(finding) for finding in check(text)]


def test_it_takes_sensitive_inputs_and_secrets_as_parameters() -> None:
    text = make_text(
        ("default: hello", "sensitive: true"), ("with: {signal: latency}", "with: {signal: {secret: key}}")
    )
    assert check(text) == []


def test_it_lists_all_findings_at_once() -> None:
    text = make_text(
        ("incident_type: other", "incident_type: unknown"),
        ("fail: 3", "fail: 9"),
        ("check: fake.measure", "check: fake.nothing"),
        ("wait: 1m", "wait: 60"),
        ("if: diagnosis.top == 'broken'", "if: nobody"),
        (NO_WAY_BACK, ""),
        ("cause: diagnosis.top", "cause: 1 +"),
    )
    codes = [finding.code for finding in check(text)]
    assert {"RB004", "RB021", "RB040", "RB052", "RB035", "RB059", "RB033"} <= set(codes)
    assert [finding.line for finding in check(text)] == sorted(finding.line for finding in check(text))


def test_it_takes_no_own_verdict_only_where_the_check_has_none() -> None:
    judged = make_text(
        ("check: fake.measure", "check: fake.judge"),
        ("      fail_if: value > 1 and steps.first.verdict == 'fail'\n", ""),
    )
    assert check(judged) == []


def test_it_lets_checked_inputs_into_queries() -> None:
    text = make_text(("with: {signal: latency}", "with: {signal: latency, query: \"up{s='{{ inputs.service }}'}\"}"))
    assert check(text) == []


def test_it_leaves_providers_out_when_asked() -> None:
    assert check(make_text(("check: fake.measure", "check: not.here")), providers=False) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[]",
        "phases: 3",
        "phases: {check: 7}",
        "phases: {check: [7, {}]}",
        "a: *b",
        "inputs: {x: 3}\nspec: []",
        "finally: {a: 1}",
        "phases: {check: [{id: [], check: {}, with: 3}]}",
        "triggers: [7]\nhypotheses: {x: {evidence: 7}}",
    ],
)
def test_it_never_raises(text: str) -> None:
    assert all(finding.code.startswith("RB") and finding.line >= 1 for finding in check(text))
    assert check(text)


def test_it_survives_any_cut_of_the_text() -> None:
    for end in range(0, len(RUNBOOK), 23):
        check(RUNBOOK[:end])


def test_it_parses_into_what_the_engine_reads() -> None:
    spec = schema.parse(RUNBOOK, file="sample.yaml", checks=CHECKS, actions=ACTIONS)
    assert [(phase, step.id, step.kind, step.provider) for phase, step in spec.steps()] == [
        ("check", "first", "check", "fake.judge"),
        ("measure", "second", "check", "fake.measure"),
        ("remediate", "change", "action", "fake.switch"),
        ("verify", "calm", "wait", ""),
        ("verify", "better", "check", "fake.judge"),
    ]
    assert spec.step("second").references() == {"first"}
    assert spec.step("calm").timeout_seconds == 60
    assert [spec.step("change").policy(verdict) for verdict in ("fail", "inconclusive", "error")] == [
        "stop",
        "ask",
        "ask",
    ]
    assert (spec.step("change").tries("set"), spec.step("change").tries("once"), spec.step("first").tries()) == (
        3,
        1,
        3,
    )
    assert (spec.deadline, spec.concurrency_key, spec.when_busy) == (259_200, "{{ inputs.service }}", "join")


def test_it_reads_its_stored_form_back() -> None:
    spec = schema.parse(RUNBOOK, file="sample.yaml", checks=CHECKS, actions=ACTIONS)
    assert schema.load(spec.stored()) == spec


def test_it_refuses_to_parse_what_has_errors() -> None:
    with pytest.raises(RunbookFaults) as caught:
        schema.parse(make_text(("spec: 1", "spec: 3"), ("wait: 1m", "wait: 60")), file="sample.yaml")
    assert {"RB001", "RB052"} <= {finding.code for finding in caught.value.findings}
    assert caught.value.sentence.startswith("sample.yaml, line 1:")


def test_it_gives_editors_a_schema() -> None:
    told = schema.json_schema()
    assert told["$schema"].endswith("2020-12/schema")
    assert {"spec", "id", "phases", "finally"} <= set(told["properties"])
    assert "CheckStep" in told["$defs"]


def test_it_lints_a_big_runbook_soon() -> None:
    steps = "".join(
        f"    - id: s{number}\n      check: fake.judge\n      with: {{signal: latency}}\n"
        f"      if: steps.first.value > {number}\n"
        for number in range(180)
    )
    with ends_within(1):
        assert check(make_text(("    - id: second", steps + "    - id: second"))) == []


def test_it_resolves_inputs_from_alert_and_defaults() -> None:
    spec = schema.parse(RUNBOOK, file="sample.yaml", checks=CHECKS, actions=ACTIONS)
    found = inputs.resolve(spec.inputs, given={}, alert={"labels": {"service": "search"}})
    assert found.values == {"service": "search", "words": "hello"}
    assert found.sources == {"service": "alert.labels.service", "words": "default"}


def test_it_tells_every_wrong_input() -> None:
    spec = schema.parse(RUNBOOK, file="sample.yaml", checks=CHECKS, actions=ACTIONS)
    with pytest.raises(Invalid) as caught:
        inputs.resolve(spec.inputs, given={"words": ["x"], "other": 1}, alert={"labels": {"service": "NOT ok"}})
    assert set(caught.value.extra["fields"]) == {"service", "words", "other"}  # type: ignore[call-overload]
