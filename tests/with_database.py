"""Two pytest plugins for CI, which has both databases: nothing is asked twice that cannot come out differently.

`-p tests.with_database` keeps what touches tables: the run on PostgreSQL. `-p tests.not_twice` leaves out, of the run
on SQLite, what pages and addresses answer: asked on PostgreSQL already, and of SQLite in Chromium.
"""

from __future__ import annotations

import pytest

FIXTURES = {"db", "transactional_db", "django_db_serialized_rollback", "live_server"}


def touches_tables(item: pytest.Item) -> bool:
    """Whether a database can change how it comes out."""
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(fixtures & FIXTURES)


def leave_out(config: pytest.Config, items: list[pytest.Item], left_out: list[pytest.Item]) -> None:
    """Take these out of the run, and have them counted."""
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what touches no table: it is asked once, where everything is."""
    leave_out(config, items, [item for item in items if not touches_tables(item)])
