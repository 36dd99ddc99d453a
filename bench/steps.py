"""What a step costs beside Celery's own hop with two commits, and how fast a thousand runs drain (goals 8 and 10)."""

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


def measure(folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row per database; the ratios stand on PostgreSQL, whose floor is measured in the same minute."""
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        places = {name: folder / f"steps-{name}" for name in ("sqlite", "postgres", "floor", "redis")}
        for place in places.values():
            place.mkdir()
        rows.append({"database": "sqlite"} | _run("stepping.py", _own(places["sqlite"])))
        say("steps, sqlite")
        try:
            redis = stack.enter_context(servers.redis(places["redis"]))
            one, two = (stack.enter_context(servers.postgres(places[name])) for name in ("floor", "postgres"))
        except pytest.skip.Exception as skipped:
            say(f"steps, postgres: {skipped}")
            return rows
        floor = _run("hops.py", dict(os.environ) | {"BENCH_REDIS": redis, "BENCH_POSTGRES": one})
        ours = _run("stepping.py", _own(places["postgres"]) | {"BACKSTOP_DATABASE_URL": two})
        ours["times_hop"] = round(ours["step_ms"] / floor["hop_db_ms"], 2)
        ours["of_noops"] = round(ours["steps_per_second"] / floor["noops_per_second"], 3)
        rows.append({"database": "postgres"} | floor | ours)
        say("steps, postgres")
    return rows


def _own(folder: Path) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTOP_")}
    return env | {"BACKSTOP_DATA_DIR": str(folder), "BACKSTOP_SECRET_KEYS": secrets.token_urlsafe(48)}


def _run(program: str, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name(program))]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
