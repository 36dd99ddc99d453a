"""The world and the incident that the cases begin with, and the look at every promise after each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import invariants
from tests.fakes.world import World, known
from tests.runbooks.conftest import incident

__all__ = ["incident"]


@pytest.fixture
def world(db: None) -> Iterator[World]:
    """A world that answers what the test tells it; when the test is over, every promise holds."""
    with known() as found:
        yield found
        invariants.hold()
