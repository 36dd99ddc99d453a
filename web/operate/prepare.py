"""Getting a database ready to serve: migrate it under the folder's lock, and put in what a first start needs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
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
from catalog.models import Team, User
from runbooks import library

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
    migrations to apply.

    While the database is away nothing can be said about migrations, and refusing would only prolong the outage.
    """
    found = list(settings.BACKSTOP_UNSAFE)
    if settings.EMBEDDED or found:
        return found
    if pages and (missing := uncollected()):
        found.append(
            f"{len(missing)} static files of this release are not in {settings.STATIC_ROOT} ({missing[0]} …): "
            "run `manage.py collectstatic --noinput`."
        )
    try:
        waiting = pending()
    except DatabaseError:
        return found
    if waiting:
        found.append(f"{len(waiting)} migrations are not applied ({waiting[0]} …): run `manage.py migrate`.")
    return found


def migrate() -> Path | None:
    """Apply what is pending, after copying an SQLite file that already holds data; gives the copy's path."""
    waiting = pending()
    if not waiting:
        return None
    copy = _copy_before_migrating() if connection.vendor == "sqlite" else None
    call_command("migrate", verbosity=0, interactive=False)
    return copy


def seed() -> User:
    """The first user, the shipped runbooks and those of the operator's folder; a second time changes nothing."""
    user = people.first_user()
    library.load_shipped()
    if settings.BACKSTOP.runbooks_dir:
        library.load_folder(settings.BACKSTOP.runbooks_dir, Team.objects.get(slug="default"))
    if settings.BACKSTOP.services_dir:
        loader.load_folder(settings.BACKSTOP.services_dir, Team.objects.get(slug="default"))
    return user


def _copy_before_migrating() -> Path | None:
    source = Path(str(settings.DATABASES["default"]["NAME"]))
    if not source.exists() or not connection.introspection.table_names():
        return None
    folder = source.parent / "before-migration"
    folder.mkdir(exist_ok=True)
    target = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite3"
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    for stale in sorted(folder.glob("*.sqlite3"))[:-KEPT_COPIES]:
        stale.unlink()
    return target
