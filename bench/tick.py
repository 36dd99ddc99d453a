"""How long a tick takes with ever more waiting runs, on both databases, each in a process of its own (ticking.py)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from shapes import ROOT

from tests import servers

PROGRAM = Path(__file__).with_name("ticking.py")


def measure(folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per database and number of waiting runs, and one for the tick in which they are all due."""
    rows: list[dict[str, Any]] = []
    for name in ("sqlite", "postgres"):
        own = folder / f"tick-{name}"
        own.mkdir()
        env = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTOP_")}
        env |= {"BACKSTOP_DATA_DIR": str(own), "BACKSTOP_SECRET_KEYS": secrets.token_urlsafe(48)}
        with ExitStack() as stack:
            if name == "postgres":
                try:
                    env["BACKSTOP_DATABASE_URL"] = stack.enter_context(servers.postgres(own))
                except pytest.skip.Exception as skipped:
                    say(f"tick, postgres: {skipped}")
                    continue
            done = subprocess.run([sys.executable, str(PROGRAM)], cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        rows += [{"database": name} | row for row in json.loads(done.stdout.splitlines()[-1])]
        say(f"ticks, {name}")
    return rows
