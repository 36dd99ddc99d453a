"""The shipped runbooks' own tests, as anybody runs them: in a process without database, data folder or network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runbooks import library

ROOT = Path(__file__).parents[3]


def told(tmp_path: Path, *words: str, seconds: int = 300) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of `manage.py runbook test … --json`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTOP_")}
    folder = tmp_path / "never-made"
    # A database that nobody answers at: whoever asks it fails.
    away = {"BACKSTOP_DATA_DIR": str(folder), "BACKSTOP_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:9/none"}
    done = subprocess.run(
        [sys.executable, "manage.py", "runbook", "test", *words, "--json"],
        cwd=ROOT,
        env=clean | away,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.stdout, done.stderr
    assert not folder.exists(), "nothing is kept anywhere"
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_every_branch_is_taken(tmp_path: Path) -> None:
    code, report = told(tmp_path, "--coverage")
    assert report["findings"] == []
    assert code == 0
    assert [one["runbook"] for one in report["tests"]] == [path.stem for path in library.files(library.FOLDER)]
    for one in report["tests"]:
        assert one["coverage"]["taken"] == one["coverage"]["branches"] > 25, one["runbook"]


@pytest.mark.nightly
def test_every_limit_is_guarded(tmp_path: Path) -> None:
    """Each number is moved and the tests are played again, which takes minutes."""
    _, report = told(tmp_path, "--thresholds", seconds=3600)
    assert [one["thresholds"] for one in report["tests"]] == [[] for _ in library.files(library.FOLDER)]


@pytest.mark.slow
def test_a_broken_rule_in_a_copy_is_caught(tmp_path: Path) -> None:
    text = (library.FOLDER / "safety_incident.yaml").read_text()
    (tmp_path / "safety_incident.yaml").write_text(text.replace("diagnosis.top == 'model_regression'", "true"))
    test = tmp_path / "safety_incident.test.yaml"
    test.write_text((library.FOLDER / "tests" / "safety_incident.test.yaml").read_text())
    code, report = told(tmp_path, str(test))
    assert code == 1
    assert "against a campaign nothing is rolled back" in {
        case["name"] for case in report["tests"][0]["cases"] if not case["passed"]
    }
