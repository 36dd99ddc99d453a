"""A database in memory for as long as tests are played: tables made from the models, no file, no migrations.

The thread's connection is swapped, so that nothing played can reach the real rows; what a case writes is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from django.apps import apps
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from incidents import append_only

# The rooms whose rows a run touches, and what a person's row refers to.
ROOMS = ("contenttypes", "auth", "catalog", "incidents", "evaluations", "runbooks")
NAME = ":memory:"
_OPTIONS = {"init_command": "PRAGMA foreign_keys=ON; PRAGMA cache_size=-8000;"}


@contextmanager
def database() -> Iterator[None]:
    """An empty database with our tables as the default one of this thread; the one before comes back afterwards."""
    outside = connections["default"]
    inside = _new_connection()
    connections["default"] = inside
    try:
        with inside.cursor() as cursor:
            for statement in _statements():
                cursor.execute(statement)
        append_only.install(inside)
        yield
    finally:
        connections["default"] = outside
        inside.close()


@contextmanager
def scratch() -> Iterator[None]:
    """What is written inside is undone; hints to workers and wake-ups, which follow a commit, never happen.

    Refuses any other database than one in memory: nothing played may ever reach a real row.
    """
    if connections["default"].settings_dict["NAME"] != NAME:
        raise RuntimeError("cases are played in a database of `memory.database` only")
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _new_connection() -> BaseDatabaseWrapper:
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": NAME, "OPTIONS": _OPTIONS}
    made: BaseDatabaseWrapper = ConnectionHandler({"default": settings}).create_connection("default")
    return made


def _models() -> list[type[models.Model]]:
    return [model for label in ROOMS for model in apps.get_app_config(label).get_models(include_auto_created=True)]


@lru_cache(maxsize=1)
def _statements() -> tuple[str, ...]:
    """The SQL of every table; models do not change while a process lives."""
    connection = _new_connection()
    try:
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            for model in _models():
                # Those of a many-to-many field are made with the model that has it.
                if not model._meta.auto_created:
                    editor.create_model(model)
            return tuple(editor.collected_sql) + tuple(map(str, editor.deferred_sql))
    finally:
        connection.close()
