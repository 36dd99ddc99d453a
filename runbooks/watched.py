"""The watches of a run as they stand, for whoever shows them: which samples there are, and when the next is due."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from incidents.models import Evidence
from runbooks import reading, watching
from runbooks.definitions import Definition
from runbooks.fields import Watch
from runbooks.models import Run, Sample, StepRun

# Between two samples, and while one is taken.
UNDER_WAY = ("sleeping", "ready", "leased")


@dataclass(frozen=True)
class Standing:
    """One watch: its rules, its samples in their order, and the evidence of each by its key."""

    watch: Watch
    start: datetime | None
    samples: list[Sample]
    keys: dict[int, str]
    is_over: bool

    @property
    def is_under_way(self) -> bool:
        """Whether samples are taken from now on."""
        return self.start is not None and not self.is_over

    @property
    def next_due(self) -> datetime | None:
        """When the next sample is due, also when that is past; None before the start and after the end."""
        taken = len(self.samples)
        if self.start is None or self.is_over or taken >= self.watch.samples:
            return None
        return watching.grid(self.watch, self.start).due(taken + 1)

    @property
    def counts(self) -> dict[str, int]:
        """How many samples came to what."""
        return watching.counts([sample.verdict for sample in self.samples])

    def evidence(self, sample: Sample) -> str:
        """The key of a sample's evidence; empty for a missed one."""
        return self.keys.get(sample.evidence_id or 0, "")


def standings(run: Run, steps: list[StepRun]) -> dict[int, Standing]:
    """The watches among the steps of a run, by step; two queries however many there are."""
    watches = {step.pk: watch for step in steps if (watch := watch_of(run, step)) is not None}
    if not watches:
        return {}
    taken: dict[int, list[Sample]] = defaultdict(list)
    for sample in Sample.objects.filter(step_run__in=watches).order_by("k"):
        taken[sample.step_run_id].append(sample)
    rows = Evidence.objects.filter(run_id=run.pk, kind="sample").only("pk", "number", "incident_id")
    keys = {row.pk: row.key for row in rows} if taken else {}
    return {
        step.pk: Standing(watches[step.pk], step.t0, taken[step.pk], keys, _is_over(run, step))
        for step in steps
        if step.pk in watches
    }


@dataclass(frozen=True)
class Watching:
    """A watch that goes on, for lists: how many samples there are of how many, and until when the last is due."""

    step: StepRun
    taken: int
    samples: int
    until: datetime


def going_on(steps: Iterable[StepRun]) -> dict[int, Watching]:
    """Those of the steps that are watches under way, by step; one query at most. Their runs must have been read."""
    begun = [step for step in steps if step.t0 is not None and step.state in UNDER_WAY and step.run.is_open]
    found = [(step, step.t0, watch) for step in begun if (watch := watch_of(step.run, step)) is not None]
    if not found:
        return {}
    rows = Sample.objects.filter(step_run__in=[step.pk for step, _, _ in found]).order_by()
    taken = Counter(rows.values_list("step_run", flat=True))
    return {
        step.pk: Watching(step, taken[step.pk], watch.samples, watching.grid(watch, start).due(watch.samples))
        for step, start, watch in found
        if start is not None
    }


def of_runs(runs: Iterable[Run]) -> dict[int, Watching]:
    """The watch under way of each of these runs that has one, the first by its place, by run; two queries at most."""
    open_ones = [run.pk for run in runs if run.is_open]
    if not open_ones:
        return {}
    steps = StepRun.objects.filter(run__in=open_ones, kind="check", state__in=UNDER_WAY, t0__isnull=False)
    # Revisions never change, so their texts are read once per process.
    steps = steps.select_related("run__revision").defer("result", "run__revision__text", "run__revision__parsed")
    found: dict[int, Watching] = {}
    for row in going_on(steps.order_by("position", "item")).values():
        found.setdefault(row.step.run_id, row)
    return found


def limits(definition: Definition, names: Mapping[str, Any], threshold: object) -> list[tuple[float, str]]:
    """What a watch's values are drawn beside: the numbers of its rules, else the `line` of the check's `threshold`."""
    found = definition.limits(names)
    line = threshold.get("line") if isinstance(threshold, dict) and not found else None
    return [(line, f"limit {line:g}")] if isinstance(line, int | float) else found


def _is_over(run: Run, step: StepRun) -> bool:
    """Whether no further sample is taken, unless a person who is asked what to do says again."""
    return step.is_terminal or step.state == "blocked" or not run.is_open


def watch_of(run: Run, step: StepRun) -> Watch | None:
    """A step's watch; None for a plan, and where the revision cannot be read (a damaged row must still be shown)."""
    if step.kind != "check" or run.is_plan:
        return None
    try:
        return reading.step_of(run, step).watch
    except reading.Unreadable:
        return None
