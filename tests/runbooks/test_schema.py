"""Every code of the runbook language: a text that causes it, and where it is reported."""

from __future__ import annotations

import re
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


# Code, severity, what is replaced by what, and a part of the line that the finding must point to.
CASES: list[tuple[str, str, list[tuple[str, str]], str]] = [
    ("RB001", "error", [("spec: 1", "spec: 2")], "spec: 2"),
    ("RB002", "error", [("id: sample", "id: other")], "id: other"),
    ("RB002", "error", [("id: sample", "id: Sam-ple")], "id: Sam-ple"),
    ("RB003", "error", [("title: A sample", "title: 7")], "title: 7"),
    ("RB003", "error", [("title: A sample", 'title: ""')], "title:"),
    ("RB004", "error", [("incident_type: other", "incident_type: latency")], "incident_type"),
    ("RB005", "error", [("team:default", "someone")], "owner"),
    ("RB005", "error", [("team:default", "team:strangers")], "owner"),
    ("RB010", "error", [("alert.labels.kind == 'sample'", "steps.first.value > 1")], "alert: alert.status"),
    (
        "RB010",
        "error",
        [("alert.status == 'firing' and alert.labels.kind == 'sample'", "alert.labels.kind")],
        "- alert",
    ),
    ("RB011", "error", [("words: {type: string", "words: {type: text")], "words"),
    ("RB011", "error", [("  words:", "  Words-1:"), ("inputs.words", "inputs.service")], "Words-1"),
    ("RB012", "error", [("default: hello", "default: 7, max: 0")], "words"),
    ("RB012", "error", [("words: {type: string", "words: {type: integer")], "words"),
    ("RB013", "error", [('"[a-z-]+"', '"(?=x)"')], "service:"),
    ("RB014", "error", [("default: hello", "default: hello, min: 9, max: 3")], "words"),
    ("RB015", "error", [("from: alert.labels.service", "from: labels.service")], "service:"),
    (
        "RB015",
        "error",
        [
            ("default: hello", "default: hello, sensitive: true"),
            ("if: diagnosis.top == 'broken'", "if: inputs.words == 'x'"),
        ],
        "if: inputs",
    ),
    *(
        ("RB015", "error", [("default: hello", f"sensitive: true{more}"), *changes], where)
        for more, changes, where in (
            (", default: hello", [], "words:"),
            (", enum: [one, two]", [], "words:"),
            (", from: alert.title", [], "words:"),
            ("", [("words: {type: string", "words: {type: integer")], "words:"),
            ("", [("fail_if: value > 1", "fail_if: inputs['words'] == 'x'")], "fail_if:"),
            ("", [(LOCK, '      lock: "{{ inputs.words }}"\n')], "lock:"),
            ("", [("wait: 1m", "manual: See {{ inputs.words }}.")], "manual:"),
            ("", [("wait: 1m", "manual: Say it.\n      fields: {pin: {type: string, sensitive: true}}")], "fields"),
            ("", [("cause: diagnosis.top", "cause: inputs.words")], "cause:"),
            ("", [("phases:", 'concurrency: {key: "{{ inputs.words }}"}\nphases:')], "concurrency"),
            ("", [("{{ inputs.words }}", "{{ inputs.words }} {{ now }}")], "{{ now }}"),
        )
    ),
    ("RB016", "error", [("phases:", 'concurrency: {key: "{{ steps.x }}"}\nphases:')], "concurrency"),
    ("RB016", "error", [("phases:", "concurrency: {key: x, when_busy: wait}\nphases:")], "concurrency"),
    ("RB017", "error", [("phases:", "deadline: 15d\nphases:")], "deadline"),
    (
        "RB017",
        "error",
        [
            ("phases:", "deadline: 1h\nphases:"),
            (
                "      check: fake.judge\n      with: {signal: latency}\n",
                "      check: fake.judge\n      with: {signal: latency}\n      watch: {every: 5m, for: 1h}\n",
            ),
        ],
        "deadline",
    ),
    ("RB018", "warning", [("{{ inputs.words }}", "x")], "words:"),
    ("RB019", "warning", [("if: diagnosis.top == 'broken'", "if: 1 > 2")], "if: 1"),
    ("RB019", "warning", [("if: diagnosis.top == 'broken'", "if: true")], "if: true"),
    ("RB020", "error", [("first: {fail: 3", "frist: {fail: 3")], "frist"),
    ("RB021", "error", [("fail: 3", "fail: 7")], "fail: 7"),
    ("RB021", "error", [("fail: 3, pass", "inconclusive: 3, pass")], "inconclusive: 3"),
    ("RB022", "error", [("first: {fail: 3", "better: {fail: 3")], "better: {"),
    ("RB030", "error", [("  measure:", "  mesure:")], "mesure"),
    (
        "RB030",
        "error",
        [(RUNBOOK[RUNBOOK.index("phases:") :], "phases: {}\n"), ("      first: {fail: 3, pass: -3}\n", "      {}\n")],
        "phases",
    ),
    ("RB031", "error", [("id: second", "id: first")], "id: first\n      check: fake.measure"),
    ("RB032", "error", [("outputs:", "finally:\n  - id: last\n    wait: 1m\noutputs:")], "wait: 1m\noutputs"),
    (
        "RB032",
        "error",
        [("outputs:", "finally:\n  - id: last\n    action: fake.switch\n    with: {to: x}\noutputs:")],
        "action: fake.switch\n    with",
    ),
    ("RB033", "error", [("cause: diagnosis.top", "cause: diagnosis.topp")], "cause"),
    ("RB033", "error", [("cause: diagnosis.top", "cause: nothing.here")], "cause"),
    ("RB034", "error", [("wait: 1m", "pause: 1m")], "- id: calm"),
    ("RB034", "error", [("wait: 1m", "wait: 1m\n      manual: Look.")], "- id: calm"),
    ("RB035", "error", [("if: diagnosis.top == 'broken'", 'if: "{{ diagnosis.top }}"')], 'if: "'),
    ("RB036", "error", [("wait: 1m", "wait: 1m\n      foreach: inputs.words")], "foreach"),
    ("RB036", "error", [("wait: 1m", "manual: Look.\n      foreach: range(3)")], "foreach"),
    ("RB037", "error", [("fail_if: value", "timeout: 2h\n      fail_if: value")], "timeout"),
    ("RB037", "error", [("fail_if: value", "timeout: 30\n      fail_if: value")], "timeout"),
    ("RB038", "error", [("fail_if: value", "attempts: 11\n      fail_if: value")], "attempts"),
    ("RB038", "error", [("fail_if: value", "backoff: {delay: 5}\n      fail_if: value")], "backoff"),
    ("RB038", "error", [("action: fake.switch", "action: fake.once\n      attempts: 2" + APPROVAL)], "attempts"),
    ("RB039", "error", [("fail_if: value", "on_verdict: {fail: wait}\n      fail_if: value")], "on_verdict"),
    ("RB040", "error", [("check: fake.measure", "check: fake.mesure")], "fake.mesure"),
    ("RB040", "error", [("check: fake.measure", "check: fake.switch")], "check: fake.switch"),
    ("RB041", "error", [("with: {signal: latency}", 'with: {signal: latency, query: "x{{ inputs.words }}"}')], "query"),
    ("RB041", "error", [("with: {signal: latency}", 'with: {signal: latency, query: "{{ alert.title }}"}')], "query"),
    ("RB042", "error", [("with: {signal: latency}", "with: {signal: latency, limmit: 3}")], "limmit"),
    ("RB042", "error", [("with: {signal: latency}", "with: {signal: latency, limit: much}")], "limit"),
    ("RB042", "error", [("with: {signal: latency}", "with: {limit: 3}")], "with: {limit"),
    ("RB043", "error", [("      fail_if: value > 1 and steps.first.verdict == 'fail'\n", "")], "fake.measure"),
    ("RB044", "error", [("fail_if: value", "min_samples: 3\n      fail_if: value")], "min_samples"),
    ("RB044", "error", [("fail_if: value", "max_age: 3m\n      fail_if: value")], "max_age"),
    ("RB045", "error", [("action: fake.switch", "action: fake.swich")], "fake.swich"),
    ("RB045", "error", [("action: fake.switch", "action: fake.judge")], "action: fake.judge"),
    (
        "RB045",
        "error",
        [("      wait: 1m", "      action: fake.switch\n      with: {to: x}")],
        "action: fake.switch\n      with: {to: x}",
    ),
    ("RB046", "error", [("      with: {to: previous}", "      with: {to: previous}\n      risk: low")], "risk: low"),
    ("RB046", "error", [("      with: {to: previous}", "      with: {to: previous}\n      risk: huge")], "risk: huge"),
    ("RB047", "error", [("action: fake.switch", "action: fake.once")], "fake.once"),
    (
        "RB047",
        "error",
        [("      with: {to: previous}", "      with: {to: previous}\n      risk: high")],
        "action: fake.switch",
    ),
    ("RB048", "error", [("      irreversible", "      approval: {from: []}\n      irreversible")], "approval"),
    (
        "RB048",
        "error",
        [
            (
                "      irreversible",
                "      approval: {from: [role:a], escalate: [{after: 30m, to: role:b}]}\n      irreversible",
            )
        ],
        "approval",
    ),
    (
        "RB048",
        "error",
        [("      irreversible", "      approval: {from: [role:a], count: 0}\n      irreversible")],
        "approval",
    ),
    ("RB049", "error", [("      irreversible", "      recheck: [better]\n      irreversible")], "recheck"),
    ("RB050", "warning", [(LOCK, "")], "action: fake.switch"),
    ("RB051", "error", [(NO_WAY_BACK, "      undo: {action: fake.once, with: {to: x}, auto: true}\n")], "undo"),
    ("RB051", "error", [(NO_WAY_BACK, "      undo: {action: fake.none}\n")], "undo"),
    ("RB052", "error", [("wait: 1m", "wait: 8d")], "wait: 8d"),
    ("RB052", "error", [("wait: 1m", "wait: 60")], "wait: 60"),
    ("RB053", "error", [("wait: 1m", "runbook: sample")], "runbook: sample"),
    ("RB054", "error", [("fail_if: value", "watch: {every: 1h, for: 1m}\n      fail_if: value")], "watch"),
    ("RB054", "error", [("fail_if: value", "watch: {every: 1s, for: 1h}\n      fail_if: value")], "watch"),
    ("RB055", "error", [("steps.first.verdict", "steps.better.verdict")], "fail_if"),
    ("RB055", "error", [("steps.first.verdict", "steps.second.verdict")], "fail_if"),
    ("RB055", "error", [("steps.first.verdict", "steps.frist.verdict")], "fail_if"),
    ("RB055", "error", [("steps.first.verdict", "steps[inputs.words].verdict")], "fail_if"),
    ("RB056", "error", [("with: {signal: latency}", "with: {signal: latency, query: {secret: key}}")], "query"),
    ("RB056", "error", [("wait: 1m", "runbook: other\n      with: {token: {secret: key}}")], "token"),
    (
        "RB056",
        "error",
        [
            ("default: hello", "sensitive: true"),
            ("with: {signal: latency}", 'with: {signal: latency, query: "{{ inputs.words }}"}'),
        ],
        "query",
    ),
    ("RB042", "error", [("with: {signal: latency}", "with: {signal: {secret: Not a name}}")], "secret"),
    ("RB057", "error", [("fail_if: value > 1 and", "fail_if: value > > 1 and")], "fail_if"),
    ("RB057", "error", [("fail_if: value > 1 and", "fail_if: valu > 1 and")], "fail_if"),
    ("RB057", "error", [("steps.first.verdict", "steps.first.verdikt")], "fail_if"),
    ("RB057", "error", [("{{ inputs.words }}", "{{ inputs.word }}")], "{{ inputs.word }}"),
    ("RB057", "error", [("{{ inputs.words }}", "{{ inputs.words")], "with"),
    ("RB058", "warning", [("fail_if: value", "foreach: inputs.words\n      fail_if: value")], "foreach"),
    ("RB059", "warning", [(NO_WAY_BACK, "")], "action: fake.switch"),
    (
        "RB060",
        "warning",
        [(RUNBOOK[RUNBOOK.index("  verify:") : RUNBOOK.index("outputs:")], "")],
        "action: fake.switch",
    ),
    ("RB070", "error", [("title: A sample", "title: [")], ""),
    ("RB071", "error", [("title: A sample", "title: A sample\ntitle: B")], "title: B"),
    ("RB072", "error", [("title: A sample", "title: &t A sample")], "title"),
    ("RB073", "error", [("title: A sample", "title: !!str A sample")], "title"),
    ("RB074", "error", [("inputs:\n", "inputs:\n  <<: {}\n")], "<<"),
    ("RB075", "error", [("title: A sample", "title: A sample\n---")], "---"),
    ("RB076", "error", [("fail_if: value", "fail_iff: value")], "fail_iff"),
    ("RB076", "error", [("title: A sample", "titel: A sample")], "titel"),
    ("RB076", "error", [("{type: string, default: hello}", "{type: string, defualt: hello}")], "defualt"),
    ("RB077", "error", [("owner: team:default\n", "")], "spec: 1"),
    ("RB077", "error", [("    - id: second\n      check", "    - check")], "- check: fake.measure"),
    ("RB078", "error", [("    title: It is broken", "    title: 3")], "title: 3"),
    ("RB078", "error", [("      wait: 1m", "      wait: 1m\n      pin: maybe")], "pin"),
    ("RB080", "error", [("title: A sample", "title: " + "[" * 40)], "title"),
    ("RB081", "error", [("title: A sample", "title:\tA\0")], "title"),
    ("RB082", "error", [("title: A sample", "7: A sample")], "7: A"),
    ("RB083", "error", [(RUNBOOK, "- just\n- a list\n")], "- just"),
    ("RB084", "error", [("spec: 1", "%YAML 1.1\n---\nspec: 1")], "---"),
]


