"""A pytest plugin for CI (`-p tests.with_database`): only what a database can change, for its second run on another."""

from __future__ import annotations

import pytest

FIXTURES = {"db", "transactional_db", "django_db_serialized_rollback", "live_server"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what touches no table: it is asked once, where everything is."""
    left_out = [item for item in items if not _touches_tables(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _touches_tables(item)]


def _touches_tables(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(fixtures & FIXTURES)
