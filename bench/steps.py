"""What a step costs beside Celery's own hop with two commits, and how fast a thousand runs drain (goals 8 and 10)."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from shapes import ROOT

from tests import servers

# Floor and step are measured one after the other so often: what else the machine does meets both.
ROUNDS = 3


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
        env = _own(places["postgres"]) | {"BACKSTOP_DATABASE_URL": two}
        pairs = []
        for _ in range(ROUNDS):
            floor = _run("hops.py", dict(os.environ) | {"BENCH_REDIS": redis, "BENCH_POSTGRES": one})
            pairs.append((floor, _run("stepping.py", env, "single")))
            say(f"steps, postgres: {pairs[-1][1]['step_ms'] / floor['hop_db_ms']:.2f} times the hop")
        drain = _run("stepping.py", env)
        middle = {
            name: statistics.median(pair[place][name] for pair in pairs)
            for place, name in ((0, "noops_per_second"), (0, "hop_db_ms"), (1, "step_ms"), (1, "told_step_ms"))
        }
        ratio = statistics.median(ours["step_ms"] / floor["hop_db_ms"] for floor, ours in pairs)
        drain |= middle | {"times_hop": round(ratio, 2)}
        drain["of_noops"] = round(drain["steps_per_second"] / middle["noops_per_second"], 3)
        rows.append({"database": "postgres"} | drain)
        say("steps, postgres")
    return rows


def _own(folder: Path) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTOP_")}
    return env | {"BACKSTOP_DATA_DIR": str(folder), "BACKSTOP_SECRET_KEYS": secrets.token_urlsafe(48)}


def _run(program: str, env: dict[str, str], *words: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name(program)), *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