@pytest.mark.parametrize(("code", "severity", "changes", "points_to"), CASES)
def test_it_reports(code: str, severity: str, changes: list[tuple[str, str]], points_to: str) -> None:
    text = make_text(*changes)
    found = check(text, principals={"team:default", "role:oncall", "role:a", "role:b"})
    mine = [finding for finding in found if finding.code == code]
    assert mine, f"only {[str(finding) for finding in found]}"
    assert mine[0].severity == severity
    assert mine[0].message.endswith((".", "…"))
    if points_to:
        start = text.index(points_to)
        lines = range(text.count("\n", 0, start) + 1, text.count("\n", 0, start + len(points_to)) + 2)
        assert any(finding.line in lines for finding in mine), (points_to, [str(finding) for finding in mine])


def test_it_reports_what_has_no_place_in_a_small_text() -> None:
    steps = "".join(f"    - id: s{number}\n      wait: 1s\n" for number in range(201))
    assert "RB079" in {finding.code for finding in check(make_text(("    - id: second", steps + "    - id: second")))}
    assert "RB079" in {finding.code for finding in check(RUNBOOK + "# x\n" * 20_000)}


def test_every_code_of_the_guide_has_a_case() -> None:
    guide = GUIDE.read_text()
    named = set(re.findall(r"^\| (RB\d{3}) \|", guide, re.MULTILINE))
    assert named == {case[0] for case in CASES} | {"RB079"}


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
    assert spec.needs() == []


def test_it_reads_its_stored_form_back() -> None:
    spec = schema.parse(RUNBOOK, file="sample.yaml", checks=CHECKS, actions=ACTIONS)
    assert schema.load(spec.stored()) == spec


def test_it_names_what_the_engine_does_not_run_yet() -> None:
    text = make_text(
        ("fail_if: value", "watch: {every: 1m, for: 1h}\n      fail_if: value"),
        (NO_WAY_BACK, "      undo: {action: fake.switch, with: {to: x}}\n      recheck: [first]\n"),
        ("outputs:", "finally:\n  - {id: last, action: fake.tell, with: {to: x}}\noutputs:"),
    )
    needs = schema.parse(text, file="sample.yaml", checks=CHECKS, actions=ACTIONS).needs()
    assert [need.split("`")[1] for need in needs] == ["second", "change"]
    told = ("watch", "recheck")
    assert all(any(word in need for need in needs) for word in told)
    warned = [finding for finding in check(text) if finding.code == "RB058"]
    assert len(warned) == len(needs)


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
