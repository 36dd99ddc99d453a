"""The simulated service: repeatable, its faults show, the right lever cures and the wrong one does not."""

from __future__ import annotations

import math

import pytest

from drills.promql import BadQuery
from drills.scenario import Refused
from drills.world import World
from tests.factories_evaluations import START, make_world

ERRORS = (
    'sum(rate(ml_requests_total{service="rag-chat",code=~"5.."}[10m]))'
    ' / sum(rate(ml_requests_total{service="rag-chat"}[10m]))'
)
P95 = (
    "histogram_quantile(0.95, sum by (le)"
    ' (rate(ml_request_duration_seconds_bucket{service="rag-chat",component="total"}[10m])))'
)
ACCURACY = (
    'sum(rate(ml_labels_total{service="rag-chat",outcome="correct"}[10m]))'
    ' / sum(rate(ml_labels_total{service="rag-chat"}[10m]))'
)


def number(world: World, query: str, at: float | None = None) -> float:
    value = world.instant(query, at)
    assert not isinstance(value, float)
    assert len(value) == 1
    return value[0][1]


def test_it_gives_the_same_requests_in_any_order() -> None:
    one, _ = make_world("model_regression")
    other, _ = make_world("model_regression")
    other.instant(ERRORS, START - 7200)

    assert [one.requests(m) for m in (-30, -3)] == [other.requests(m) for m in (-3, -30)][::-1]
    assert one.instant(ACCURACY) == other.instant(ACCURACY)


def test_it_gives_other_requests_for_another_seed() -> None:
    one, _ = make_world(seed=1)
    other, _ = make_world(seed=2)

    assert one.requests(-5) != other.requests(-5)


def test_it_sums_metrics_from_the_request_table() -> None:
    world, _ = make_world()
    table = [request for minute in range(-180, 0) for request in world.requests(minute)]

    assert number(world, "sum(ml_requests_total)") == len(table)
    assert number(world, "sum(ml_cost_usd_total)") == pytest.approx(sum(request.cost for request in table))
    assert number(world, 'ml_request_duration_seconds_count{component="llm"}') == len(table)


def test_it_shows_a_regression_in_accuracy_and_nowhere_else() -> None:
    world, _ = make_world("model_regression")

    assert number(world, ACCURACY) < number(world, ACCURACY, START - 7200) - 0.05
    assert number(world, P95) == pytest.approx(number(world, P95, START - 7200), rel=0.2)
    assert number(world, ERRORS) < 0.03


def test_it_shows_a_slow_provider_in_latency_and_not_in_accuracy() -> None:
    world, _ = make_world("upstream_slow")

    assert number(world, P95) > 1.8 * number(world, P95, START - 7200)
    assert number(world, ACCURACY) > 0.85


def test_it_answers_worse_on_one_slice_of_the_new_version_only() -> None:
    world, _ = make_world("model_regression")
    scores = {(dict(labels)["version"], dict(labels)["slice"]): v for labels, v in world.instant("ml_eval_score")}  # type: ignore[union-attr]
    worse = [
        name for (version, name), value in scores.items() if version == "v43" and scores["v42", name] - value > 0.3
    ]

    assert worse == [world._plan.weak_slice]
    assert world.registry()["serving"] == "v43"


def test_it_is_cured_by_rolling_back_from_the_next_minute_on() -> None:
    world, hand = make_world("model_regression")
    before = number(world, ACCURACY)

    answer = world.set_flag("chat-model", "v42", expect="v43")
    hand.forward(minutes=15)

    assert answer.changed
    assert number(world, ACCURACY) > before + 0.05
    assert {request.version for request in world.requests(0)} == {"v43"}
    assert {request.version for request in world.requests(1)} == {"v42"}


def test_it_is_not_cured_by_rolling_back_when_the_provider_is_slow() -> None:
    world, hand = make_world("upstream_slow")
    healthy = number(world, P95, START - 7200)

    world.set_flag("chat-model", "v42")
    hand.forward(minutes=15)

    assert number(world, P95) > 1.5 * healthy


def test_it_is_not_cured_by_failing_over_when_the_model_is_worse() -> None:
    world, hand = make_world("model_regression")
    weak = ACCURACY.replace('service="rag-chat"', f'slice="{world._plan.weak_slice}"')
    healthy = number(world, weak, START - 7200)

    world.set_flag("llm-provider", "beta")
    hand.forward(minutes=15)

    assert number(world, weak) < healthy - 0.2


def test_it_is_cured_by_failing_over_to_the_other_provider() -> None:
    world, hand = make_world("upstream_slow")
    healthy = number(world, P95, START - 7200)

    world.set_flag("llm-provider", "beta")
    hand.forward(minutes=15)

    assert number(world, P95) < 1.3 * healthy


def test_it_sets_a_flag_only_from_the_expected_value_and_once_per_key() -> None:
    world, _ = make_world()
    first = world.set_flag("chat-model", "v42", expect="v43", key="k1")

    assert world.set_flag("chat-model", "v42", expect="v43", key="k1") == first
    with pytest.raises(Refused) as refusal:
        world.set_flag("chat-model", "v41", expect="v43")
    assert refusal.value.status == 409
    assert [c["version"] for c in world.changes() if c["effect_key"] == "k1"] == ["v42"]


def test_it_begins_a_fault_in_the_past_and_ends_it() -> None:
    world, hand = make_world("none")
    healthy = number(world, P95)

    world.inject("upstream_slow", 1.0, at=-15)
    assert number(world, P95) > 1.5 * healthy

    world.inject("none")
    hand.forward(minutes=15)
    assert number(world, P95) < 1.3 * healthy


def test_it_goes_faster_but_keeps_wall_time_and_traffic() -> None:
    world, hand = make_world("none", speed=60)
    hand.forward(minutes=5)

    assert world.time.minute(world.now()) == 300
    assert number(world, "sum(rate(ml_requests_total[4m])) * 60") == pytest.approx(40, rel=0.4)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("1 + 2 * 3", 7.0),
        ("vector(1)", [((), 1.0)]),
        ('absent(nope{a="b"})', [((("a", "b"),), 1.0)]),
        ("absent(up)", []),
        ("nope", []),
        ('sum(up{service!~"rag.*"})', []),
        ("count(count by (tenant) (ml_requests_total))", [((), 8.0)]),
        ("sum(increase(ml_requests_total[30m])) > bool 100", [((), 1.0)]),
        ("-up + 3", [((("service", "rag-chat"),), 2.0)]),
        ("nope or vector(0)", [((), 0.0)]),
    ],
)
def test_it_answers_promql(query: str, expected: object) -> None:
    world, _ = make_world()

    assert world.instant(query) == expected


def test_it_divides_series_by_series_and_offers_nan() -> None:
    world, _ = make_world()
    shares = world.instant("sum by (slice) (ml_requests_total) / sum by (slice) (ml_requests_total offset 1h)")

    assert isinstance(shares, list)
    assert len(shares) == 5
    assert all(1.2 < value < 2.0 for _, value in shares)
    assert math.isnan(number(world, "vector(0) / vector(0)"))


@pytest.mark.parametrize(
    "query", ["", "sum(", "rate(up)", "up[5m]", "nosuch(up)", 'up{a="b"', "up + + )", "topk(3, up)", "{", "x{a=~'['}"]
)
def test_it_refuses_what_it_does_not_understand(query: str) -> None:
    world, _ = make_world()

    with pytest.raises(BadQuery):
        world.instant(query)
