"""What playing a test file costs: statements, and what is imported before the first case."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from runbooks import library
from runbooks.testing import report
from runbooks.testing.stage import stage

ROOT = Path(__file__).parents[3]
# None of it is needed where the world is stubbed, and each takes a tenth of a second or more.
NOT_NEEDED = {"web.api", "ninja", "django.test", "numpy", "scipy", "duckdb", "psycopg", "redis", "apprise", "uvicorn"}


@pytest.mark.django_db
def test_a_shipped_file_costs_few_statements() -> None:
    told: list[str] = []

    def note(execute: Any, sql: str, *more: Any) -> Any:
        told.append(sql)
        return execute(sql, *more)

    path = library.FOLDER / "tests" / "data_issue.test.yaml"
    with stage(1) as here, connections["default"].execute_wrapper(note):
        found = report.run_file(path, here)
    assert found.cases
    assert all(case.passed for case in found.cases)
    # With the starts and ends, what people do, and the ticks between; a step alone is 25.
    tries = sum(sql.startswith('INSERT INTO "runbooks_attempt"') for sql in told)
    assert len(told) <= 68 * tries


def test_nothing_is_imported_that_no_case_needs() -> None:
    command = [sys.executable, "-X", "importtime", "manage.py", "runbook", "test", "no-such-file.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "runbooks.engine" in imported
    assert imported & NOT_NEEDED == set()
