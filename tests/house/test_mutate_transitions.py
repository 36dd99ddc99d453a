"""`python -m tests.mutate_transitions` takes transitions out indeed: none of them goes unnoticed, and only they do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutate_transitions import TRANSITIONS


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["S2", "S9", "S10"], id="three", marks=pytest.mark.slow),
        pytest.param(TRANSITIONS, id="all", marks=pytest.mark.nightly),
    ],
)
def test_a_transition_that_is_missing_fails_a_case(names: list[str]) -> None:
    command = [sys.executable, "-m", "tests.mutate_transitions", *names]
    # On SQLite in memory, whatever this suite runs on.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("BACKSTOP_", "PYTEST_"))}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]
    told = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip().startswith(("S", "none"))]
    assert [name for name, _ in told] == [*names, "none"]
    # An assertion of a case, or what the engine answers a person: not that taking it out went wrong.
    assert not [why for name, why in told if "Operational" in why]
