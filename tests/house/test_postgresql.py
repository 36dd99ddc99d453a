"""A plain `make test` tries PostgreSQL too: tests of what databases do differently run on a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Locks, leases, the sorted upsert, append-only triggers, and the cache table.
PART = [
    "tests/runbooks/test_engine.py",
    "tests/incidents/test_apply_alerts.py",
    "tests/incidents/test_lifecycle.py",
    "tests/web/test_health.py",
]


@pytest.mark.slow
def test_a_part_of_the_suite_passes_on_postgresql() -> None:
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *PART]
    command = [sys.executable, ".ci/postgres.py", "--", *pytest_]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
