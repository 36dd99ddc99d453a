"""A pytest plugin for CI (`-p tests.not_twice`); tests/with_database.py says what for."""

from __future__ import annotations

import pytest

from tests.with_database import is_below, is_for_postgresql, leave_out

OF_BOTH = ("conformance", "common", "config")
# Runs a part of the suite on PostgreSQL, where CI ran all of it.
ON_POSTGRESQL = ("house/test_postgresql.py",)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ran on PostgreSQL and is no matter of SQLite."""
    leave_out(config, items, [item for item in items if _ran_already(item)])


def _ran_already(item: pytest.Item) -> bool:
    return is_below(item, ON_POSTGRESQL) or (is_for_postgresql(item) and not is_below(item, OF_BOTH))
