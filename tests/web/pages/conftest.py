"""What pages about runs are tested with; a file that needs another world makes its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.models import Team
from incidents.models import Incident
from tests.factories import make_incident, make_service
from tests.fakes.world import World, known


@pytest.fixture
def world() -> Iterator[World]:
    """A world that answers."""
    with known() as found:
        yield found


@pytest.fixture
def incident(team: Team) -> Incident:
    """An open incident of the service rag-chat."""
    return make_incident(team, make_service(team, "rag-chat"))
