"""The very commands of deploy/systemd start against real PostgreSQL and Redis, answer, and stop with 0 in time."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import production, servers

pytestmark = [pytest.mark.real, pytest.mark.slow]
Env = dict[str, str]
SLUGS = "from runbooks.models import Runbook; print(*Runbook.objects.values_list('slug', flat=True))"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Env]:
    """The environment of a production set-up."""
    with production.set_up(tmp_path_factory.mktemp("production")) as made:
        yield made


def stop(process: subprocess.Popen[bytes], log: Path, number: int = signal.SIGTERM) -> float:
    """Ask a process to stop; it must leave with 0. Gives the seconds that took."""
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == 0, log.read_text()
    return time.monotonic() - began


def test_web_serves_whole_pages_and_stops(env: Env, tmp_path: Path) -> None:
    port, log = servers.free_port(), tmp_path / "log"
    with production.serving("web", env, port=port, log=log) as process:
        assert production.status(port, "/readyz") == 200
        code, page = production.get(port, "/login")
        assert code == 200, log.read_text()
        style = re.search(r'href="(/static/app\.[0-9a-f]{12}\.css)"', page)
        assert style, page
        assert production.status(port, style.group(1)) == 200
        for address in ("/login", style.group(1)):
            asked = urllib.request.Request(f"http://127.0.0.1:{port}{address}", headers={"Accept-Encoding": "gzip"})
            with urllib.request.urlopen(asked, timeout=60) as answer:
                assert answer.headers["Content-Encoding"] == "gzip", f"{address} goes over the network at full length"
        assert stop(process, log) < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_live_serves_streams_only_and_stops(env: Env, tmp_path: Path, number: int) -> None:
    port, log = servers.free_port(), tmp_path / "log"
    with production.serving("live", env, port=port, log=log) as process:
        assert production.status(port, "/readyz") == 200
        assert production.status(port, "/login") == 404
        assert stop(process, log, number) < 30


@pytest.mark.parametrize("unit", ["worker", "beat"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_starts_and_stops(env: Env, tmp_path: Path, unit: str, number: int) -> None:
    log = tmp_path / "log"
    with production.working(unit, env, log=log) as process:
        time.sleep(3)
        assert process.poll() is None, log.read_text()
        assert stop(process, log, number) < 50


def test_a_worker_goes_on_without_redis(env: Env, tmp_path: Path) -> None:
    env = env | {"BACKSTOP_REDIS_URL": f"redis://127.0.0.1:{servers.free_port()}/0"}
    log = tmp_path / "log"
    with production.working("worker", env, log=log) as process:
        servers.wait_until(lambda: [w for w in workers(env) if str(process.pid) in w], seconds=180)


def test_a_worker_of_forked_slots_starts_and_stops(env: Env, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with production.working("worker", env, "--pool", "prefork", log=log) as process:
        servers.wait_until(lambda: [w for w in workers(env) if str(process.pid) in w], seconds=180)
        assert stop(process, log) < 50


def test_doctor_finds_a_set_up_well_but_for_its_workers(env: Env) -> None:
    command = [*production.command_of("beat")[:2], "doctor", "--json"]
    done = subprocess.run(command, cwd=production.ROOT, env=env, capture_output=True, text=True, check=False)
    found = {f["what"]: f for f in json.loads(done.stdout)["findings"]}
    assert {"Python", "settings", "static files", "database", "migrations", "clock", "broker"} <= set(found)
    assert found["static files"]["level"] == found["migrations"]["level"] == found["broker"]["level"] == "ok"


def workers(env: Env) -> list[str]:
    """The living workers that doctor sees."""
    command = [*production.command_of("beat")[:2], "doctor", "--json"]
    done = subprocess.run(command, cwd=production.ROOT, env=env, capture_output=True, text=True, check=False)
    return [found["seen"] for found in json.loads(done.stdout)["findings"] if found["what"] == "worker"]


def test_preparing_again_changes_nothing(env: Env) -> None:
    said = production.manage(env, "prepare")
    assert "Database: up to date." in said
    assert "Static files: in place" in said


def test_preparing_loads_the_operators_folders_and_tells_what_is_wrong(env: Env, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("spec: 1\n")
    shipped = production.ROOT / "runbooks/library/latency_spike.yaml"
    (tmp_path / "ours.yaml").write_text(shipped.read_text().replace("id: latency_spike", "id: ours"))
    folders = {"BACKSTOP_RUNBOOKS_DIR": str(tmp_path), "BACKSTOP_SERVICES_DIR": str(tmp_path / "nowhere")}
    said = production.manage(env | folders, "prepare", wrong=True)
    assert f"{tmp_path}/bad.yaml:" in said
    assert f"{tmp_path}/nowhere is not a folder" in said
    assert "Traceback" not in said
    names = [sys.executable, "manage.py", "shell", "-v0", "-c", SLUGS]
    listed = subprocess.run(names, cwd=production.ROOT, env=env, capture_output=True, text=True, check=True).stdout
    assert {"accuracy_drop", "ours"} <= set(listed.split())


# --- what refuses to start does so in one sentence -------------------------------------------------------------------
def refusal(env: Env, unit: str, *, port: int | None = None) -> str:
    """What a unit's command says as it leaves; never a traceback."""
    done = subprocess.run(
        production.command_of(unit, port=port), cwd=production.ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_web_names_the_command_for_missing_static_files(env: Env, tmp_path: Path) -> None:
    said = refusal(env | {"BACKSTOP_DATA_DIR": str(tmp_path)}, "web", port=servers.free_port())
    assert "run `manage.py prepare`" in said
    assert len(said.splitlines()) == 1


def test_web_knows_files_of_an_older_release(env: Env, tmp_path: Path) -> None:
    shutil.copytree(Path(env["BACKSTOP_DATA_DIR"], "static"), tmp_path / "static")
    manifest = tmp_path / "static/staticfiles.json"
    known = json.loads(manifest.read_text())
    del known["paths"]["app.css"]
    manifest.write_text(json.dumps(known))
    said = refusal(env | {"BACKSTOP_DATA_DIR": str(tmp_path)}, "web", port=servers.free_port())
    assert "1 static files of this release" in said
    assert "app.css" in said


@pytest.mark.parametrize("unit", ["web", "live", "worker", "beat"])
def test_unsafe_settings_start_nothing(env: Env, unit: str) -> None:
    said = refusal(env | {"BACKSTOP_SECRET_KEYS": "short", "BACKSTOP_BASE_URL": "http://backstop.example.com"}, unit)
    assert "needs at least 32 characters" in said
    assert "BACKSTOP_BASE_URL must start with https://" in said


@pytest.mark.parametrize("unit", ["web", "live"])
def test_a_port_that_is_taken_is_named(env: Env, unit: str) -> None:
    with servers.taken_port() as port:
        assert f"Port {port} on 127.0.0.1 is taken by another program." in refusal(env, unit, port=port)


def test_gunicorn_started_by_hand_does_not_try_for_ever(env: Env) -> None:
    command = [production.command_of("web")[0].replace("/python", "/gunicorn"), "config.wsgi:application"]
    command += ["--bind", f"127.0.0.1:{servers.free_port()}"]
    done = subprocess.run(
        command, cwd=production.ROOT, env=env | {"BACKSTOP_SECRET_KEYS": "short"}, capture_output=True, timeout=60
    )
    assert done.returncode != 0
    assert b"needs at least 32 characters" in done.stderr
