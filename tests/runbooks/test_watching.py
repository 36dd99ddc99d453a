"""The rules of a watch, without rows: its grid, which samples are missed, and what all of them come to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks import watching
from runbooks.fields import STORED, Watch

T0 = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WORDS = {"p": "pass", "f": "fail", "i": "inconclusive", "e": "error", "m": "missed"}
SAMPLES = st.lists(st.sampled_from(sorted(WORDS.values())), max_size=60)
LIMIT = st.none() | st.integers(1, 8)


def make_watch(samples: int = 24, **rules: int | None) -> Watch:
    said = {name: value for name, value in rules.items() if value is not None}
    return Watch.model_validate({"every": 3600, "for": samples * 3600} | said, context=STORED)


def ended(watch: Watch, letters: str) -> tuple[str, str, int] | None:
    """Verdict, reason and at which sample, taking them one after another."""
    verdicts: list[str] = []
    for letter in letters:
        verdicts.append(WORDS[letter])
        end = watching.ending(watch, verdicts)
        if end is not None:
            return end.verdict, end.reason, len(verdicts)
    return None


@pytest.mark.parametrize(
    ("rules", "samples", "expected"),
    [
        # Case 18: two fails that are not neighbours.
        ({"max_fails": 2, "fail_streak": 2}, "pppfpppppf" + 14 * "p", ("pass", "", 24)),
        # Case 19: a streak across a gap.
        ({"max_fails": 2, "fail_streak": 2}, "pppfif", ("fail", "fail_streak", 6)),
        ({"max_fails": 2, "fail_streak": 2}, "pppfmef", ("fail", "fail_streak", 7)),
        # Case 20: four missed of twenty-four, and seven.
        ({"max_fails": 2}, "pppmmmm" + 17 * "p", ("pass", "", 24)),
        ({"max_fails": 2}, "pppmmmmmmm" + 14 * "p", ("inconclusive", "max_inconclusive", 24)),
        # Case 21: nothing was ever told.
        ({}, 24 * "i", ("inconclusive", "max_inconclusive", 24)),
        ({"max_inconclusive": 24}, 24 * "i", ("inconclusive", "no_pass", 24)),
        ({"max_fails": 24}, 24 * "f", ("inconclusive", "no_pass", 24)),
        # The first fail is one too many unless more are allowed.
        ({}, "ppf", ("fail", "max_fails", 3)),
        ({"max_fails": 2}, "fpfpf", ("fail", "max_fails", 5)),
        ({"pass_streak": 3}, "ppippp", ("pass", "pass_streak", 6)),
        ({"pass_streak": 3}, "ppmpp", None),
        ({}, "eeeee", ("error", "error_streak", 5)),
        ({"error_streak": 2}, "emme", ("error", "error_streak", 4)),
        ({"error_streak": 2}, "eiepe", None),
        # The fail rule comes before the end and before what may say nothing.
        ({"max_fails": 1}, 22 * "m" + "ff", ("fail", "max_fails", 24)),
    ],
)
def test_it_ends_when_the_rules_say_so(
    rules: dict[str, int], samples: str, expected: tuple[str, str, int] | None
) -> None:
    assert ended(make_watch(**rules), samples) == expected


@given(SAMPLES, st.integers(0, 5), LIMIT, LIMIT, st.integers(1, 6), st.none() | st.integers(0, 10))
def test_it_passes_only_what_was_seen_to_pass(
    verdicts: list[str],
    max_fails: int,
    fail_streak: int | None,
    pass_streak: int | None,
    error_streak: int,
    silent: int | None,
) -> None:
    watch = make_watch(
        samples=max(1, len(verdicts)),
        max_fails=max_fails,
        fail_streak=fail_streak,
        pass_streak=pass_streak,
        error_streak=error_streak,
        max_inconclusive=silent,
    )
    end = watching.ending(watch, verdicts)
    assert (end is None) <= (len(verdicts) < watch.samples), "a watch whose last sample was taken has ended"
    if end is not None and end.verdict == "pass":
        said = [verdict for verdict in verdicts if verdict not in watching.SILENT]
        assert "pass" in said
        assert said.count("fail") <= max_fails
        assert fail_streak is None or "fail" * fail_streak not in "".join(said[-fail_streak:])
        assert pass_streak or len(verdicts) - len(said) <= watching.most_silent(watch)


@given(SAMPLES, st.lists(st.sampled_from(watching.SILENT), max_size=5), st.integers(0, 60), st.integers(1, 4))
def test_what_says_nothing_neither_adds_to_a_streak_of_fails_nor_ends_it(
    verdicts: list[str], silent: list[str], place: int, streak: int
) -> None:
    watch = make_watch(samples=100, max_fails=100, fail_streak=streak, error_streak=100)
    place = min(place, len(verdicts))
    with_gap = verdicts[:place] + silent + verdicts[place:]
    assert watching.ending(watch, with_gap) == watching.ending(watch, verdicts)


@given(st.integers(1, 2000), st.integers(1, 86_400), st.floats(-5, 2200))
def test_it_has_a_fixed_grid(samples: int, every: int, after: float) -> None:
    times = watching.Grid(T0, timedelta(seconds=every), samples)
    now = T0 + timedelta(seconds=every * after)
    newest = times.newest(now)
    assert 0 <= newest <= samples
    assert newest == 0 or times.due(newest) <= now
    assert newest == samples or times.due(newest + 1) > now


@given(st.integers(0, 2000), st.integers(0, 2100), st.booleans())
def test_it_misses_no_sample_that_it_can_take_and_takes_each_once(taken: int, hours: int, looks_back: bool) -> None:
    times = watching.Grid(T0, HOUR, 2000)
    missed = watching.to_miss(times, taken, T0 + hours * HOUR, looks_back=looks_back)
    following = missed.stop
    assert missed.start == taken + 1
    assert following >= taken + 1
    newest = times.newest(T0 + hours * HOUR)
    if newest > taken:
        assert following == (max(taken + 1, newest - 199) if looks_back else newest)
    else:
        assert not missed, "a clock that was set back takes nothing away"


def test_it_gives_a_sample_until_the_next_is_due() -> None:
    times = watching.Grid(T0, HOUR, 24)
    assert times.limit(3, T0 + 3 * HOUR) == T0 + 4 * HOUR
    assert times.limit(3, T0 + 3.9 * HOUR) == T0 + 4 * HOUR
    assert times.limit(3, T0 + 8.5 * HOUR) == T0 + 9.5 * HOUR


@pytest.mark.parametrize(
    ("rules", "letters", "said"),
    [
        ({"max_fails": 2}, "pf" + 22 * "p", "23 of 24 samples passed, 1 found the problem (at most 2 may)."),
        ({}, "pppf", "Sample 4 of 24 found the problem: Bad."),
        ({"max_fails": 1}, "fppf", "2 of 4 samples found the problem, at most 1 may. The last: Bad."),
        ({}, "eeeee", "5 samples in a row could not be measured, up to sample 5 of 24. The last: Bad."),
        (
            {},
            14 * "p" + 10 * "m",
            "It cannot be told: 14 of 24 samples passed, 10 were missed; at most 6 may say nothing.",
        ),
        ({"pass_streak": 2}, "pp", "2 samples in a row passed, up to sample 2 of 24."),
    ],
)
def test_it_says_in_a_sentence_what_it_came_to(rules: dict[str, int], letters: str, said: str) -> None:
    watch, verdicts = make_watch(**rules), [WORDS[letter] for letter in letters]
    end = watching.ending(watch, verdicts)
    assert end is not None
    assert watching.sentence(watch, verdicts, end, "Bad.") == said
