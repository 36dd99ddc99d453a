"""Playing tests that somebody wrote in the browser: in a process of its own, with a time and a memory limit.

In a server's own process a mistake here could reach the real rows, the real settings or the other requests; a process
that knows no database, no key and no address cannot, and what it takes too much of ends it alone. It is waited for in
the request: a whole file takes a second or two, somebody looks at the page, and a job kept as a row would have to be
recovered, listed and cleaned up for that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from common.errors import Conflict

MANAGE = Path(__file__).parents[2] / "manage.py"
SECONDS = 20
MEMORY_MIB = 1024
# What is told of a report; a hostile file must not fill a row.
MOST_BYTES = 1 << 20
# Playing takes a processor: one at a time in each server process, the next one is told to wait.
_playing = threading.Lock()


def run(slug: str, *, runbook: str, tests: str, others: dict[str, str] | None = None) -> dict[str, Any]:
    """The report of `runbook test --json` on these texts; `others` are those of what the runbook runs, by their ids.

    Raises Conflict: another is played, or it took too much.
    """
    if not _playing.acquire(blocking=False):
        raise Conflict("Tests of another runbook are being played.", fix="Try again in a few seconds.")
    try:
        with tempfile.TemporaryDirectory(prefix="backstop-tests-") as folder:
            for name, text in ((others or {}) | {slug: runbook}).items():
                (Path(folder) / f"{name}.yaml").write_text(text, encoding="utf-8")
            path = Path(folder) / f"{slug}.test.yaml"
            path.write_text(tests, encoding="utf-8")
            return _read(_play(path), folder)
    finally:
        _playing.release()


def _play(path: Path) -> str:
    words = ["runbook", "test", str(path), "--json", "--processes", "1"]
    limits = ["--cpu-seconds", str(SECONDS), "--memory-mib", str(MEMORY_MIB)]
    # Nothing of this process's surroundings is handed on: no database, no keys, no proxies.
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if name in os.environ}
    surroundings = kept | {"BACKSTOP_DATA_DIR": str(path.parent / "data"), "HOME": str(path.parent)}
    try:
        done = subprocess.run(  # noqa: S603  our own command; the texts are files it reads
            [sys.executable, "-W", "ignore", str(MANAGE), *words, *limits],
            cwd=path.parent,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=3 * SECONDS,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired:
        raise _too_much() from None
    if done.returncode not in (0, 1) or len(done.stdout) > MOST_BYTES:
        raise _too_much()
    return done.stdout


def _read(printed: str, folder: str) -> dict[str, Any]:
    """The report, with files named and not located."""
    try:
        told = json.loads(printed.replace(f"{folder}/", ""))
        report = told["tests"][0] | {"findings": told["findings"]}
    except (ValueError, LookupError):
        raise _too_much() from None
    assert isinstance(report, dict)
    return report


def _too_much() -> Conflict:
    return Conflict(
        f"The tests took more than {SECONDS} s of a processor or {MEMORY_MIB} MiB, and were ended.",
        fix="Split them, shorten what is watched, or play them by `manage.py runbook test`.",
    )
