"""`manage.py up` as people start and stop it: each refusal is one sentence, each stop leaves with 0 in seconds."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import httpx2
import pytest

from tests import production, servers

pytestmark = pytest.mark.slow
Env = dict[str, str]
# A run that waits for a person for hours.
WAITING = """
from catalog.actors import ENGINE
from catalog.models import Team
from tests.factories_runbooks import make_runbook, start
team = Team.objects.get(slug='default')
start(make_runbook(team, '  check:\\n    - {id: look, manual: Look}\\n'), ENGINE, team)
"""


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """Nothing set but an own folder."""
    return production.without_settings() | {"BACKSTOP_DATA_DIR": str(tmp_path / "data")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_seconds_with_a_stream_open_and_a_run_waiting(env: Env, tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    with production.embedded(env, log=log) as process:
        production.manage(env, "shell", "-v0", "-c", WAITING)
        found = re.search(r"(http://\S+?)(/login/link/\S+)", log.read_text())
        assert found, log.read_text()
        with httpx2.Client(base_url=found.group(1), timeout=60) as person:
            form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', person.get(found.group(2)).text)
            assert form
            assert person.post(found.group(2), data={"csrfmiddlewaretoken": form.group(1)}).status_code == 302
            with person.stream("GET", "/live/home/all") as stream:
                assert next(stream.iter_lines()).startswith("retry")
                began = time.monotonic()
                process.send_signal(number)
                assert process.wait(60) == 0, log.read_text()
                assert time.monotonic() - began < 30
    said = log.read_text()
    assert said.rstrip().endswith("Stopped."), said
    assert "Traceback" not in said


def test_it_says_what_a_person_needs_first(env: Env, tmp_path: Path) -> None:
    log, port = tmp_path / "log", servers.free_port()
    with production.embedded(env, log=log, port=port):
        assert production.status(port, "/readyz") == 200
    lines = [line.split("  ")[0].strip() for line in log.read_text().splitlines()]
    assert lines == [f"Data folder {tmp_path}/data", "Address", "Sign in", "Workers", "Next", "Stopped."]


def test_a_second_one_says_who_has_the_folder(env: Env, tmp_path: Path) -> None:
    port = servers.free_port()
    with production.embedded(env, log=tmp_path / "log", port=port) as process:
        said = refusal(env)
    assert f"The data folder {tmp_path}/data is in use by process {process.pid} at http://127.0.0.1:{port}." in said
    assert "Stop that one first, or choose another folder" in said


def test_it_names_the_port_that_is_taken(env: Env) -> None:
    with servers.taken_port() as port:
        said = refusal(env, "--port", str(port))
    assert f"Port {port} on 127.0.0.1 is taken by another program." in said
    assert f"--port {port + 1}" in said


def test_it_names_the_folder_that_cannot_be_written(env: Env, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal(env | {"BACKSTOP_DATA_DIR": str(tmp_path / "file/data")})
    assert f"The data folder {tmp_path}/file/data cannot be written" in said


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BACKSTOP_LEASE_SECONDS", "soon", "BACKSTOP_LEASE_SECONDS: Input should be a valid integer"),
        ("BACKSTOP_WORKERS", "0", "BACKSTOP_WORKERS: Input should be greater than or equal to 1"),
        ("BACKSTOP_LOG_FORMAT", "xml", "BACKSTOP_LOG_FORMAT: Input should be 'json' or 'console'"),
        ("BACKSTOP_SECRET_KEYS_FILE", "/nowhere/keys", "BACKSTOP_SECRET_KEYS_FILE: /nowhere/keys cannot be read"),
        ("BACKSTOP_DATABASE_URL", "mysql://a@b/c", "BACKSTOP_DATABASE_URL: only postgres://"),
        (
            "BACKSTOP_BASE_URL",
            "backstop.example.com",
            "BACKSTOP_BASE_URL: must be an address that starts with https://",
        ),
        ("BACKSTOP_REDIS_URL", "redis://127.0.0.1:1/0", "BACKSTOP_REDIS_URL is set, so this is a production set-up"),
    ],
)
def test_a_wrong_setting_is_named(env: Env, name: str, value: str, says: str) -> None:
    assert says in refusal(env | {name: value})


def test_a_database_that_is_away_is_a_sentence(env: Env) -> None:
    url = f"postgres://backstop@127.0.0.1:{servers.free_port()}/backstop"
    assert "The database does not answer as it should" in refusal(env | {"BACKSTOP_DATABASE_URL": url})


def refusal(env: Env, *words: str) -> str:
    """What `up` says as it leaves with 1; never a traceback, and never more than a few lines."""
    port = () if "--port" in words else ("--port", str(servers.free_port()))
    command = [*production.command_of("beat")[:2], "up", "--no-demo", *port, *words]
    done = subprocess.run(command, cwd=production.ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 3
    return done.stderr
