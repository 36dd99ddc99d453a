"""The rules of a watch: when each sample is due, which are still taken, and what all of them come to. Pure functions.

Sample k is due at t0 + k·every, k from 1 to N: a fixed grid without drift, whose first sample comes after one interval
so that the fix can act. Nothing here touches rows, clocks or providers (docs/guide/runbook-language.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbooks.fields import Watch
from runbooks.verdicts import Judgement, Verdict

# How many samples of the past are measured after an outage, where the check can look into the past.
MOST_BACK = 200
MISSED = "missed"
# What tells neither that all is well nor that it is not.
SILENT = ("inconclusive", "error", MISSED)


@dataclass(frozen=True)
class Grid:
    """The times of a watch that became eligible at `start`."""

    start: datetime
    every: timedelta
    samples: int

    def due(self, k: int) -> datetime:
        """When sample k is due."""
        return self.start + k * self.every

    def newest(self, now: datetime) -> int:
        """The newest sample that is due by now; 0 before the first."""
        return max(0, min(self.samples, (now - self.start) // self.every))

    def limit(self, k: int, began: datetime) -> datetime:
        """Until when sample k, first tried at `began`, must be done: before the next is due.

        One that is made up for later has as much time as lies between two samples.
        """
        following = self.due(k + 1)
        return following if began < following else began + self.every


def grid(watch: Watch, start: datetime) -> Grid:
    """The grid of a watch."""
    return Grid(start, timedelta(seconds=watch.every), watch.samples)


def to_miss(times: Grid, taken: int, now: datetime, *, looks_back: bool) -> range:
    """The samples after `taken` that nobody can take any more; the one after them is taken next.

    A check that can look into the past is asked for each of the newest 200 that are due; any other only for the newest,
    which is measured as things are now.
    """
    following = taken + 1
    return range(following, max(following, times.newest(now) - (MOST_BACK - 1 if looks_back else 0)))


def ending(watch: Watch, verdicts: Sequence[str]) -> Judgement | None:
    """What the samples so far, in their order, come to; None while the watch goes on.

    What is silent neither adds to a streak of fails nor ends it. A missed sample, at which nobody looked, does not end
    a streak of errors either; it ends a streak of passes, as everything but a pass does.
    """
    fails, silent = verdicts.count("fail"), sum(verdict in SILENT for verdict in verdicts)
    if fails > watch.max_fails:
        return Judgement("fail", "max_fails", f"{fails} fails > max_fails {watch.max_fails}")
    if watch.fail_streak and _streak(verdicts, "fail", over=SILENT) >= watch.fail_streak:
        return Judgement("fail", "fail_streak", f"fail_streak {watch.fail_streak}")
    if watch.pass_streak and _streak(verdicts, "pass") >= watch.pass_streak:
        return Judgement("pass", "pass_streak", f"pass_streak {watch.pass_streak}")
    if _streak(verdicts, "error", over=(MISSED,)) >= watch.error_streak:
        return Judgement("error", "error_streak", f"error_streak {watch.error_streak}")
    if len(verdicts) < watch.samples:
        return None
    if silent > most_silent(watch):
        return Judgement("inconclusive", "max_inconclusive", f"{silent} silent > max_inconclusive {most_silent(watch)}")
    if "pass" in verdicts:
        return Judgement("pass", "", f"{verdicts.count('pass')} of {watch.samples} passed")
    return Judgement("inconclusive", "no_pass", "no sample passed")


def most_silent(watch: Watch) -> int:
    """How many samples may be inconclusive, missed or errors: as written, else a quarter of all."""
    return watch.samples // 4 if watch.max_inconclusive is None else watch.max_inconclusive


def _streak(verdicts: Sequence[str], wanted: Verdict, *, over: Sequence[str] = ()) -> int:
    """How many of the newest are of that verdict in a row, looking over some."""
    length = 0
    for verdict in reversed(verdicts):
        if verdict == wanted:
            length += 1
        elif verdict not in over:
            break
    return length


def counts(verdicts: Sequence[str]) -> dict[str, int]:
    """How many samples came to what, all five words present."""
    found = Counter(verdicts)
    return {word: found[word] for word in ("pass", "fail", "inconclusive", "error", MISSED)}


def sentence(watch: Watch, verdicts: Sequence[str], end: Judgement, last: str) -> str:
    """What a watch came to, for people; `last` is what the deciding sample said."""
    found, taken = counts(verdicts), len(verdicts)
    if end.reason == "max_fails" and not watch.max_fails:
        return f"Sample {taken} of {watch.samples} found the problem: {last}"
    if end.reason == "max_fails":
        return f"{found['fail']} of {taken} samples found the problem, at most {watch.max_fails} may. The last: {last}"
    if end.reason in ("fail_streak", "error_streak"):
        streak, what = (
            (watch.fail_streak, "found the problem")
            if end.verdict == "fail"
            else (watch.error_streak, "could not be measured")
        )
        return f"{streak} samples in a row {what}, up to sample {taken} of {watch.samples}. The last: {last}"
    if end.reason == "pass_streak":
        return f"{watch.pass_streak} samples in a row passed, up to sample {taken} of {watch.samples}."
    silent = ", ".join(f"{found[word]} {_SAID[word]}" for word in SILENT if found[word])
    if end.reason:
        said = f"It cannot be told: {found['pass']} of {watch.samples} samples passed"
        return f"{said}, {silent}; at most {most_silent(watch)} may say nothing." if silent else f"{said}."
    told = f"{found['pass']} of {watch.samples} samples passed"
    if found["fail"]:
        told += f", {found['fail']} found the problem (at most {watch.max_fails} may)"
    return f"{told}{f', {silent}' if silent else ''}."


_SAID = {"inconclusive": "could not tell", "error": "could not be measured", MISSED: "were missed"}
