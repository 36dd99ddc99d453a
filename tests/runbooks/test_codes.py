"""Every code of the runbook language: a text that causes it, the place it is reported at, what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common import yaml
from common.yaml import Finding
from runbooks import schema
from tests.factories_language import ACTIONS, CHECKS, RUNBOOK, make_text

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "runbook-errors.md"
WARNINGS = {"RB018", "RB019", "RB050", "RB059", "RB060"}
PEOPLE = {"team:default", "role:oncall", "role:a", "role:b"}
# Stands in a case where the finding must point to.
HERE = "¦"
LOCK = '      lock: "service:{{ inputs.service }}"\n'
NO_WAY_BACK = "      irreversible: It can be switched again.\n"
LATENCY = "with: {signal: latency}"
VERIFY = RUNBOOK[RUNBOOK.index("  verify:") : RUNBOOK.index("outputs:")]
JUDGED = "      check: fake.judge\n      with: {signal: latency}\n"

# Code, then what is replaced by what.
CASES: list[tuple[str, list[tuple[str, str]]]] = [
    ("RB001", [("spec: 1", "spec: ¦2")]),
    ("RB002", [("id: sample", "id: ¦other")]),
    ("RB002", [("id: sample", "id: ¦Sam-ple")]),
    ("RB003", [("title: A sample", "title: ¦7")]),
    ("RB003", [("title: A sample", 'title: ¦""')]),
    ("RB004", [("incident_type: other", "incident_type: ¦latency")]),
    ("RB005", [("team:default", "¦someone")]),
    ("RB005", [("team:default", "¦team:strangers")]),
    (
        "RB010",
        [
            ("alert.labels.kind == 'sample'", "steps.first.value > 1"),
            (
                "- alert: alert.status == 'firing' and steps.first.value > 1",
                "- alert: ¦alert.status == 'firing' and steps.first.value > 1",
            ),
        ],
    ),
    ("RB010", [("alert.status == 'firing' and alert.labels.kind == 'sample'", "¦alert.labels.kind")]),
    ("RB010", [("alert.status ==", "¦alert.stauts ==")]),
    ("RB011", [("words: {type: string", "words: {type: ¦text")]),
    ("RB011", [("  words:", "  ¦Words-1:"), ("inputs.words", "inputs.service")]),
    ("RB012", [("default: hello", "default: ¦7, max: 0")]),
    (
        "RB012",
        [
            ("words: {type: string", "words: {type: integer"),
            ("words: {type: integer, default: hello}", "words: {type: integer, default: ¦hello}"),
        ],
    ),
    ("RB013", [('"[a-z-]+"', '¦"(?=x)"')]),
    ("RB014", [("default: hello", "default: hello, min: ¦9, max: 3")]),
    (
        "RB014",
        [
            ("words: {type: string, default: hello}", "words: {type: boolean, min: ¦1}"),
            ("{{ inputs.words }}", "x{{ inputs.words }}"),
        ],
    ),
    ("RB015", [("from: alert.labels.service", "from: ¦labels.service")]),
    (
        "RB015",
        [
            ("default: hello", "default: hello, sensitive: true"),
            ("if: diagnosis.top == 'broken'", "if: ¦inputs.words == 'x'"),
        ],
    ),
    ("RB015", [("alert.labels.service", "¦alert.label.service")]),
    ("RB015", [("alert.labels.service", "¦alert")]),
    *(
        ("RB015", [("default: hello", words), *more])
        for words, more in (
            ("sensitive: true, default: ¦hello", []),
            ("sensitive: true, enum: ¦[one, two]", []),
            ("sensitive: true, from: ¦alert.title", []),
            ("sensitive: true", [("words: {type: string", "words: {type: ¦integer")]),
            ("sensitive: true", [("fail_if: value > 1", "fail_if: ¦inputs['words'] == 'x'")]),
            ("sensitive: true", [(LOCK, '      lock: ¦"{{ inputs.words }}"\n')]),
            ("sensitive: true", [("wait: 1m", "manual: ¦See {{ inputs.words }}.")]),
            ("", [("wait: 1m", "manual: Say it.\n      fields: {pin: {type: string, sensitive: ¦true}}")]),
            ("sensitive: true", [("cause: diagnosis.top", "cause: ¦inputs.words")]),
            ("sensitive: true", [("phases:", 'concurrency: {key: ¦"{{ inputs.words }}"}\nphases:')]),
            ("sensitive: true", [('"{{ inputs.words }}"', '¦"{{ inputs.words }} {{ now }}"')]),
        )
    ),
    ("RB016", [("phases:", 'concurrency: {key: ¦"{{ steps.x }}"}\nphases:')]),
    ("RB016", [("phases:", "concurrency: {key: x, when_busy: ¦wait}\nphases:")]),
    ("RB017", [("phases:", "deadline: ¦15d\nphases:")]),
    ("RB017", [("phases:", "deadline: ¦1h\nphases:"), (JUDGED, f"{JUDGED}      watch: {{every: 5m, for: 1h}}\n")]),
    (
        "RB018",
        [
            ("{{ inputs.words }}", "x"),
            ("words: {type: string, default: hello}", "¦words: {type: string, default: hello}"),
        ],
    ),
    ("RB019", [("if: diagnosis.top == 'broken'", "if: ¦1 > 2")]),
    ("RB019", [("if: diagnosis.top == 'broken'", "if: ¦true")]),
    ("RB020", [("first: {fail: 3", "¦frist: {fail: 3")]),
    ("RB021", [("fail: 3", "fail: ¦7")]),
    ("RB021", [("fail: 3, pass", "¦inconclusive: 3, pass")]),
    ("RB022", [("first: {fail: 3", "¦better: {fail: 3")]),
    ("RB030", [("  measure:", "  ¦mesure:")]),
    (
        "RB030",
        [(RUNBOOK[RUNBOOK.index("phases:") :], "¦phases: {}\n"), ("      first: {fail: 3, pass: -3}\n", "      {}\n")],
    ),
    ("RB031", [("id: second", "id: ¦first")]),
    ("RB032", [("outputs:", "finally:\n  - id: last\n    ¦wait: 1m\noutputs:")]),
    ("RB032", [("outputs:", "finally:\n  - id: last\n    action: ¦fake.switch\n    with: {to: x}\noutputs:")]),
    ("RB033", [("cause: diagnosis.top", "cause: ¦diagnosis.topp")]),
    ("RB033", [("cause: diagnosis.top", "cause: ¦nothing.here")]),
    ("RB034", [("wait: 1m", "pause: 1m"), ("- id: calm", "- ¦id: calm")]),
    ("RB034", [("wait: 1m", "wait: 1m\n      manual: Look."), ("- id: calm", "- ¦id: calm")]),
    ("RB035", [("if: diagnosis.top == 'broken'", 'if: ¦"{{ diagnosis.top }}"')]),
    ("RB036", [("wait: 1m", "wait: 1m\n      ¦foreach: inputs.words")]),
    ("RB036", [("wait: 1m", "manual: Look.\n      ¦foreach: range(3)")]),
    ("RB037", [("fail_if: value", "timeout: ¦2h\n      fail_if: value")]),
    ("RB037", [("fail_if: value", "timeout: ¦30\n      fail_if: value")]),
    ("RB038", [("fail_if: value", "attempts: ¦11\n      fail_if: value")]),
    ("RB038", [("fail_if: value", "backoff: {delay: ¦5}\n      fail_if: value")]),
    (
        "RB038",
        [
            (
                "action: fake.switch",
                "action: fake.once\n      attempts: ¦2\n      approval: {from: [role:oncall], timeout: 30m}",
            )
        ],
    ),
    ("RB038", [("fail_if: value", "backoff: ¦{max: 2h}\n      fail_if: value")]),
    ("RB038", [("fail_if: value", "backoff: ¦{delay: 40s}\n      fail_if: value")]),
    ("RB038", [("wait: 1m", "runbook: other\n      ¦attempts: 2")]),
    ("RB038", [("wait: 1m", "manual: Look.\n      ¦attempts: 2")]),
    ("RB039", [("fail_if: value", "on_verdict: {fail: ¦wait}\n      fail_if: value")]),
    ("RB040", [("check: fake.measure", "check: ¦fake.mesure")]),
    ("RB040", [("check: fake.measure", "check: ¦fake.switch")]),
    ("RB041", [(LATENCY, 'with: {signal: latency, query: ¦"x{{ inputs.words }}"}')]),
    ("RB041", [(LATENCY, 'with: {signal: latency, query: ¦"{{ alert.title }}"}')]),
    ("RB041", [(LATENCY, 'with: {signal: latency, query: ¦"{{ service.title }}"}')]),
    ("RB042", [(LATENCY, "with: {signal: latency, ¦limmit: 3}")]),
    ("RB042", [(LATENCY, "with: {signal: latency, limit: ¦much}")]),
    ("RB042", [(LATENCY, "with: ¦{limit: 3}")]),
    (
        "RB043",
        [
            ("      fail_if: value > 1 and steps.first.verdict == 'fail'\n", ""),
            ("check: fake.measure", "check: ¦fake.measure"),
        ],
    ),
    ("RB044", [("fail_if: value", "min_samples: ¦3\n      fail_if: value")]),
    ("RB044", [("fail_if: value", "max_age: ¦3m\n      fail_if: value")]),
    ("RB045", [("action: fake.switch", "action: ¦fake.swich")]),
    ("RB045", [("action: fake.switch", "action: ¦fake.judge")]),
    ("RB045", [("      wait: 1m", "      action: ¦fake.switch\n      with: {to: x}")]),
    ("RB046", [("      with: {to: previous}", "      with: {to: previous}\n      risk: ¦low")]),
    ("RB046", [("      with: {to: previous}", "      with: {to: previous}\n      risk: ¦huge")]),
    ("RB047", [("action: fake.switch", "action: ¦fake.once")]),
    (
        "RB047",
        [
            ("      with: {to: previous}", "      with: {to: previous}\n      risk: high"),
            ("action: fake.switch", "action: ¦fake.switch"),
        ],
    ),
    ("RB048", [("      irreversible", "      approval: {from: ¦[]}\n      irreversible")]),
    (
        "RB048",
        [
            (
                "      irreversible",
                "      approval: {from: [role:a], escalate: [{after: ¦30m, to: role:b}]}\n      irreversible",
            )
        ],
    ),
    ("RB048", [("      irreversible", "      approval: {from: [role:a], count: ¦0}\n      irreversible")]),
    ("RB048", [("      irreversible", "      approval: {from: [role:a], timeout: ¦8d}\n      irreversible")]),
    ("RB049", [("      irreversible", "      recheck: [¦better]\n      irreversible")]),
    ("RB050", [(LOCK, ""), ("action: fake.switch", "action: ¦fake.switch")]),
    ("RB051", [(NO_WAY_BACK, "      undo: {action: ¦fake.once, with: {to: x}, auto: true}\n")]),
    ("RB051", [(NO_WAY_BACK, "      undo: {action: ¦fake.none}\n")]),
    ("RB052", [("wait: 1m", "wait: ¦8d")]),
    ("RB052", [("wait: 1m", "wait: ¦60")]),
    ("RB053", [("wait: 1m", "runbook: ¦sample")]),
    ("RB054", [("fail_if: value", "¦watch: {every: 1h, for: 1m}\n      fail_if: value")]),
    ("RB054", [("fail_if: value", "¦watch: {every: 1s, for: 1h}\n      fail_if: value")]),
    (
        "RB055",
        [
            ("steps.first.verdict", "steps.better.verdict"),
            (
                "fail_if: value > 1 and steps.better.verdict == 'fail'",
                "fail_if: ¦value > 1 and steps.better.verdict == 'fail'",
            ),
        ],
    ),
    (
        "RB055",
        [
            ("steps.first.verdict", "steps.second.verdict"),
            (
                "fail_if: value > 1 and steps.second.verdict == 'fail'",
                "fail_if: ¦value > 1 and steps.second.verdict == 'fail'",
            ),
        ],
    ),
    (
        "RB055",
        [
            ("steps.first.verdict", "steps.frist.verdict"),
            (
                "fail_if: value > 1 and steps.frist.verdict == 'fail'",
                "fail_if: ¦value > 1 and steps.frist.verdict == 'fail'",
            ),
        ],
    ),
    (
        "RB055",
        [
            ("steps.first.verdict", "steps[inputs.words].verdict"),
            (
                "fail_if: value > 1 and steps[inputs.words].verdict == 'fail'",
                "fail_if: ¦value > 1 and steps[inputs.words].verdict == 'fail'",
            ),
        ],
    ),
    ("RB056", [(LATENCY, "with: {signal: latency, query: ¦{secret: key}}")]),
    ("RB056", [("wait: 1m", "runbook: other\n      with: {token: ¦{secret: key}}")]),
    (
        "RB056",
        [
            ("default: hello", "sensitive: true"),
            (LATENCY, 'with: {signal: latency, query: ¦"{{ inputs.words }}"}'),
        ],
    ),
    ("RB042", [(LATENCY, "with: {signal: ¦{secret: Not a name}}")]),
    ("RB057", [("fail_if: value > 1 and", "fail_if: ¦value > > 1 and")]),
    ("RB057", [("fail_if: value > 1 and", "fail_if: ¦valu > 1 and")]),
    (
        "RB057",
        [
            ("steps.first.verdict", "steps.first.verdikt"),
            (
                "fail_if: value > 1 and steps.first.verdikt == 'fail'",
                "fail_if: ¦value > 1 and steps.first.verdikt == 'fail'",
            ),
        ],
    ),
    (
        "RB057",
        [
            ("{{ inputs.words }}", "{{ inputs.word }}"),
            ('with: {signal: "{{ inputs.word }}"}', 'with: {signal: ¦"{{ inputs.word }}"}'),
        ],
    ),
    (
        "RB057",
        [
            ("{{ inputs.words }}", "{{ inputs.words"),
            ('with: {signal: "{{ inputs.words"}', 'with: {signal: ¦"{{ inputs.words"}'),
        ],
    ),
    ("RB057", [("steps.first.verdict", "alert.stauts"), ("fail_if: value", "fail_if: ¦value")]),
    ("RB057", [("fail_if: value > 1", "fail_if: ¦service.name == 1")]),
    ("RB059", [(NO_WAY_BACK, ""), ("action: fake.switch", "action: ¦fake.switch")]),
    ("RB060", [(VERIFY, ""), ("action: fake.switch", "action: ¦fake.switch")]),
    ("RB070", [("title: A sample", "title: ["), ("owner: team:default", "owner¦: team:default")]),
    ("RB071", [("title: A sample", "title: A sample\n¦title: B")]),
    ("RB072", [("title: A sample", "title: ¦&t A sample")]),
    ("RB073", [("title: A sample", "title: ¦!!str A sample")]),
    ("RB074", [("inputs:\n", "inputs:\n  ¦<<: {}\n")]),
    ("RB075", [("title: A sample", "title: A sample\n¦---")]),
    ("RB076", [("fail_if: value", "¦fail_iff: value")]),
    ("RB076", [("title: A sample", "¦titel: A sample")]),
    ("RB076", [("{type: string, default: hello}", "{type: string, ¦defualt: hello}")]),
    ("RB077", [("owner: team:default\n", ""), ("spec: 1", "¦spec: 1")]),
    ("RB077", [("    - id: second\n      check", "    - ¦check")]),
    ("RB078", [("    title: It is broken", "    title: ¦3")]),
    ("RB078", [("      wait: 1m", "      wait: 1m\n      pin: ¦maybe")]),
    ("RB080", [("title: A sample", "title: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[¦[[[[[[[[[")]),
    ("RB081", [("title: A sample", "title:\tA¦\x00")]),
    ("RB082", [("title: A sample", "¦7: A sample")]),
    ("RB083", [(RUNBOOK, "¦- just\n- a list\n")]),
    ("RB084", [("spec: 1", "%YAML 1.1\n¦---\nspec: 1")]),
]


_STEPS = "".join(f"    - id: s{number}\n      wait: 1s\n" for number in range(201))


def check(text: str) -> list[Finding]:
    return schema.check(text, file="sample.yaml", principals=PEOPLE, checks=CHECKS, actions=ACTIONS)


@pytest.mark.parametrize(("code", "changes"), CASES)
def test_it_reports(code: str, changes: list[tuple[str, str]]) -> None:
    marked = make_text(*changes)
    before, _, after = marked.partition(HERE)
    place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
    found = check(before + after)
    mine = [finding for finding in found if finding.code == code]
    assert place in {(finding.line, finding.column) for finding in mine}, [str(finding) for finding in found]
    assert {finding.severity for finding in mine} == {"warning" if code in WARNINGS else "error"}
    assert all(finding.message.endswith((".", "…")) and finding.fix for finding in found), found


# What has no place in a small text, and the line it is told on.
TOO_BIG = {
    "steps": (
        make_text(("    - id: second", _STEPS + "    - id: second")),
        RUNBOOK[: RUNBOOK.index("phases:")].count("\n") + 1,
    ),
    "lines": (RUNBOOK + "# x\n" * yaml.MAX_LINES, yaml.MAX_LINES),
    "one line": (RUNBOOK.replace("A sample", "A" * 9_000), 3),
    "parts": (RUNBOOK + "x: [\n" + " 1, 1, 1, 1,\n" * 5_000 + "]\n", None),
    "bytes": (RUNBOOK + ("#" * 80 + "\n") * 4_000, 1),
}


@pytest.mark.parametrize("what", TOO_BIG)
def test_it_reports_what_is_too_big(what: str) -> None:
    text, line = TOO_BIG[what]
    found = next(finding for finding in check(text) if finding.code == "RB079")
    assert line in (None, found.line)
    assert found.fix


def test_every_code_that_is_raised_has_a_case_and_a_paragraph() -> None:
    assert raised() == {code for code, _ in CASES} | {"RB079"}
    assert raised() == set(paragraphs())


@pytest.mark.parametrize("code", sorted({code for code, _ in CASES} | {"RB079"}))
def test_its_paragraph_says_what_to_write_instead(code: str) -> None:
    text = paragraphs()[code]
    assert text.startswith("**")
    assert "`" in text
    assert len(text.split()) > 12
    assert text.startswith("**Warning: ") is (code in WARNINGS)


def raised() -> set[str]:
    """Every code that stands in our source."""
    root = Path(__file__).parents[2]
    files = [path for room in ("common", "runbooks", "web") for path in (root / room).rglob("*.py")]
    return {code for path in files for code in re.findall(r'"(RB\d{3})"', path.read_text())}


def paragraphs() -> dict[str, str]:
    """What the guide says of each code."""
    parts = re.split(r"^#{2,3} (.*)$", GUIDE.read_text(), flags=re.MULTILINE)
    return {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True) if title[:2] == "RB"}
