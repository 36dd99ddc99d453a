"""The watches of a run as they stand, for whoever shows them: which samples there are, and when the next is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from incidents.models import Evidence
from runbooks import reading, watching
from runbooks.definitions import Definition
from runbooks.fields import Watch
from runbooks.models import Run, Sample, StepRun


@dataclass(frozen=True)
class Standing:
    """One watch: its rules, its samples in their order, and the evidence of each by its key."""

    watch: Watch
    start: datetime | None
    samples: list[Sample]
    keys: dict[int, str]
    is_over: bool

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
    watches = {step.pk: watch for step in steps if (watch := _watch_of(run, step)) is not None}
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


def limits(definition: Definition, names: Mapping[str, Any], threshold: object) -> list[tuple[float, str]]:
    """What a watch's values are drawn beside: the numbers of its rules, else the `line` of the check's `threshold`."""
    found = definition.limits(names)
    line = threshold.get("line") if isinstance(threshold, dict) and not found else None
    return [(line, f"limit {line:g}")] if isinstance(line, int | float) else found


def _is_over(run: Run, step: StepRun) -> bool:
    """Whether no further sample is taken, unless a person who is asked what to do says again."""
    return step.is_terminal or step.state == "blocked" or not run.is_open


def _watch_of(run: Run, step: StepRun) -> Watch | None:
    """A step's watch; None for a plan, and where the revision cannot be read (a damaged row must still be shown)."""
    if step.kind != "check" or run.is_plan:
        return None
    try:
        return reading.step_of(run, step).watch
    except reading.Unreadable:
        return None
