"""The very commands of deploy/systemd start against real PostgreSQL and Redis, answer, and stop with 0 in time."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy/systemd"
pytestmark = [pytest.mark.real, pytest.mark.slow]


def command_of(unit: str) -> list[str]:
    """The unit's ExecStart with its folder replaced by this checkout's."""
    line = next(x for x in (UNITS / f"{unit}.service").read_text().splitlines() if x.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    return [str(Path(sys.executable).parent / Path(words[0]).name), *words[1:]]


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a production set-up whose database is migrated."""
    folder = tmp_path_factory.mktemp("production")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTOP_")}
    with servers.postgres(folder) as database, servers.redis(folder) as broker:
        env = clean | {
            "BACKSTOP_DATABASE_URL": database,
            "BACKSTOP_REDIS_URL": broker,
            "BACKSTOP_SECRET_KEYS": "a-key-for-this-test-that-is-long-enough",
            "BACKSTOP_BASE_URL": "http://127.0.0.1:8000",
            "BACKSTOP_DATA_DIR": str(folder),
        }
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=env, check=True, timeout=300)
        yield env


def status(port: int, path: str) -> int:
    """The HTTP status of an address; 0 while nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.parametrize(("unit", "port_option"), [("web", "--bind"), ("live", "--port")])
def test_a_server_answers_and_stops(unit: str, port_option: str, production: dict[str, str], tmp_path: Path) -> None:
    command, port = command_of(unit), servers.free_port()
    place = command.index(port_option) + 1
    command[place] = f"127.0.0.1:{port}" if port_option == "--bind" else str(port)
    ready = {"ready": lambda: status(port, "/healthz") == 200}
    with servers.running(command, log=tmp_path / "log", wait=120, cwd=ROOT, env=production, **ready) as process:
        assert status(port, "/readyz") == 200
        assert (status(port, "/login") == 200) == (unit == "web")
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize(("unit", "says"), [("worker", "Working on"), ("beat", "The clock is running")])
def test_a_worker_starts_and_stops(unit: str, says: str, production: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    ready = {"ready": lambda: log.exists() and says in log.read_text()}
    with servers.running(command_of(unit), log=log, wait=120, cwd=ROOT, env=production, **ready) as process:
        time.sleep(3)
        assert process.poll() is None, log.read_text()
        began = time.monotonic()
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
        assert time.monotonic() - began < 25


def test_a_worker_goes_on_without_redis(production: dict[str, str], tmp_path: Path) -> None:
    env = production | {"BACKSTOP_REDIS_URL": f"redis://127.0.0.1:{servers.free_port()}/0"}
    log = tmp_path / "log"
    ready = {"ready": lambda: log.exists() and "Working on" in log.read_text()}
    with servers.running(command_of("worker"), log=log, wait=120, cwd=ROOT, env=env, **ready):
        alive = [sys.executable, "manage.py", "doctor", "--json"]
        end = time.monotonic() + 60
        while '"what": "worker"' not in subprocess.run(alive, cwd=ROOT, env=env, capture_output=True, text=True).stdout:
            assert time.monotonic() < end, log.read_text()
            time.sleep(1)
