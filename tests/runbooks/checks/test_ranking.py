"""The ranking of changes, against the reference formula by hand."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from runbooks.checks.ranking import Candidate, nearness, prior, rank, reach
from tests.factories_checks import NOW


def change(key: str, minutes: float, kind: str = "model", **fields: Any) -> Candidate:
    """A change so many minutes before NOW."""
    return Candidate(key, kind, NOW - timedelta(minutes=minutes), **fields)


def sets(**labels: str) -> dict[str, frozenset[str]]:
    """Labels as sets, several values joined by commas."""
    return {key: frozenset(value.split(",")) for key, value in labels.items()}


def test_it_leaves_everything_to_the_unknown_without_changes() -> None:
    found = rank([], NOW)
    assert (found.rows, found.p_unknown) == ([], 1.0)


def test_it_follows_the_formula() -> None:
    found = rank([change("a", 5), change("b", 60, "data_pipeline")], NOW)
    a, b = 0.37 * math.exp(-5 / 30), 0.06 * math.exp(-60 / 30)
    assert [row.key for row in found.rows] == ["a", "b"]
    assert found.rows[0].posterior == pytest.approx(a / (a + b + 0.15))
    assert found.rows[1].posterior == pytest.approx(b / (a + b + 0.15))
    assert sum(row.posterior for row in found.rows) + found.p_unknown == pytest.approx(1)


@pytest.mark.parametrize(
    ("minutes", "expected"), [(0, 1.0), (-1.9, 1.0), (-2.1, 0.0), (30, math.exp(-1)), (1000, 0.05)]
)
def test_it_weighs_time(minutes: float, expected: float) -> None:
    assert nearness(minutes * 60, half_life=timedelta(minutes=30)) == pytest.approx(expected)


def test_it_allows_for_an_uncertain_onset() -> None:
    late = [change("a", -8)]
    assert rank(late, NOW).rows[0].posterior == 0
    assert rank(late, NOW, uncertainty=timedelta(minutes=10)).rows[0].posterior > 0.5


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("model", 0.37),
        ("code", 0.37),
        ("prompt", 0.31),
        ("data_pipeline", 0.06),
        ("upstream", 0.05),
        ("hardware", 0.02),
    ],
)
def test_it_knows_how_often_kinds_cause_trouble(kind: str, expected: float) -> None:
    assert prior(kind) == expected


def test_it_learns_from_own_incidents() -> None:
    assert prior("data_pipeline", {"data_pipeline": 20}) == pytest.approx((20 * 0.06 + 20) / 40)
    assert prior("model", {"data_pipeline": 20}) == pytest.approx(20 * 0.37 / 40)


@pytest.mark.parametrize(
    ("exposed", "affected", "expected"),
    [
        ({}, {}, 1.0),
        (sets(tenant="a"), {}, 1.0),
        (sets(tenant="a"), sets(tenant="a"), 1.0),
        (sets(tenant="a"), sets(tenant="b"), 0.0),
        (sets(tenant="a,b"), sets(tenant="a"), 2 / 3),
        (sets(tenant="a", region="eu"), sets(tenant="a", region="us"), 0.0),
    ],
)
def test_it_compares_reach(exposed: Any, affected: Any, expected: float) -> None:
    assert reach(exposed, affected) == pytest.approx(expected)


def test_it_weighs_reach_by_traffic() -> None:
    shares = {"tenant": {"a": 0.1, "b": 0.9}}
    # A change for one tenant of a tenth, while all traffic suffers: precision 1, recall .1.
    assert reach(sets(tenant="a"), {}, shares) == pytest.approx(2 * 0.1 / 1.1)


def test_it_follows_evidence() -> None:
    changes = [change("near", 2), change("far", 90, "data_pipeline", implicated=True)]
    assert rank(changes, NOW).rows[0].key == "near"
    cleared = [change("near", 2, exonerated=True), changes[1]]
    assert rank(cleared, NOW).rows[0].key == "far"


def test_it_gives_the_same_order_for_any_input_order() -> None:
    changes = [change(key, 10) for key in "cab"]
    assert [row.key for row in rank(changes, NOW).rows] == ["a", "b", "c"]
