"""A production set-up for tests: real PostgreSQL and Redis, and the very commands of deploy/systemd."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests import servers

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "deploy/systemd"
KEYS = "a-key-for-this-test-that-is-long-enough"


def without_settings() -> dict[str, str]:
    """This process's environment without any setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BACKSTOP_")}


@contextmanager
def set_up(folder: Path, **settings: str) -> Iterator[dict[str, str]]:
    """The environment of a set-up that was prepared as deploy/README.md says."""
    with servers.postgres(folder) as database, servers.redis(folder) as broker:
        env = without_settings() | {
            "BACKSTOP_DATABASE_URL": database,
            "BACKSTOP_REDIS_URL": broker,
            "BACKSTOP_SECRET_KEYS": KEYS,
            "BACKSTOP_BASE_URL": "http://127.0.0.1:8000",
            "BACKSTOP_DATA_DIR": str(folder / "data"),
            **settings,
        }
        manage(env, "prepare")
        yield env


def manage(env: dict[str, str], *words: str, wrong: bool = False) -> str:
    """What a command of manage.py prints; with `wrong`, what it says as it refuses."""
    command = [sys.executable, "manage.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode != 0) == wrong, done.stdout + done.stderr
    return done.stderr if wrong else done.stdout


def command_of(unit: str, *, port: int | None = None) -> list[str]:
    """The unit's ExecStart with its folder replaced by this checkout's, on another port if given."""
    line = next(x for x in (UNITS / f"{unit}.service").read_text().splitlines() if x.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    words[0] = str(Path(sys.executable).parent / Path(words[0]).name)
    if port is not None:
        words[words.index("--port") + 1] = str(port)
    return words


def serving(unit: str, env: dict[str, str], *, port: int, log: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A web or live process, once it answers."""
    command = command_of(unit, port=port)
    ready = {"ready": lambda: status(port, "/healthz") == 200}
    return servers.running(command, log=log, wait=120, cwd=ROOT, env=env, **ready)


def working(
    unit: str, env: dict[str, str], *options: str, log: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A worker or beat process, once it says so; with further options if given."""
    says = {"worker": "Working on", "beat": "The clock is running"}[unit]
    ready = {"ready": lambda: log.exists() and says in log.read_text()}
    return servers.running([*command_of(unit), *options], log=log, wait=120, cwd=ROOT, env=env, **ready)


def embedded(
    env: dict[str, str], *words: str, log: Path, port: int | None = None
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """`manage.py up` without the demo, once its workers are ready."""
    port = port or servers.free_port()
    command = [sys.executable, "manage.py", "up", "--no-demo", "--port", str(port), *words]
    ready = {"ready": lambda: log.exists() and "Next " in log.read_text()}
    return servers.running(command, log=log, wait=120, cwd=ROOT, env=env, **ready)


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of an address; 0 while nothing answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def status(port: int, path: str) -> int:
    """The status alone."""
    return get(port, path)[0]
