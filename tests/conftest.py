"""Fixtures for every room. The database is SQLite unless BACKSTOP_TEST_DATABASE_URL names a PostgreSQL."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection
from django.test import TransactionTestCase

from catalog.models import Team
from common import clock
from incidents import append_only
from tests.factories import make_team

_flush: Callable[[TransactionTestCase], None] = getattr(TransactionTestCase, "_fixture_teardown")


def _flush_without_guards(self: TransactionTestCase) -> None:
    """Emptying the tables between tests is the one thing that the append-only triggers must not stop."""
    append_only.remove(connection)
    _flush(self)
    append_only.install(connection)


setattr(TransactionTestCase, "_fixture_teardown", _flush_without_guards)
BaseCommand.requires_system_checks = []
# Each client of a test is a server of its own, that else reads every asset before its first answer.
settings.WHITENOISE_AUTOREFRESH = True
# Files that take a minute or nearly.
LONG = ("test_bad_forms.py", "test_matrix.py", "test_crawler.py", "test_any_order.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the nightly tests, too long for every commit, unless named by mark, and begin with the slow ones.

    A slow test waits more than it computes: begun last, as pytest-django and xdist do, it is waited for alone. So is a
    long file.
    """
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, item.path.name not in LONG))
    if "nightly" in (config.option.markexpr or ""):
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("nightly")])
    items[:] = [item for item in items if not item.get_closest_marker("nightly")]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What has been collected stays till the end: no need to look through it again and again for what is garbage."""
    gc.freeze()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Nobody pulls the plug on a test's database: without fsync the suite takes a fraction of the time."""
    if connection.vendor == "sqlite":
        connection.settings_dict["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **delta: float) -> datetime:
        """Move on, e.g. forward(minutes=5)."""
        self.time += timedelta(**delta)
        return self.time


@pytest.fixture
def moved_clock() -> Iterator[Clock]:
    """The database clock, replaced by one that the test moves."""
    source = Clock()
    with clock.replaced(source):
        yield source


@pytest.fixture
def team(db: None) -> Team:
    """A team."""
    return make_team("search")
