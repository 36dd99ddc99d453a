"""A test that comes to no end in CI is shown, ended, and asked once more: once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TEST = """
import pathlib, time

def test_one():
    mark = pathlib.Path(__file__).with_name("asked")
    if {always} or not mark.exists():
        mark.touch()
        time.sleep(60)

def test_two():
    pass
"""


def run(folder: Path, *, always: bool) -> subprocess.CompletedProcess[str]:
    """What CI's browser stage does, with a limit of two seconds."""
    (folder / "test_it.py").write_text(TEST.format(always=always))
    limit = ["-o", "faulthandler_timeout=2", "-o", "faulthandler_exit_on_timeout=true", "--max-worker-restart=1"]
    command = [sys.executable, "-m", "pytest", "-q", "-n1", "--dist=loadfile", "-p", "tests.hung", "-p", "no:django"]
    return subprocess.run(
        [*command, *limit, "-c", "/dev/null", f"--rootdir={folder}", str(folder)],
        cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_it_is_shown_where_it_hung_and_passes_the_second_time(tmp_path: Path) -> None:
    done = run(tmp_path, always=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed, 1 hung" in done.stdout
    assert "test_it.py::test_one" in done.stdout
    assert "in test_one" in done.stderr, "where it stood"


def test_one_that_hangs_again_has_failed(tmp_path: Path) -> None:
    done = run(tmp_path, always=True)
    assert done.returncode == 1
    assert "1 hung" in done.stdout
    assert "failed" in done.stdout
