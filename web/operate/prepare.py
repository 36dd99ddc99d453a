"""Getting a database ready to serve: migrate it under the folder's lock, and put in what a first start needs."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import iter_modules

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from catalog import loader, people
from catalog.actors import ENGINE
from catalog.models import Service, Team, User
from common.yaml import FileFaults, Finding
from evaluations import jobs
from incidents import intake, outbox
from runbooks import autonomy, leases, library, restored
from web.operate import demo_book

KEPT_COPIES = 3


def pending() -> list[str]:
    """Migrations on disk that the database has not seen, as `app.name`; reads file names only, so it is quick."""
    applied = set(MigrationRecorder(connection).applied_migrations())
    found = []
    for app in apps.get_app_configs():
        folder = Path(app.path) / "migrations"
        names = [module.name for module in iter_modules([str(folder)]) if module.name[0] not in "_~"]
        found += [f"{app.label}.{name}" for name in names if (app.label, name) not in applied]
    return sorted(found)


def uncollected() -> list[str]:
    """Static files of this release that `collectstatic` has not put in place; production pages need every one."""
    # What the manifest names; empty without one.
    collected = set(getattr(staticfiles_storage, "hashed_files", ()))
    return sorted({path for finder in get_finders() for path, _ in finder.list([])} - collected)


def refusals(*, pages: bool = False) -> list[str]:
    """Why a production process must not start, one sentence each: unsafe settings, static files that its pages need,
    migrations to apply, a restore that was cut off.

    While the database is away nothing can be said about the last two, and refusing would only prolong the outage.
    """
    found = list(settings.BACKSTOP_UNSAFE)
    if settings.EMBEDDED or found:
        return found
    if pages and (missing := uncollected()):
        found.append(
            f"{len(missing)} static files of this release are not in {settings.STATIC_ROOT} ({missing[0]} …): "
            "run `manage.py prepare`."
        )
    try:
        waiting, cut_off = pending(), restored.unfinished()
    except DatabaseError:
        return found
    if waiting:
        found.append(f"{len(waiting)} migrations are not applied ({waiting[0]} …): run `manage.py prepare`.")
    if cut_off:
        found.append("A restore of this database was cut off: run `manage.py prepare` to finish it, or restore again.")
    return found


def migrate() -> Path | None:
    """Apply what is pending, after copying an SQLite file that already holds data; gives the copy's path."""
    waiting = pending()
    if not waiting:
        return None
    copy = _copy_before_migrating() if connection.vendor == "sqlite" else None
    # Each migration makes all models anew, 60 MB of garbage; the collector is off since manage.py began.
    gc.enable()
    call_command("migrate", verbosity=0, interactive=False)
    return copy


def collect() -> bool:
    """Put the static files in place if some are missing; whether it had to."""
    if settings.EMBEDDED or not uncollected():
        return False
    call_command("collectstatic", verbosity=0, interactive=False)
    return True


def seed() -> tuple[User, list[str]]:
    """The first user, the shipped runbooks and the operator's folders; a second time changes nothing.

    What is wrong in those folders is told, and keeps neither their other files nor the start back.
    """
    user = people.first_user()
    library.load_shipped()
    # The demo, if it comes, switches it on again.
    demo_book.switch(on=False)
    team, faults = Team.objects.get(slug="default"), []
    if settings.BACKSTOP.runbooks_dir:
        faults += _faults(lambda folder: library.load_folder(folder, team).findings, settings.BACKSTOP.runbooks_dir)
    if settings.BACKSTOP.services_dir:
        faults += _faults(lambda folder: _services(folder, team), settings.BACKSTOP.services_dir)
    return user, faults


def _faults(load: Callable[[Path], list[Finding]], folder: Path) -> list[str]:
    if not folder.is_dir():
        return [f"{folder} is not a folder that this user can read."]
    return [str(replace(finding, file=str(folder / finding.file))) for finding in load(folder)]


def _services(folder: Path, team: Team) -> list[Finding]:
    try:
        loader.load_folder(folder, team)
    except FileFaults as faults:
        return faults.findings
    finally:
        # Also of a folder with a faulty file: the others were loaded.
        autonomy.note_loaded(list(Service.objects.exclude(source_file="")), actor=ENGINE)
    return []


def end_leases() -> int:
    """Let go of what a process before this one held when it was killed; how much that was.

    An SQLite file belongs to whoever holds its folder's lock, so every lease in it is a dead one's. Without this its
    work would wait until the lease runs out. On PostgreSQL others may live, and leases end by themselves.
    """
    if connection.vendor != "sqlite":
        return 0
    return leases.end_all() + intake.end_leases() + outbox.end_leases() + jobs.end_leases()


def _copy_before_migrating() -> Path | None:
    source = Path(str(settings.DATABASES["default"]["NAME"]))
    if not source.exists() or not connection.introspection.table_names():
        return None
    folder = source.parent / "before-migration"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite3"
    # Readable by its owner only, like what it is a copy of.
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    for stale in sorted(folder.glob("*.sqlite3"))[:-KEPT_COPIES]:
        stale.unlink()
    return target
