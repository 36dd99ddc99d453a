"""Holding what a case came to against what it expects: every difference is a finding at the line that expects it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from common.yaml import Document, Finding, Path
from runbooks.fields import written
from runbooks.testing.cases import Case
from runbooks.testing.playing import Played, Seen
from runbooks.verdicts import worst

UNSTUBBED, DIFFERS, REFUSED, STUCK = "RT020", "RT021", "RT022", "RT023"


class _Differences:
    def __init__(self, document: Document, index: int, case: Case, played: Played) -> None:
        self.document, self.path, self.case, self.played = document, ("cases", index), case, played
        self.found: list[Finding] = []

    def note(self, path: Path, code: str, message: str, fix: str = "") -> None:
        """A finding at a key below the case."""
        line, column = self.document.key_position((*self.path, *path))
        text = f"{self.case.name}: {message}"
        self.found.append(Finding(self.document.file, line, column, code, "error", text, fix))

    def same(self, path: Path, what: str, expected: Any, found: Any) -> None:
        """Whether a value is as expected."""
        if expected is not None and expected != found:
            self.note(("expect", *path), DIFFERS, f"{what} is {_said(found)}, not {_said(expected)}.")

    def all(self) -> list[Finding]:
        """Every difference. A story that broke off is told by what broke it alone."""
        if self.played.unstubbed:
            step = self.played.unstubbed
            self.note(("stubs",), UNSTUBBED, f"Step `{step}` runs and has no stub.", f"Add `{step}: {{value: …}}`.")
            return self.found
        expect = self.case.expect
        if self.played.started != expect.starts:
            said = "starts" if self.played.started else f"does not start: {self.played.because}"
            self.note(("expect",), DIFFERS, f"The run {said}", "" if self.played.started else "Write `starts: false`.")
            return self.found
        self._events()
        if self.played.stuck:
            self.note(("name",), STUCK, self.played.stuck)
        self._run()
        self._steps()
        return self.found

    def _events(self) -> None:
        for number, event in enumerate(self.case.events):
            said = self.played.refusals.get(number)
            if said is not None and not event.refused:
                self.note(("events", number), REFUSED, f"{event.verb} {event.step} at {written(event.at)}: {said}")
            elif said is None and event.refused and self.played.started:
                self.note(("events", number), DIFFERS, f"{event.verb} {event.step} was not refused.")

    def _run(self) -> None:
        expect, played = self.case.expect, self.played
        self.same(("outcome",), "The outcome", expect.outcome, played.outcome)
        self.same(("state",), "The state", expect.state, played.state)
        if expect.because is not None and expect.because not in played.because:
            self.note(("expect", "because"), DIFFERS, f"The reason is {_said(played.because)}.")
        self.same(("effects",), "The order of effects", expect.effects, played.effects)
        self.same(("told",), "Who told somebody", expect.told, played.told)
        if expect.outputs is not None:
            self.same(("outputs",), "The outputs", expect.outputs, played.outputs)
        took = timedelta(seconds=round(played.took.total_seconds()))
        if expect.finished_after is not None and took != timedelta(seconds=expect.finished_after):
            found = written(int(took.total_seconds()))
            self.note(("expect", "finished_after"), DIFFERS, f"It took {found}, not {written(expect.finished_after)}.")
        if expect.diagnosis is not None:
            wanted = expect.diagnosis
            self.same(("diagnosis", "top"), "The likeliest cause", wanted.top, played.top)
            if wanted.confidence_at_least is not None and played.confidence < wanted.confidence_at_least:
                self.note(("expect", "diagnosis"), DIFFERS, f"The confidence is only {played.confidence:.3f}.")
            if wanted.confidence_at_most is not None and played.confidence > wanted.confidence_at_most:
                self.note(("expect", "diagnosis"), DIFFERS, f"The confidence is {played.confidence:.3f}.")

    def _steps(self) -> None:
        expect = self.case.expect
        for step, verdict in expect.verdicts.items():
            self.same(("verdicts", step), f"The verdict of `{step}`", verdict, verdict_of(self._rows(step)))
        for step, reason in expect.reasons.items():
            self.same(("reasons", step), f"The reason of `{step}`", reason, reason_of(self._rows(step)))
        for step, items in expect.items.items():
            found_items = [row.verdict for row in self._rows(step)]
            self.same(("items", step), f"The verdict of each element of `{step}`", items, found_items)
        for step, attempts in expect.attempts.items():
            found_attempts = max((row.attempts for row in self._rows(step)), default=0)
            self.same(("attempts", step), f"The attempts of `{step}`", attempts, found_attempts)
        for step, asked in expect.asked.items():
            self.same(("asked", step), f"Who is asked by `{step}`", asked, self.played.asked.get(step, []))
        if expect.waiting is not None:
            waiting = {step: word for step, rows in self.played.steps.items() for row in rows if (word := _waits(row))}
            self.same(("waiting",), "What it waits for", expect.waiting, waiting)

    def _rows(self, step: str) -> list[Seen]:
        return self.played.steps.get(step, [])


def differences(document: Document, index: int, case: Case, played: Played) -> list[Finding]:
    """What did not come as the case expects; empty when it passed."""
    return _Differences(document, index, case, played).all()


def verdict_of(rows: list[Seen]) -> str:
    """The verdict of a step, or of all its items; empty when it has none."""
    found = [row.verdict for row in rows if row.state == "settled"]
    return worst(found) if found else ""


def reason_of(rows: list[Seen]) -> str:
    """Why a step has its verdict; of several items that of the first with the worst one."""
    verdict = verdict_of(rows)
    return next((row.reason for row in rows if not verdict or row.verdict == verdict), "")


def _waits(row: Seen) -> str:
    if row.state == "blocked":
        return row.blocked_on
    return "time" if row.state == "sleeping" else ""


def _said(value: Any) -> str:
    return f"`{value}`" if value not in ("", None) else "nothing"
