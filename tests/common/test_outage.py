"""A result that outlasts the database: stored once, after as many refusals as it takes, and given up in the end."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, OperationalError, transaction

from catalog.models import Team
from common import clock, outage

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries, which takes no time here."""
    found: list[float] = []
    monkeypatch.setattr(outage, "pause", found.append)
    return found


def stored(refusals: list[Exception]) -> None:
    """Store one row, in a transaction that fails at its end for each of the refusals."""

    @outage.outlasted
    def store() -> None:
        with transaction.atomic():
            Team.objects.create(slug="kept", created_at=clock.now())
            if refusals:
                raise refusals.pop(0)

    store()


def test_it_stores_once_after_five_refusals(pauses: list[float]) -> None:
    stored([OperationalError("could not serialize access") for _ in range(5)])
    assert Team.objects.filter(slug="kept").count() == 1
    assert len(pauses) == 5
    assert pauses[0] < 0.2 < pauses[-1] < 2.0


def test_it_gives_up_in_the_end(pauses: list[float]) -> None:
    with pytest.raises(OperationalError):
        stored([OperationalError("gone") for _ in range(999)])
    assert outage.PATIENCE_SECONDS <= sum(pauses) < outage.PATIENCE_SECONDS + 2 * outage.LONGEST_PAUSE
    assert not Team.objects.filter(slug="kept").exists()


def test_it_repeats_nothing_that_is_not_the_databases_fault(pauses: list[float]) -> None:
    with pytest.raises(IntegrityError):
        stored([IntegrityError("duplicate key")])
    assert pauses == []


def test_it_repeats_nothing_inside_a_transaction_that_is_lost_anyway(pauses: list[float]) -> None:
    with pytest.raises(OperationalError), transaction.atomic():
        stored([OperationalError("deadlock detected")])
    assert pauses == []
