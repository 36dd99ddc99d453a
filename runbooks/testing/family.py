"""A runbook together with those that it runs, as one story plays them; a step of one of these is named `call.look`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runbooks.definitions import UNDO_PREFIX
from runbooks.lint_children import Others, runs
from runbooks.spec import RunbookSpec
from runbooks.steps import RunbookStep, Step


@dataclass(frozen=True)
class Family:
    """`others` are all that `top` runs, directly or through another, by their ids."""

    top: RunbookSpec
    others: dict[str, RunbookSpec] = field(default_factory=dict)

    @property
    def specs(self) -> list[RunbookSpec]:
        """All of them, the one that is tested first."""
        return [self.top, *self.others.values()]

    def step(self, path: str) -> Step | None:
        """The step that a path means, also of one that takes it back (`undo-roll_back`); None where there is none."""
        *way, last = path.split(".")
        spec = self._inside(way)
        return _steps(spec).get(last.removeprefix(UNDO_PREFIX)) if spec else None

    def beside(self, path: str) -> list[str]:
        """The paths that may have been meant: the steps of the innermost runbook that the path leads into."""
        way = path.split(".")[:-1]
        while way and self._inside(way) is None:
            way.pop()
        spec = self._inside(way)
        return [".".join((*way, name)) for name in _steps(spec)] if spec else []

    def spread(self, path: str) -> list[str]:
        """The steps of the path that have `foreach`, each as a path, the outermost first."""
        way = path.split(".")
        starts = (".".join(way[:length]) for length in range(1, len(way) + 1))
        return [part for part in starts if (step := self.step(part)) and step.foreach is not None]

    def _inside(self, way: list[str]) -> RunbookSpec | None:
        """The runbook that these steps, each run by the one before it, lead into."""
        spec: RunbookSpec | None = self.top
        for name in way:
            step = _steps(spec).get(name) if spec else None
            spec = self.others.get(step.runbook) if isinstance(step, RunbookStep) else None
        return spec


def gather(top: RunbookSpec, known: Others) -> tuple[Family, list[str]]:
    """The family of a runbook out of all that are known, and the ids of those that cannot be read or are not there."""
    found: dict[str, RunbookSpec] = {}
    missing: list[str] = []
    wanted = sorted(runs(top))
    while wanted:
        name = wanted.pop(0)
        if name in found or name in missing or name == top.id:
            continue
        other = known.get(name)
        if other is None:
            missing.append(name)
        else:
            found[name] = other
            wanted += sorted(runs(other))
    return Family(top, found), missing


def _steps(spec: RunbookSpec) -> dict[str, Step]:
    return {step.id: step for step in _all_steps(spec)}


def _all_steps(spec: RunbookSpec) -> Iterator[Step]:
    for _, step in spec.steps():
        yield step
    yield from spec.finally_
