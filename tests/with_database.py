"""Two pytest plugins for CI, which has both databases: nothing is asked twice that cannot come out differently.

`-p tests.with_database` keeps what a database can change: the run on PostgreSQL. `-p tests.not_twice` leaves that out
of the run on SQLite, but for the engine's promises and what chooses or guards the database itself. `make test` alone
asks everything of SQLite.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FIXTURES = {"db", "transactional_db", "django_db_serialized_rollback", "live_server"}
# Starts processes of its own, with databases of their own, or asks Python alone: who may open what, what is wrong with
# a text. On SQLite only.
ON_SQLITE = (
    "house", "drills", "deploy",
    "web/test_matrix.py", "web/test_crawler.py", "web/test_openapi.py",
    "runbooks/testing", "runbooks/test_bad_yaml.py", "runbooks/test_bad_expressions.py",
)  # fmt: skip


def is_below(item: pytest.Item, places: tuple[str, ...]) -> bool:
    """Whether a test is in one of these folders or files of `tests/`."""
    return any(item.path.is_relative_to(TESTS / place) for place in places)


def is_for_postgresql(item: pytest.Item) -> bool:
    """Whether the run on PostgreSQL has it."""
    fixtures = set(getattr(item, "fixturenames", ()))
    touches_tables = item.get_closest_marker("django_db") is not None or bool(fixtures & FIXTURES)
    return touches_tables and item.get_closest_marker("slow") is None and not is_below(item, ON_SQLITE)


def leave_out(config: pytest.Config, items: list[pytest.Item], left_out: list[pytest.Item]) -> None:
    """Take these out of the run, and have them counted."""
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is asked on SQLite, where everything is."""
    leave_out(config, items, [item for item in items if not is_for_postgresql(item)])
