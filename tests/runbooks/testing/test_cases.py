"""Test files are read strictly: every fault has a code, a place and a way out."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from common.yaml import FileFaults, Finding
from runbooks import schema
from runbooks.testing import cases
from runbooks.testing.family import Family
from tests.factories_testing import HEAD, RUNBOOK

GOOD = HEAD + "cases:\n  - name: a\n    expect: {outcome: resolved}\n"


def faults(text: str) -> list[Finding]:
    """Everything wrong with a test file of the small runbook."""
    try:
        tests, document = cases.read(text, file="small.test.yaml")
    except FileFaults as error:
        return error.findings
    return cases.check(tests, document, Family(schema.parse(RUNBOOK, file="small.yaml")))


def test_a_good_file_has_no_fault() -> None:
    assert faults(GOOD) == []


WRONG = {
    "- a": ("RT003", 1, "A test file is a map"),
    GOOD + "    stub: {}\n": ("RT001", 9, "There is no field `stub`"),
    HEAD + "cases:\n  - expect: {}\n": ("RT002", 7, "`name` is missing"),
    HEAD + "cases:\n  - name: a\n    expect: {outcome: cured}\n": ("RT003", 8, "`outcome`"),
    GOOD + "    events: [{at: 5m, approve: roll_back, cancel: true}]\n": ("RT003", 9, "exactly one thing"),
    GOOD + "    events: [{at: 5, cancel: true}]\n": ("RT003", 9, "write 5s"),
    GOOD + "    events: [{at: 5m, approve: rol_back}]\n": ("RT004", 9, "no step `rol_back`"),
    GOOD + "    inputs: {servic: x}\n": ("RT004", 9, "no input `servic`"),
    GOOD + "    stubs: {look: {value: 1}}\n": ("RT006", 9, "`look` is a manual step"),
    GOOD + "    stubs: {roll_back: {samples: 1}}\n": ("RT006", 9, "`samples` has no meaning for action steps"),
    GOOD + "    stubs: {errors: {fault: gone}}\n": ("RT003", 9, "`fault`"),
    GOOD + "  - name: a\n    expect: {}\n": ("RT007", 9, "Case 1 has this name too"),
    "a: &x 1\n": ("RB072", 1, "anchor"),
}


@pytest.mark.parametrize("text", WRONG)
def test_every_fault_has_code_place_and_fix(text: str) -> None:
    code, line, words = WRONG[text]
    (found,) = faults(text)
    assert (found.code, found.line) == (code, line), found
    assert words in found.message
    assert found.fix


def test_the_nearest_word_is_offered() -> None:
    (found,) = faults(GOOD + "    stubs: {errors: {sample: 1}}\n")
    assert (found.code, found.fix) == ("RT001", 'Did you mean "samples"?')


def command(*words: str) -> tuple[int, str]:
    """Exit code and output of `manage.py runbook …`."""
    out = StringIO()
    try:
        call_command("runbook", *words, stdout=out, stderr=out)
    except SystemExit as left:
        return int(left.code or 0), out.getvalue()
    return 0, out.getvalue()


def write(folder: Path, text: str, runbook: str = RUNBOOK) -> Path:
    """A runbook with its tests in the folder beside it."""
    (folder / "tests").mkdir()
    (folder / "small.yaml").write_text(runbook)
    path = folder / "tests" / "small.test.yaml"
    path.write_text(text)
    return path


def test_the_command_finds_tests_and_runbook_and_passes(db: None, tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "cases:\n  - name: a\n    until: 1m\n    expect: {state: active}\n")
    code, text = command("test", str(tmp_path))
    assert (code, text.splitlines()[0]) == (0, "  passed  a")
    assert f"{path}: 1 case passed, 5 of 26 branches taken, in " in text


def test_the_command_fails_with_findings_as_json(db: None, tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "cases:\n  - name: a\n    until: 1m\n    expect: {state: paused}\n")
    code, text = command("test", str(path), "--json")
    told = json.loads(text)
    assert code == 1
    assert [(f["file"], f["line"], f["column"], f["code"], f["severity"]) for f in told["findings"]] == [
        (str(path), 9, 14, "RT021", "error")
    ]
    assert told["tests"][0]["passed"] is False
    assert told["tests"][0]["cases"][0]["name"] == "a"


def test_a_runbook_that_is_nowhere_or_faulty_is_a_finding(db: None, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("runbook: small", "runbook: gone"))
    assert "RT005 There is no runbook `gone`" in command("test", str(path))[1]
    (tmp_path / "gone.yaml").write_text("spec: 2")
    assert "RB001" in command("test", str(path))[1]


@pytest.mark.parametrize("words", [["test", "nowhere"], ["test", "."]])
def test_wrong_usage_is_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*words)[0] == 2


def test_the_schema_of_test_files_is_printed() -> None:
    printed = json.loads(command("schema", "test")[1])
    assert printed["title"] == "Tests of a runbook"
    assert set(printed["properties"]) == {"runbook", "inputs", "stubs", "people", "cases"}
    one, several = {"$ref": "#/$defs/Stub"}, {"items": {"$ref": "#/$defs/Stub"}, "type": "array"}
    (stubs,) = printed["$defs"]["Case"]["properties"]["stubs"]["patternProperties"].values()
    assert stubs["anyOf"] == [one, several | {"maxItems": 2000, "minItems": 1}]
    assert printed["$defs"]["Stub"]["properties"]["items"]["items"]["anyOf"] == [one, several]
