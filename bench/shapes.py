"""What is measured, as running processes: bare Django, ours in one process, ours in production's processes."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests import servers

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
# As deploy/systemd/web.service: two processes of four threads. One process where the other side is one process.
GUNICORN = ["-k", "gthread", "--keep-alive", "60", "--log-level", "warning"]


@dataclass
class Server:
    """Something that takes alerts: where, and where its rows can be counted."""

    port: int
    path: str
    database: str
    pids: list[int] = field(default_factory=list)
    start_seconds: float = 0.0
    # Its environment: for commands beside it.
    env: dict[str, str] = field(default_factory=dict, repr=False)

    def command(self, *words: str) -> str:
        """What `manage.py …` prints beside it."""
        command = [sys.executable, "manage.py", *words]
        return subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, check=True, text=True).stdout

    def number(self, sql: str) -> int:
        """One number from its database."""
        return int(self.rows(sql)[0][0])

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """Rows from its database, read while it works."""
        if self.database.startswith("postgres"):
            with psycopg.connect(self.database) as postgres:
                return postgres.execute(sql.encode()).fetchall()
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20)) as link:
            return link.execute(sql).fetchall()

    def rss_mib(self) -> float:
        """The memory of its first process."""
        status = Path(f"/proc/{self.pids[0]}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        """The processor time so far of its first process and of those that it has started: gunicorn's workers."""
        return sum(_cpu_seconds(pid) for pid in [self.pids[0], *_children(self.pids[0])])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def process(
    command: list[str], *, env: dict[str, str], log: Path, cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children until the block ends."""
    with log.open("ab") as out:
        started = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGTERM)
            started.wait(40)


def answers(port: int, path: str = "/healthz") -> bool:
    """Whether it answers with 200 there."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10).close()
    except (OSError, urllib.error.HTTPError):
        return False
    return True


def wait(true: object, of: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Until `true()`; ends the bench with the log's last lines when the process ends or takes too long."""
    end = time.perf_counter() + seconds
    assert callable(true)
    while not true():
        if of.poll() is not None or time.perf_counter() > end:
            raise SystemExit(f"{log.stem} does not serve: {log.read_text()[-800:]}")
        time.sleep(0.02)


@contextmanager
def bare(folder: Path, database: str, *, processes: int) -> Iterator[Server]:
    """The limit: bare Django (bench/baseline.py) on gunicorn's threads."""
    port, log = servers.free_port(), folder / "bare.log"
    env = os.environ | {"BENCH_DATABASE": database, "PYTHONPATH": str(ROOT)}
    threads = ["-w", str(processes), "--threads", "4" if processes > 1 else "8", "-b", f"127.0.0.1:{port}"]
    command = [str(PROGRAMS / "gunicorn"), "baseline:application", *GUNICORN, *threads]
    with process(command, env=env, log=log, cwd=ROOT / "bench") as running:
        wait(lambda: answers(port), running, log)
        yield Server(port, "/upsert", database, [running.pid])


@contextmanager
def embedded(folder: Path, *, demo: bool = False) -> Iterator[Server]:
    """Ours as `make run` starts it; `start_seconds` is the time to the first answer."""
    folder.mkdir(exist_ok=True)
    port, log = servers.free_port(), folder / "embedded.log"
    env = _clean() | {"BACKSTOP_DATA_DIR": str(folder), "PORT": str(port)}
    command = [sys.executable, "manage.py", "up", *([] if demo else ["--no-demo"])]
    began = time.perf_counter()
    log.write_text("")
    with process(command, env=env, log=log) as running:
        wait(lambda: answers(port), running, log)
        server = Server(port, "", str(folder / "backstop.sqlite3"), [running.pid], time.perf_counter() - began, env)
        wait(lambda: "Workers     ready" in log.read_text(), running, log)
        if not demo:
            server.path = _endpoint(env)
        yield server


@contextmanager
def production(folder: Path, database: str, redis: str) -> Iterator[Server]:
    """Ours as the units of deploy/systemd start it, without beat and live: two web processes and one worker."""
    folder.mkdir(exist_ok=True)
    port, log = servers.free_port(), folder / "production.log"
    env = _clean() | {
        "BACKSTOP_DATA_DIR": str(folder),
        "BACKSTOP_DATABASE_URL": database,
        "BACKSTOP_REDIS_URL": redis,
        "BACKSTOP_SECRET_KEYS": secrets.token_urlsafe(48),
        "BACKSTOP_BASE_URL": "https://backstop.example.com",
        "BACKSTOP_TRUSTED_PROXIES": "1",
    }
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "prepare"], cwd=ROOT, env=env, check=True, capture_output=True)
    web = [*manage, "web", "--port", str(port), "--workers", "2", "--threads", "4"]
    with (
        process(web, env=env, log=log) as running,
        process([*manage, "worker", "--slots", "6"], env=env, log=folder / "worker.log") as worker,
    ):
        wait(lambda: answers(port), running, log)
        server = Server(port, _endpoint(env), database, [running.pid, worker.pid], env=env)
        alive = "SELECT count(*) FROM runbooks_worker"
        wait(lambda: server.number(alive) > 0, worker, folder / "worker.log")
        yield server


def _clean() -> dict[str, str]:
    """The environment without settings of ours, but with the bench's runbooks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTOP_")}
    return kept | {"BACKSTOP_RUNBOOKS_DIR": str(ROOT / "bench" / "runbooks")}


def _endpoint(env: dict[str, str]) -> str:
    words = ["endpoint", "create", "--source", "alertmanager", "--name", "bench", "--team", "default", "--json"]
    made = subprocess.run([sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, check=True)
    return str(json.loads(made.stdout)["path"])
