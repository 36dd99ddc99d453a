"""What a chart draws, from numbers alone: gaps are never joined, labels never lie on each other, nothing raises."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.http import HttpResponse
from django.template import engines

from tests.factories_web import text_of
from web.pages import chart_axes
from web.pages.charts import Band, Chart, Mark, lines

T0 = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def points(*values: float | None, every: float = 60) -> list[list[float | None]]:
    return [[T0.timestamp() + place * every, value] for place, value in enumerate(values)]


def drawn(series: Any, **options: Any) -> Chart:
    chart = lines(series, **options)
    assert chart is not None
    return chart


def test_it_never_joins_over_a_missing_value() -> None:
    chart = drawn({"accuracy": points(0.9, 0.91, None, 0.8, 0.8)})
    assert [piece.count(",") for piece in chart.lines[0].pieces] == [2, 2]
    assert [(gap.x, gap.width) for gap in chart.gaps] == [(25.0, 50.0)]
    assert "no data in 1 stretch" in chart.label


def test_it_sees_a_gap_where_points_were_left_out() -> None:
    rows = [*points(0.9, 0.9, 0.9, 0.9), [T0.timestamp() + 600, 0.8], [T0.timestamp() + 660, 0.8]]
    chart = drawn({"accuracy": rows})
    assert len(chart.lines[0].pieces) == 2
    assert len(chart.gaps) == 1


def test_it_hatches_from_where_the_data_end() -> None:
    chart = drawn({"accuracy": points(0.9, 0.9, 0.9)}, start=at(0), end=at(10), step=60)
    assert (chart.gaps[-1].x, chart.gaps[-1].width) == (20.0, 80.0)


def test_a_lone_point_is_a_dot() -> None:
    chart = drawn({"accuracy": points(0.9, None, 0.8, None, 0.9, 0.9)})
    assert len(chart.lines[0].dots) == 2


def test_it_prints_the_last_value_where_the_line_ends() -> None:
    chart = drawn({"latency": points(1.0, 2.0)}, unit="s")
    assert chart.last == "2"
    assert chart.lines[0].pieces[0].endswith(f",{10 * chart.last_y:.1f}")


def test_yesterday_lies_on_the_same_hours() -> None:
    day_before = [[T0.timestamp() - 86400 + place, 1.0 + place / 100] for place in (0, 60, 120)]
    chart = drawn({"now": points(2.0, 2.1, 2.2), "yesterday": day_before})
    assert chart.end - chart.start == timedelta(minutes=2)
    assert [line.label for line in chart.lines] == ["now", "yesterday, same hours"]


def test_a_comparison_without_points_is_no_line() -> None:
    chart = drawn({"now": points(1, 2), "before": points(1, 1), "yesterday": []})
    assert [line.label for line in chart.lines] == ["now", "before"]


def test_the_band_is_broken_where_the_past_says_nothing() -> None:
    times = [T0.timestamp() + 60 * place for place in range(5)]
    band = Band(times, [1, 1, None, 1, 1], [2, 2, None, 2, 2], "usual")
    chart = drawn({"cost": points(1, 1, 1, 1, 1)}, band=band)
    assert len(chart.band) == 2


def test_marks_outside_the_window_are_not_drawn() -> None:
    marks = [Mark("onset", at(2), "onset"), Mark("change", at(99), "v43")]
    chart = drawn({"cost": points(1, 2, 3, 4, 5)}, marks=marks)
    assert [(mark.kind, mark.label) for mark in chart.marks] == [("onset", "onset 02:02")]


def test_labels_never_lie_on_each_other() -> None:
    marks = [Mark("change", at(minute), f"change number {minute}") for minute in range(20)]
    chart = drawn({"cost": points(*range(21))}, marks=[*marks, Mark("onset", at(10), "onset")])
    assert len(chart.marks) == 21
    assert any(mark.kind == "onset" and mark.label for mark in chart.marks)
    for row in (0, 1):
        taken = sorted(
            chart_axes._reach(mark.x, mark.label, 640, to_left=mark.to_left)
            for mark in chart.marks
            if mark.label and mark.row == row
        )
        assert all(left[1] <= right[0] for left, right in pairwise(taken))


@pytest.mark.parametrize(
    ("least", "most"), [(0.0, 0.001), (0.90, 0.93), (0, 1), (1e6, 3e7), (-5, 5), (7, 7), (0, 0), (99.98, 99.99)]
)
def test_the_axis_has_a_few_round_numbers_around_the_data(least: float, most: float) -> None:
    axis = chart_axes.axis(least, most)
    assert axis.low <= least <= most <= axis.high
    assert 3 <= len(axis.ticks) <= 5
    assert len({text for _, text in axis.ticks}) == len(axis.ticks)


def test_a_share_stays_within_0_and_1() -> None:
    axis = chart_axes.axis(0.97, 1.0)
    assert axis.high == 1.0


@pytest.mark.parametrize("hours", [0.2, 1, 3, 24, 24 * 9, 24 * 400])
def test_the_times_are_few_and_round(hours: float) -> None:
    found = chart_axes.hours(T0.timestamp(), T0.timestamp() + hours * 3600)
    assert 1 <= len(found) <= 12


@pytest.mark.parametrize(
    "stored",
    [None, {}, [], {"x": None}, {"x": [[1, 2]]}, {"x": [["a", "b"], [1]]}, {"x": [[1, float("nan")], [2, None]]}],
)
def test_what_cannot_be_drawn_is_none(stored: Any) -> None:
    assert lines(stored) is None


def test_times_beyond_the_calendar_are_left_out() -> None:
    assert lines({"x": [[1e300, 1.0], [-5e300, 2.0]]}) is None


def test_the_table_is_short_and_says_so() -> None:
    chart = drawn({"cost": points(*range(240))}, csv="/x.csv")
    assert len(chart.table) <= 24
    assert chart.table_note == "Every 10th of 240 points"
    assert chart.table[-1][1] == ["239.0"]


def test_uplot_gets_the_same_breaks() -> None:
    told = json.loads(drawn({"cost": points(1, None, 3, 4)}, unit="USD/h").data)
    assert told["lines"][0]["v"] == [1, None, 3, 4]
    assert told["unit"] == "USD/h"


def test_its_table_and_its_marks_are_told_in_utc() -> None:
    chart = drawn({"cost": points(*range(21))}, marks=[Mark("onset", at(10), "onset")])
    source = '{% from "components/charts.html" import chart %}{{ chart(drawn) }}'
    text = text_of(HttpResponse(engines["jinja2"].from_string(source).render({"drawn": chart})))
    assert "Time (UTC)" in text
    assert f"{at(10):%d %b %H:%M:%S} UTC: onset" in text
