"""What several tests of the engine begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.models import Team
from incidents.models import Incident
from runbooks import ticker
from runbooks.setbacks import Setbacks
from tests.factories import make_incident, make_service
from tests.fakes.world import World, known


@pytest.fixture
def world() -> Iterator[World]:
    """A world that answers what the test tells it."""
    with known() as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_failed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one test have the ids of another's, and its clock may show the same time."""
    monkeypatch.setattr(ticker, "setbacks", Setbacks())


@pytest.fixture
def incident(team: Team) -> Incident:
    """An open incident of the service rag-chat."""
    return make_incident(team, make_service(team, "rag-chat"))
