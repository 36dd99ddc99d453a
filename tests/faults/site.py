"""A production set-up that may be broken in every way: PostgreSQL, Redis, two workers, and an upstream that counts.

Whichever worker a test kills, freezes or cuts off, the other lives and takes over by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests import production, servers
from tests.fakes.effects import KINDS
from tests.faultproxy import Proxy, between
from tests.journeys import upstream as upstreams

LEASE_SECONDS = 5
# What a takeover may take: the lease, a tick, the five seconds that a message may be late, and a busy machine.
PATIENCE = 180.0
ACT = "  remediate:\n    - {{id: it, action: test.{kind}}}\n  verify:\n    - {{id: settle, wait: {wait}}}\n"
BOOKS = {kind: ACT.format(kind=kind, wait="1s") for kind in KINDS} | {
    "look": "  check:\n    - {id: it, check: test.look, pass_if: value > 0}\n",
    "poison": "  check:\n    - {id: it, check: test.poison, pass_if: value > 0}\n    - {id: next, manual: Look.}\n",
    "waiting": ACT.format(kind="keyed", wait="8s"),
}


class Redis:
    """A Redis on one port that can be stopped and started anew, with nothing of what it knew."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, servers.free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._running: ExitStack | None = None

    def start(self) -> None:
        """As from a disk that was lost."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self._running = ExitStack()
        command = [servers.program("redis-server"), *words]
        ready: dict[str, Any] = {"ready": lambda: servers.answers(self.port)}
        self._running.enter_context(servers.running(command, log=self.folder / "redis2.log", **ready))

    def stop(self) -> None:
        """Gone."""
        if self._running is not None:
            self._running.close()
            self._running = None


class Site:
    """The set-up, and what a test does to it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.upstream = stack.enter_context(upstreams.running())
        self.points = folder / "points"
        self.points.mkdir()
        settings = {
            "BACKSTOP_OUTBOUND_ALLOW": self.upstream.url,
            "BACKSTOP_LEASE_SECONDS": str(LEASE_SECONDS),
            "BACKSTOP_TEST_UPSTREAM": self.upstream.url,
            "BACKSTOP_TEST_FAULT_POINT": f"@{self.points}",
        }
        self.env = stack.enter_context(production.set_up(folder, **settings))
        self.redis = Redis(folder)
        self.redis.start()
        stack.callback(self.redis.stop)
        # The fast settings of a test's database would lose its last commits when it is killed.
        with psycopg.connect(self.env["BACKSTOP_DATABASE_URL"], autocommit=True) as database:
            database.execute("ALTER DATABASE postgres SET synchronous_commit = on")
        self.database: Proxy = stack.enter_context(between(self.env["BACKSTOP_DATABASE_URL"]))
        self.broker: Proxy = stack.enter_context(between(self.redis.url))
        self.env |= {"BACKSTOP_REDIS_URL": self.broker.url}
        self._hand: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hand"],
            cwd=production.ROOT,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "hand.log").open("ab"),
            text=True,
        )
        stack.callback(self._hand.kill)
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        stack.callback(self._end_workers)
        # The workers reach the database by the proxy; the hand, which looks, does not.
        self.worker_env = self.env | {"BACKSTOP_DATABASE_URL": self.database.url}
        self.do("prepare", BOOKS)
        self.restore()

    # --- workers -----------------------------------------------------------------------------------------------------
    def restore(self) -> None:
        """Two living workers, nothing armed, nothing in the way."""
        self.database.mode, self.database.latency, self.broker.mode = "pass", 0.0, "pass"
        for point in self.points.iterdir():
            point.unlink()
        self.upstream.release()
        self.upstream.reset()
        for pid in self.dead():
            del self.workers[pid]
        while len(self.workers) < 2:
            self._start_worker()

    def dead(self) -> list[int]:
        """The workers that have ended by themselves."""
        return [pid for pid, process in self.workers.items() if process.poll() is not None]

    def _start_worker(self) -> None:
        log = self.folder / f"worker{time.monotonic_ns()}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.journeys.crashing", "worker"],
                cwd=production.ROOT,
                env=self.worker_env,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.workers[process.pid] = process
        self.wait(lambda: "Working on" in log.read_text(), "a worker starts")

    def _end_workers(self) -> None:
        for process in self.workers.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(30)

    def holder(self, run: int, step: str = "it") -> int:
        """The process that has the step in hand."""
        name = self.wait(lambda: self.look(run)["workers"].get(step), "somebody takes it")
        return int(str(name).split(":")[1])

    def kill(self, pid: int) -> None:
        """`kill -9`."""
        os.kill(pid, signal.SIGKILL)
        self.workers[pid].wait(30)

    def arm(self, point: str) -> None:
        """The first process that comes to this point of the code dies there."""
        (self.points / point).touch()

    def has_died(self, point: str) -> None:
        """Wait until one has."""
        self.wait(lambda: not (self.points / point).exists() and self.dead(), f"one dies at {point}")

    # --- what the rows say -------------------------------------------------------------------------------------------
    def do(self, verb: str, *given: Any) -> Any:
        """Tell the hand; while the database is away it is asked again."""
        end = time.monotonic() + PATIENCE
        while True:
            assert self._hand.stdin is not None
            assert self._hand.stdout is not None
            self._hand.stdin.write(json.dumps([verb, *given]) + "\n")
            self._hand.stdin.flush()
            line = self._hand.stdout.readline()
            assert line, (self.folder / "hand.log").read_text()[-2000:]
            told = json.loads(line)
            if "answer" in told:
                return told["answer"]
            assert time.monotonic() < end, f"{told}\n{(self.folder / 'postgres.log').read_text()[-2000:]}"
            time.sleep(0.5)

    def start(self, book: str) -> int:
        """Start a run."""
        return int(self.do("start", book))

    def look(self, run: int) -> dict[str, Any]:
        """A run."""
        found: dict[str, Any] = self.do("look", run)
        return found

    def wait(self, true: Callable[[], Any], what: str, *, seconds: float = PATIENCE) -> Any:
        """The first true answer."""
        end = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < end, f"it did not happen that {what}"
            time.sleep(0.1)
        return found

    def wait_for(self, run: int, *ends: str, step: str = "it") -> dict[str, Any]:
        """A run once its step has come to one of these."""
        return dict(self.wait(lambda: (r := self.look(run))["steps"][step] in ends and r, f"{step} comes to {ends}"))

    def all_is_well(self, *, twice: bool = False) -> None:
        """Every promise holds, and no key had more than one effect (`twice`: a message may come again)."""
        end = time.monotonic() + 15
        while found := self.do("broken"):
            assert time.monotonic() < end, found
            time.sleep(0.5)
        assert twice or max(self.upstream.times.values(), default=0) <= 1, self.upstream.times


@contextmanager
def site() -> Iterator[Site]:
    """A running set-up, in a folder that no other pytest on this machine closes or clears."""
    with tempfile.TemporaryDirectory(prefix="backstop-site-") as name, ExitStack() as stack:
        yield Site(Path(name), stack)
