"""P17, with the commands and processes themselves, on both databases: what the copy saw before it was done, and the
world has since seen done, is never done again by the restored database.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest

from tests import production, servers
from tests.fakes import web

pytestmark = pytest.mark.slow


@dataclass
class Flags:
    """A flag service that counts how often it was changed."""

    value: str = "v2"
    changes: list[str] = field(default_factory=list)

    def answer(self, asked: web.Asked) -> web.Reply:
        """Read the flag, or change it."""
        if asked.method == "PUT":
            self.value = json.loads(asked.body)["value"]
            self.changes.append(self.value)
        return web.Reply(json.dumps({"name": "model", "value": self.value, "version": 1}).encode())


@pytest.fixture
def flags() -> Flags:
    """Nothing changed yet."""
    return Flags()


@pytest.fixture
def upstream(flags: Flags) -> Iterator[str]:
    """Its address."""
    with web.serve(flags.answer) as made:
        yield made.url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def env(request: pytest.FixtureRequest, tmp_path: Path, upstream: str) -> Iterator[dict[str, str]]:
    """An embedded or a production set-up whose one run is about to turn the flag, with nobody at work yet."""
    own = {"BACKSTOP_OUTBOUND_ALLOW": upstream, "BACKSTOP_LEASE_SECONDS": "2"}
    code = f"from tests.deploy.restore_world import arrange; arrange('{upstream}')"
    if request.param == "postgresql":
        with production.set_up(tmp_path, **own) as made:
            production.manage(made, "shell", "-v0", "-c", code)
            yield made
        return
    made = production.without_settings() | own | {"BACKSTOP_DATA_DIR": str(tmp_path / "data")}
    (tmp_path / "data").mkdir()
    production.manage(made, "prepare")
    production.manage(made, "shell", "-v0", "-c", code)
    yield made


def at_work(env: dict[str, str], log: Path) -> AbstractContextManager[Popen[bytes]]:
    """The engine of that set-up, in the process that its mode has for it."""
    if "BACKSTOP_REDIS_URL" in env:
        return production.working("worker", env, log=log)
    return production.embedded(env, log=log)


def test_a_restored_database_repeats_nothing(env: dict[str, str], flags: Flags, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    production.manage(env, "backup", str(copy))
    with at_work(env, tmp_path / "first.log"):
        servers.wait_until(lambda: flags.changes == ["v1"], seconds=180)
        if "BACKSTOP_REDIS_URL" in env:
            said = production.manage(env, "restore", str(copy), "--yes", wrong=True)
            assert "The database is in use by" in said
        else:
            assert "is in use by process" in production.manage(env, "restore", str(copy), "--yes", wrong=True)
    assert "Say so with --yes" in production.manage(env, "restore", str(copy), wrong=True)

    damaged = tmp_path / "damaged"
    damaged.write_bytes(copy.read_bytes()[:6000])
    production.manage(env, "restore", str(damaged), "--yes", wrong=True)
    assert "cut off" not in production.manage(env, "prepare"), "nothing was replaced"

    said = production.manage(env, "restore", str(copy), "--yes")
    assert "Restored. 1 actions that were under way ask a person" in said
    with at_work(env, tmp_path / "second.log"):
        servers.wait_until(lambda: "a worker ticks" in show(env), seconds=180)
        # Longer than a lease, and than the silence after which a runner takes steps over by itself.
        time.sleep(8)
    assert flags.changes == ["v1"]
    assert "run paused, step unknown, effect unknown" in show(env)


def test_a_restore_that_was_cut_off_repeats_nothing(env: dict[str, str], flags: Flags, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    production.manage(env, "backup", str(copy))
    production.manage(env | {"BACKSTOP_FAULT_POINT": "R1"}, "restore", str(copy), "--yes", wrong=True)
    if "BACKSTOP_REDIS_URL" in env:
        said = production.manage(env, "worker", wrong=True)
        assert "A restore of this database was cut off: run `manage.py prepare`" in said
        assert "finished: 1 actions that were under way ask a person" in production.manage(env, "prepare")
    with at_work(env, tmp_path / "work.log"):
        servers.wait_until(lambda: "a worker ticks" in show(env), seconds=180)
        time.sleep(4)
    assert flags.changes == []
    assert "run paused, step unknown, effect unknown" in show(env)


def show(env: dict[str, str]) -> str:
    """What the database says of run, step, effect and workers."""
    code = "from tests.deploy.restore_world import show; print(show())"
    return production.manage(env, "shell", "-v0", "-c", code)
