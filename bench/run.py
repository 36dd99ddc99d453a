"""Our ingest beside bare Django, alternately, in one run: settled rows per second, and their ratio (`make bench`).

Read the ratio, not the numbers: the same cell moves by a factor of two between runs on a shared machine. Settled means
processed, with alert, incident and timeline in the database, not merely acknowledged. Exit 1 below --least.
PostgreSQL and webhook -> first check are not measured yet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import load

ROOT = Path(__file__).resolve().parent.parent
# docs: a parsed, deduplicated, grouped and told alert against one upsert; the goal is half of the limit.
LEAST = 0.5


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextmanager
def serving(command: list[str], port: int, cwd: Path, env: dict[str, str], log: Path) -> Iterator[dict[str, Any]]:
    """A server until the block ends; gives its seconds to the first 200 and, at the end, its memory in MiB."""
    facts: dict[str, Any] = {}
    began = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            except (OSError, urllib.error.HTTPError):
                if process.poll() is not None or time.perf_counter() - began > 240:
                    raise SystemExit(f"{command[0]} does not serve: {log.read_text()[-600:]}") from None
                time.sleep(0.05)
        facts["start_seconds"] = round(time.perf_counter() - began, 2)
        yield facts
        status = Path(f"/proc/{process.pid}/status").read_text()
        facts["rss_mib"] = int(status.split("VmRSS:")[1].split()[0]) // 1024
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(40)


def count(database: Path, sql: str) -> int:
    """One number from an SQLite file that others write."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=20)) as link:
        return int(link.execute(sql).fetchone()[0])


def measure(port: int, path: str, database: Path, sql: str, options: argparse.Namespace) -> dict[str, Any]:
    """Send, then wait until every acknowledged alert is settled."""
    before, began = count(database, sql), time.perf_counter()
    sent = load.send(port, path, requests=options.requests, alerts=options.alerts, connections=options.connections)
    wanted, settled = sent.acked * options.alerts, 0
    end = time.perf_counter() + 180
    while settled < wanted and time.perf_counter() < end:
        settled = count(database, sql) - before
        time.sleep(0.05)
    return {
        "acked": sent.acked,
        "codes": sent.codes,
        "ack_p50_ms": sent.p(0.5),
        "ack_p99_ms": sent.p(0.99),
        "lost": wanted - settled,
        "settled_per_second": round(settled / (time.perf_counter() - began), 1),
    }


def bare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The limit: gunicorn's threads, one process, one upsert."""
    port, database = free_port(), folder / "bare.sqlite3"
    env = os.environ | {"BENCH_SQLITE": str(database)}
    gunicorn = [str(Path(sys.executable).with_name("gunicorn")), "baseline:application", "-k", "gthread", "-w", "1"]
    command = [*gunicorn, "--threads", "8", "--keep-alive", "60", "-b", f"127.0.0.1:{port}"]
    with serving(command, port, ROOT / "bench", env, folder / "bare.log") as facts:
        result = measure(port, "/upsert", database, "SELECT count(*) FROM bench_alert", options)
    return result | facts


def ours(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """`manage.py up --no-demo`, settled through delivery, alert, incident and timeline."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTOP_")}
    env |= {"BACKSTOP_DATA_DIR": str(folder), "PORT": str(port)}
    command = [sys.executable, "manage.py", "up", "--no-demo", "--port", str(port), "--data-dir", str(folder)]
    with serving(command, port, ROOT, env, folder / "ours.log") as facts:
        words = [
            "endpoint",
            "create",
            "--source",
            "alertmanager",
            "--name",
            f"bench-{port}",
            "--team",
            "default",
            "--json",
        ]
        made = subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, check=True)
        path = json.loads(made.stdout)["path"]
        sql = "SELECT count(*) FROM incidents_alert WHERE incident_id IS NOT NULL"
        result = measure(port, path, folder / "backstop.sqlite3", sql, options)
    return result | facts


def main() -> int:
    """Alternate the two, write every round to bench-results/, and judge the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--alerts", type=int, default=10)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--least", type=float, default=LEAST, help="exit 1 when the median ratio is below")
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for number in range(options.rounds):
            place = Path(name) / str(number)
            place.mkdir()
            both = {"bare": bare(place, options), "ours": ours(place, options)}
            both["ratio"] = round(both["ours"]["settled_per_second"] / both["bare"]["settled_per_second"], 3)
            rounds.append(both)
            print(json.dumps(both), flush=True)
    ratio = statistics.median(row["ratio"] for row in rounds)
    lost = sum(row["ours"]["lost"] for row in rounds)
    results = ROOT / "bench-results"
    results.mkdir(exist_ok=True)
    summary = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "options": vars(options)}
    summary |= {"ratio": ratio, "least": options.least, "lost": lost, "rounds": rounds}
    (results / f"ingest-{time.strftime('%Y%m%dT%H%M%S')}.json").write_text(json.dumps(summary, indent=1))
    what = f"ingest, SQLite, {options.alerts} alerts a webhook"
    print(f"{what}: {ratio:.2f} of bare Django (at least {options.least}), {lost} lost")
    return int(ratio < options.least or lost > 0)


if __name__ == "__main__":
    sys.exit(main())
