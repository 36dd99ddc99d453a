"""A watch as the run's page shows it: how far it is, each sample with its verdict, values beside their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from incidents.models import Evidence
from runbooks import watched, watching
from runbooks.definitions import Definition
from runbooks.models import Sample, StepRun
from runbooks.watched import Standing
from web.pages import charts

# So many cells fit beside one another on a phone; of more samples several share a cell, which shows the worst.
CELLS = 120
# Rows of the table: what did not pass, then the newest.
ROWS = 50
_WORST = ("fail", "error", watching.MISSED, "inconclusive", "pass")


@dataclass(frozen=True)
class Cell:
    """One sample, or several, in the strip: where it lies in per cent, its worst verdict (empty: still to come)."""

    x: float
    width: float
    verdict: str
    words: str


@dataclass(frozen=True)
class Line:
    """One sample in the table."""

    sample: Sample
    evidence: str
    number: int | None


@dataclass(frozen=True)
class View:
    """What the page shows of one watch."""

    id: str
    standing: Standing
    chart: charts.Chart | None
    cells: list[Cell]
    lines: list[Line]
    more: int
    words: str

    @property
    def taken(self) -> int:
        """The newest sample that there is."""
        return len(self.standing.samples)

    @property
    def fails(self) -> int:
        """How many found the problem."""
        return self.standing.counts["fail"]


def view(
    step: StepRun,
    definition: Definition,
    standing: Standing,
    names: Mapping[str, Any],
    newest: Evidence | None,
    now: datetime,
) -> View:
    """Lay it out; never raises, whatever was measured."""
    kept = sorted(standing.samples, key=lambda sample: (sample.verdict == "pass", -sample.k))[:ROWS]
    return View(
        id=f"samples-{step.step}-{step.item}",
        standing=standing,
        chart=_chart(step, definition, standing, names, newest, now),
        cells=_cells(standing),
        lines=[_line(sample, standing) for sample in sorted(kept, key=lambda sample: -sample.k)],
        more=len(standing.samples) - len(kept),
        words=_words(standing),
    )


def _line(sample: Sample, standing: Standing) -> Line:
    key = standing.evidence(sample)
    return Line(sample, key, int(key[1:]) if key[:1] == "E" else None)


def _words(standing: Standing) -> str:
    """The strip for those who do not see it."""
    said = ", ".join(f"{count} {word}" for word, count in standing.counts.items() if count)
    return f"{len(standing.samples)} of {standing.watch.samples} samples" + (f": {said}" if said else "")


def _cells(standing: Standing) -> list[Cell]:
    total = standing.watch.samples
    each = -(-total // CELLS)
    verdicts = [sample.verdict for sample in standing.samples]
    cells = []
    for first in range(0, total, each):
        held, size = verdicts[first : first + each], min(each, total - first)
        worst = next((word for word in _WORST if word in held), "")
        which = f"sample {first + 1}" if size == 1 else f"samples {first + 1} to {first + size}"
        cells.append(Cell(round(100 * first / total, 3), round(100 * size / total, 3), worst, which))
    return cells


def _chart(
    step: StepRun,
    definition: Definition,
    standing: Standing,
    names: Mapping[str, Any],
    newest: Evidence | None,
    now: datetime,
) -> charts.Chart | None:
    if standing.start is None:
        return None
    every = timedelta(seconds=standing.watch.every)
    points = [[sample.due_at.timestamp(), charts.finite(sample.value)] for sample in standing.samples]
    grid = watching.grid(standing.watch, standing.start)
    last = standing.samples[-1].due_at if standing.samples else standing.start
    return charts.lines(
        {step.name[:60]: points},
        unit=newest.unit if newest else "",
        name=step.name,
        start=standing.start,
        end=grid.due(grid.samples) if not standing.is_over else last,
        step=every.total_seconds(),
        limits=charts.limits(watched.limits(definition, names, newest.threshold if newest else None)),
        faults=[sample.due_at.timestamp() for sample in standing.samples if sample.verdict == "fail"],
        until=min(now, last + every),
        id=f"watch-{step.step}-{step.item}",
    )


def newest(standings: Mapping[int, Standing]) -> dict[int, Evidence]:
    """The evidence of the newest sample of each watch that has one, by step; without its result."""
    ids = {row.samples[-1].evidence_id: pk for pk, row in standings.items() if row.samples}
    rows = Evidence.objects.filter(pk__in=[key for key in ids if key]).defer("result")
    return {ids[row.pk]: row for row in rows}
