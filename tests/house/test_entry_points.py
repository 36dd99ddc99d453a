"""Every way into the product imports in an interpreter that has imported nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).parents[2]
EMBEDDED = ["config.wsgi", "config.asgi", "config.celery", "config.embedded"]


def run(*words: str, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BACKSTOP_")}
    own = {"DJANGO_SETTINGS_MODULE": "config.settings", "BACKSTOP_DATA_DIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=clean | own | env, capture_output=True, text=True, timeout=180
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_it_imports_alone(name: str, tmp_path: Path) -> None:
    setup = "import django; django.setup(); " if name == "config.embedded" else ""
    done = run("-W", "ignore", "-c", f"{setup}import {name}", tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_line_checks_itself(tmp_path: Path) -> None:
    done = run("manage.py", "check", tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize("name", [name for name, app in get_commands().items() if app == "web"])
def test_a_command_leaves_djangos_checks_to_manage_py_check(name: str) -> None:
    assert load_command_class("web", name).requires_system_checks == []


@pytest.mark.slow
def test_a_short_command_brings_neither_the_pages_nor_the_statistics(tmp_path: Path) -> None:
    assert run("manage.py", "prepare", tmp_path=tmp_path).returncode == 0
    done = run("-X", "importtime", "manage.py", "login_link", tmp_path=tmp_path)
    assert "/login/link/" in done.stdout
    brought = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "catalog.people" in brought
    assert not brought & {"web.urls", "web.api", "ninja", "jinja2", "celery.worker", "numpy", "scipy", "duckdb"}


@pytest.mark.slow
def test_production_refuses_unsafe_settings_in_sentences(tmp_path: Path) -> None:
    done = run("-c", "import config.wsgi", tmp_path=tmp_path, BACKSTOP_REDIS_URL="redis://redis.example:6379/0")
    assert done.returncode == 4
    assert "BACKSTOP_DATABASE_URL must name a PostgreSQL database" in done.stderr
    assert "BACKSTOP_SECRET_KEYS (or BACKSTOP_SECRET_KEYS_FILE) is required" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_wrong_setting_is_a_sentence(tmp_path: Path) -> None:
    done = run("manage.py", "check", tmp_path=tmp_path, BACKSTOP_LEASE_SECONDS="soon")
    assert done.returncode == 1
    assert "BACKSTOP_LEASE_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr
