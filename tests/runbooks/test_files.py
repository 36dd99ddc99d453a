"""Runbooks as files: what one runs is found beside it, among those given with it, and in the shipped library."""

from __future__ import annotations

import json
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from runbooks import files
from tests.factories_runbooks import HEAD

OTHER = (
    HEAD.format(slug="other")
    + "inputs: {place: {type: string}}\nphases:\n  check:\n    - {id: look, manual: 'At {{ inputs.place }}.'}\n"
)
OUTER = HEAD.format(slug="outer") + "phases:\n  check:\n    - {id: call, runbook: other, with: {place: eu}}\n"


def lint(*paths: Path) -> list[dict[str, Any]]:
    """The findings of `runbook lint --json`."""
    out = StringIO()
    with suppress(SystemExit):
        call_command("runbook", "lint", *map(str, paths), "--json", stdout=out)
    found: list[dict[str, Any]] = json.loads(out.getvalue())["findings"]
    return found


def write(folder: Path, text: str, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_one_in_the_same_folder_is_found(db: None, tmp_path: Path) -> None:
    outer = write(tmp_path, OUTER, "outer")
    write(tmp_path, OTHER, "other")
    assert lint(outer) == []


def test_one_given_with_it_is_found(db: None, tmp_path: Path) -> None:
    outer, other = write(tmp_path / "a", OUTER, "outer"), write(tmp_path / "b", OTHER, "other")
    assert lint(outer, other) == lint(tmp_path / "a", tmp_path / "b") == []


def test_a_shipped_one_is_found(db: None, tmp_path: Path) -> None:
    text = OUTER.replace("other, with: {place: eu}", "data_issue, with: {service: rag-chat}")
    assert lint(write(tmp_path, text, "outer")) == []


def test_one_that_is_nowhere_is_told_with_its_place_and_the_nearest(db: None, tmp_path: Path) -> None:
    outer = write(tmp_path, OUTER.replace("runbook: other", "runbook: othre"), "outer")
    write(tmp_path, OTHER, "other")
    (found,) = lint(outer)
    told = ("RB053", 8, 27, "There is no runbook `othre`.", 'Did you mean "other"?')
    assert (found["code"], found["line"], found["column"], found["message"], found["fix"]) == told


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (OTHER.replace("place:", "region:"), "RB042"),
        (OTHER.replace("id: look, manual: 'At {{ inputs.place }}.'", "id: back, runbook: outer"), "RB053"),
    ],
)
def test_what_the_other_takes_and_runs_is_held_against_it(db: None, tmp_path: Path, other: str, code: str) -> None:
    outer = write(tmp_path, OUTER, "outer")
    write(tmp_path, other, "other")
    assert code in {found["code"] for found in lint(outer)}


def test_faults_of_the_other_are_its_own(db: None, tmp_path: Path) -> None:
    outer = write(tmp_path, OUTER, "outer")
    other = write(tmp_path, "spec: 7\n", "other")
    assert lint(outer) == []
    assert {found["file"] for found in lint(outer, other)} == {str(other)}


def test_only_those_that_are_named_are_read(tmp_path: Path) -> None:
    outer = write(tmp_path, OUTER, "outer")
    write(tmp_path, OTHER, "other")
    known = files.beside(outer)
    assert "data_issue" in known
    assert known["other"] is not None
    assert set(known._read) == {"other"}
