"""A pytest plugin for CI (`-p tests.not_twice`); tests/with_database.py says what for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.with_database import leave_out, touches_tables

PAGES = Path(__file__).parent / "web"
# These do not run on PostgreSQL (.ci/run).
ONCE = ("test_matrix.py", "test_crawler.py", "test_openapi.py")
# Runs a part of the suite on PostgreSQL, where CI ran all of it.
ON_POSTGRESQL = "test_postgresql.py"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ran on PostgreSQL and is no matter of SQLite."""
    leave_out(config, items, [item for item in items if _ran_already(item)])


def _ran_already(item: pytest.Item) -> bool:
    if item.path.name == ON_POSTGRESQL:
        return True
    about_pages = item.path.is_relative_to(PAGES) and item.path.name not in ONCE
    return about_pages and touches_tables(item) and item.get_closest_marker("slow") is None
