"""The samples of a watch as rows: missing some, taking one, giving one up, and the verdict of all of them.

A watch is one step that sleeps between its samples (S5, S10, S11). The samples of a step are stored in their order
without holes, so the next one is always the number of rows plus one; the step's attempts are those of the sample at
hand, and `started_at` is when that sample was first tried.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from common import statements
from incidents import evidence
from incidents.models import Evidence
from runbooks import engine, reading, relapses, transitions, verdicts, watched, watching
from runbooks.checks import CHECKS
from runbooks.checks.base import Context
from runbooks.definitions import Definition
from runbooks.fields import Watch
from runbooks.models import Run, Sample, StepRun
from runbooks.verdicts import Judgement

TOO_LATE = "It was not done before the next sample was due."
NOT_RUNNING = "Nothing was running when it was due."
# What an evidence card shows of a table.
TABLE_ROWS = 50


_verdicts = statements.Written(
    lambda step: Sample.objects.filter(step_run=step).order_by("k").values_list("verdict", flat=True)
)


@dataclass(frozen=True)
class Watching:
    """One watch as it stands, read once and never changed: true for as long as the step is ours.

    What stores a sample may be done again after the database was away, so nothing is noted here.
    """

    step: StepRun
    definition: Definition
    watch: Watch

    @cached_property
    def verdicts(self) -> list[str]:
        """Those of the samples so far, in their order."""
        return _verdicts(self.step.pk)

    @property
    def k(self) -> int:
        """The sample at hand."""
        return len(self.verdicts) + 1

    @property
    def grid(self) -> watching.Grid:
        """When which is due."""
        assert self.step.t0 is not None, "stored when the step was opened"
        return watching.grid(self.watch, self.step.t0)

    @property
    def limit(self) -> datetime | None:
        """Until when the sample at hand must be done; None before its first try."""
        return self.grid.limit(self.k, self.step.started_at) if self.step.started_at else None

    @property
    def looks_back(self) -> bool:
        """Whether its check can say how things were at an earlier time."""
        return CHECKS.get(self.step.provider).at_past_times

    @property
    def moment(self) -> datetime | None:
        """The past time to look at: when the sample was due; None to look at now."""
        return self.grid.due(self.k) if self.looks_back else None


def of(run: Run, step: StepRun, definition: Definition) -> Watching | None:
    """The watch of a step; None for every other one. A plan looks once, as a plain check does."""
    if definition.watch is None or run.is_plan:
        return None
    return Watching(step, definition, definition.watch)


class Untold(Exception):
    """Something must be told before the try, and the incident is locked before its run (decision 0007), not after."""


def begin(run: Run, found: Watching, *, now: datetime, may_tell: bool) -> bool:
    """A try at the sample at hand was claimed; False when it comes too late to be made.

    With the first try of a sample, those that nobody can take any more are missed. `may_tell`: whether the incident is
    locked too; raises Untold where it must be.
    """
    step = found.step
    if step.started_at is not None:
        if has_time(found, now):
            return True
        if not may_tell:
            raise Untold
        give_up(run, found, reason="overrun", text=TOO_LATE, now=now)
        return False
    missed = watching.to_miss(found.grid, len(found.verdicts), now, looks_back=found.looks_back)
    if missed and not may_tell:
        raise Untold
    Sample.objects.bulk_create(
        Sample(
            step_run=step,
            k=k,
            due_at=found.grid.due(k),
            verdict=watching.MISSED,
            reason="not_running",
            summary=NOT_RUNNING,
        )
        for k in missed
    )
    if missed:
        which = f"{missed[0]}" if len(missed) == 1 else f"{missed[0]} to {missed[-1]}"
        _tell(run, found, which, watching.MISSED, NOT_RUNNING, reason="not_running")
    statements.update(StepRun, {"started_at": now}, pk=step.pk)
    step.started_at = now
    return True


def has_time(found: Watching, at: datetime) -> bool:
    """Whether a try at that time still comes before the next sample is due."""
    return found.limit is None or at < found.limit


def context_of(found: Watching, context: Context) -> Context:
    """What the check may know: the time to look at, and no more time than the sample has."""
    return replace(
        context,
        at=found.moment,
        deadline=min(context.deadline, found.limit or context.deadline),
        step_key=f"{context.step_key}.{found.k}",
    )


def too_late(found: Watching, now: datetime) -> Judgement | None:
    """The verdict of a sample that was measured after its time was over; None while there is time."""
    return None if has_time(found, now) else Judgement("error", "overrun", TOO_LATE)


def give_up(run: Run, found: Watching, *, reason: str, text: str, now: datetime) -> None:
    """S10: a sample whose tries are used up, lost or too late is an error sample, never a settled step."""
    step = found.step
    row = evidence.store(
        incident=run.incident,
        kind="sample",
        summary=text,
        run_id=run.pk,
        step=step.step,
        attempt=step.attempts,
        provider=step.provider,
        verdict="error",
        reason=reason,
        rule=f"after {step.attempts} attempts",
        params=step.params or {},
    )
    take(run, found, Judgement("error", reason), row, now=now)


def take(run: Run, found: Watching, judgement: Judgement, row: Evidence, *, now: datetime) -> None:
    """Store the sample at hand with its evidence; then the watch sleeps until the next (S10) or is settled (S9)."""
    step, k = transitions.step_of(found.step.pk), found.k
    statements.insert(
        Sample(
            step_run_id=step.pk,
            k=k,
            due_at=found.grid.due(k),
            taken_at=now,
            verdict=judgement.verdict,
            reason=judgement.reason[:60],
            summary=row.summary,
            value=row.value,
            evidence_id=row.pk,
        )
    )
    is_news = judgement.verdict == "fail" or found.verdicts[-1:] != [judgement.verdict]
    if judgement.verdict != "pass" and is_news:
        # Each fail is told; of what says nothing, the first of those in a row.
        _tell(run, found, str(k), judgement.verdict, row.summary, reason=judgement.reason, row=row)
    end = watching.ending(found.watch, [*found.verdicts, judgement.verdict])
    if end is not None:
        _settle(run, found, step, end, row, now=now)
        return
    due, text = found.grid.due(k + 1), f"Sample {k} of {found.watch.samples}"
    transitions.go_to_sleep(
        run,
        step,
        until=due,
        now=now,
        text=f"{text}: {judgement.verdict}",
        attempts=0,
        started_at=None,
        pending_note="",
        reason="",
        summary=row.summary,
        value=row.value,
        evidence_id=row.pk,
    )
    if due <= now:
        # It makes up for what fell due meanwhile, without a tick between two samples.
        transitions.go_ready(run, step, "S11", was=("sleeping",), now=now)


def lost(run: Run, found: Watching, *, now: datetime) -> None:
    """S12: the worker of a sample is gone: another try where it fits, else the sample is an error."""
    step = found.step
    if step.attempts < found.definition.attempts and has_time(found, now):
        engine.after_lost_worker(run, step, again="S12", now=now)
    else:
        text = f"Its worker was lost at attempt {step.attempts}."
        give_up(run, found, reason="worker_lost", text=text, now=now)


def _settle(run: Run, found: Watching, step: StepRun, end: Judgement, last: Evidence, *, now: datetime) -> None:
    """S9: the verdict of the whole watch, with one piece of evidence that holds all of its samples."""
    samples = list(step.watch_samples.order_by("k"))
    told = [sample.verdict for sample in samples]
    result = {"samples": watching.counts(told), "of": found.watch.samples}
    names = reading.names(run, list(run.steps.all()), now)
    points = [[sample.due_at.timestamp(), sample.value] for sample in samples if _is_number(sample.value)]
    row = evidence.store(
        incident=run.incident,
        kind="check",
        summary=watching.sentence(found.watch, told, end, last.summary),
        run_id=run.pk,
        step=step.step,
        attempt=step.attempts,
        provider=step.provider,
        provider_version=last.provider_version,
        verdict=end.verdict,
        reason=end.reason,
        rule=end.rule,
        query=last.query,
        window_from=found.grid.start,
        window_to=samples[-1].due_at,
        value=last.value,
        unit=last.unit,
        samples=len(samples),
        observed_at=last.observed_at,
        source=last.source,
        params=step.params or {},
        result=result
        | {
            "table": _table(samples),
            "series": {"value": points} if points else {},
            "limits": watched.limits(found.definition, names, last.threshold),
            "faults": [sample.due_at.timestamp() for sample in samples if sample.verdict == "fail"],
        },
    )
    if end.verdict == "fail":
        relapses.watch_failed(run, step, row.summary)
    engine.settle(
        run,
        step,
        was=("leased",),
        verdict=end.verdict,
        reason=end.reason,
        summary=row.summary,
        now=now,
        value=row.value,
        result=result,
        samples=row.samples,
        observed_at=row.observed_at,
        evidence=row,
    )
    engine.move_on(run, now=now)


def _table(samples: list[Sample]) -> list[dict[str, Any]]:
    """The samples as rows of evidence; where there are many, those that did not pass come first."""
    kept = sorted(samples, key=lambda sample: (sample.verdict == "pass", sample.k))[:TABLE_ROWS]
    return [
        {
            "sample": sample.k,
            "due": f"{sample.due_at:%Y-%m-%d %H:%M:%S}",
            "came to": _word(sample.verdict),
            "says": sample.summary[:200],
        }
        for sample in sorted(kept, key=lambda sample: sample.k)
    ]


def _word(verdict: str) -> str:
    return verdicts.WORDS.get(verdict, "Missed")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tell(
    run: Run, found: Watching, which: str, verdict: str, text: str, *, reason: str, row: Evidence | None = None
) -> None:
    """What did not pass, on the incident's timeline: a key moment unless the step's `pin` says never."""
    step = found.step
    transitions.note(
        run,
        kind="check",
        text=f"{step.name} (sample {which} of {found.watch.samples}) {_word(verdict)}: {text}",
        evidence=row,
        pinned=found.definition.pin != "never",
        data={"step": step.step, "verdict": verdict, "reason": reason, "phase": step.phase, "sample": which},
    )
