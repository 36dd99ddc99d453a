"""Looking over one installation: each finding is a line with what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings
from django.db import connection

from catalog import connections as outer
from catalog.models import Connection
from common import clock
from common.errors import DomainError
from runbooks import damage, reading, restored
from runbooks.models import Runbook, Worker
from web.operate import prepare

CLOCK_SECONDS = 5.0
# A process ticks each second; the page's banner speaks up after the same time.
SILENT_SECONDS = 15.0
FREE_BYTES = 500 * 1024 * 1024


@dataclass(frozen=True)
class Finding:
    """One line: `ok`, `warning` or `problem`, what was looked at, what was seen, what to do."""

    level: str
    what: str
    seen: str
    fix: str = ""


def look() -> Iterator[Finding]:
    """Every check, in the order in which a fault explains the next ones; a check that breaks is itself a finding."""
    for check in (
        _python,
        _settings,
        _folder,
        _static,
        _database,
        _migrations,
        _clock,
        _port,
        _broker,
        _workers,
        _runs,
        _connections,
    ):
        yield from _safely(check)


def _safely(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    what = check.__name__.strip("_")
    try:
        yield from check()
    except DomainError as error:
        yield Finding("problem", what, error.sentence, error.fix)
    except Exception as error:  # noqa: BLE001  a doctor that faints helps nobody
        yield Finding("problem", what, f"{type(error).__name__}: {str(error)[:200]}", "See the line above, if any.")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = (3, 11) <= sys.version_info[:2] < (3, 15)
    yield Finding("ok" if ok else "problem", "Python", version, "" if ok else "Use Python 3.11 to 3.14.")


def _settings() -> Iterator[Finding]:
    for fault in settings.BACKSTOP_UNSAFE:
        yield Finding("problem", "settings", fault, "docs/guide/settings.md")
    if not settings.BACKSTOP_UNSAFE:
        yield Finding("ok", "settings", "embedded mode" if settings.EMBEDDED else "production")


def _folder() -> Iterator[Finding]:
    if not settings.EMBEDDED:
        return
    folder = settings.BACKSTOP.data_dir
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield Finding(
            "problem",
            "data folder",
            f"{folder} cannot be written",
            "Give this user the right to, or set BACKSTOP_DATA_DIR.",
        )
        return
    free = shutil.disk_usage(folder).free
    level = "ok" if free > FREE_BYTES else "warning"
    yield Finding(level, "data folder", f"{folder}, {free // 2**20} MiB free", "" if level == "ok" else "Make room.")


def _static() -> Iterator[Finding]:
    if settings.EMBEDDED:
        return
    missing = prepare.uncollected()
    if missing:
        seen = f"{len(missing)} files are not in {settings.STATIC_ROOT}: {missing[0]} …"
        yield Finding("problem", "static files", seen, "manage.py prepare")
    else:
        yield Finding("ok", "static files", f"all in {settings.STATIC_ROOT}")


def _database() -> Iterator[Finding]:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    yield Finding("ok", "database", f"{connection.vendor}, {1000 * (time.monotonic() - began):.0f} ms")


def _migrations() -> Iterator[Finding]:
    waiting = prepare.pending()
    if waiting:
        yield Finding(
            "problem",
            "migrations",
            f"{len(waiting)} not applied: {waiting[0]} …",
            "manage.py prepare (`up` needs none)",
        )
    else:
        yield Finding("ok", "migrations", "all applied")
    if restored.unfinished():
        fix = "manage.py restore again, or finish it: manage.py prepare (`up` needs none)"
        yield Finding("problem", "restore", "was cut off; nothing may run on what it left", fix)


def _clock() -> Iterator[Finding]:
    apart = abs((clock.now() - datetime.now(UTC)).total_seconds())
    ok = apart < CLOCK_SECONDS
    yield Finding(
        "ok" if ok else "warning", "clock", f"{apart:.1f} s from the database's", "" if ok else "Run an NTP client."
    )


def _port() -> Iterator[Finding]:
    parts = urlsplit(settings.BASE_URL)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", port), timeout=2):
            yield Finding("ok", "address", f"{settings.BASE_URL} answers")
    except OSError:
        fix = "make run" if settings.EMBEDDED else "Start web, or mend the proxy (deploy/README.md)."
        yield Finding("warning", "address", f"nothing answers at {settings.BASE_URL}", fix)


def _broker() -> Iterator[Finding]:
    if settings.EMBEDDED:
        yield Finding("ok", "broker", "in process")
        return
    try:
        with current_app.connection_for_write() as link:
            link.ensure_connection(max_retries=0, timeout=2)
        yield Finding("ok", "broker", "Redis answers")
    except Exception as error:  # noqa: BLE001  whatever a broker client raises
        yield Finding(
            "warning",
            "broker",
            f"Redis does not answer ({type(error).__name__})",
            "Work goes on, a few seconds later per step.",
        )


def _workers() -> Iterator[Finding]:
    now = clock.now()
    alive = [w for w in Worker.objects.all() if (now - w.ticked_at).total_seconds() <= SILENT_SECONDS]
    if not alive:
        yield Finding(
            "problem", "workers", "none has ticked for 15 s: nothing will run", "Start `manage.py up` or `worker`."
        )
    for worker in alive:
        level = "warning" if worker.tick_error else "ok"
        yield Finding(level, "worker", f"{worker.name} on {', '.join(worker.queues)} {worker.tick_error}".strip())


def _runs() -> Iterator[Finding]:
    for run, fault in damage.everywhere():
        yield Finding("problem", f"run {run.uuid}", f"{run.label} waits: {fault}", reading.FIX)
    for runbook in Runbook.objects.written().filter(enabled=True, deleted_at=None).select_related("current"):
        try:
            _ = runbook.current and reading.book_of(runbook.current)
        except reading.Unreadable as error:
            fix = "Nothing starts it. Publish another revision, or mend the row."
            yield Finding("problem", f"runbook {runbook.slug}", error.sentence, fix)


def _connections() -> Iterator[Finding]:
    for row in Connection.objects.order_by("team__slug", "slug").select_related("team"):
        began = time.monotonic()
        checked = outer.check(row)
        level = "ok" if checked.healthy else "warning"
        took = f"{1000 * (time.monotonic() - began):.0f} ms"
        yield Finding(level, f"connection {row.team.slug}/{row.slug}", f"{checked.health} ({took})")
