"""Two revisions step by step: what was added, taken out, changed and moved, in the words of the file."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Literal

from common import yaml
from common.yaml import YamlFaults
from runbooks.fields import PHASES
from runbooks.models import Revision

Kind = Literal["added", "removed", "changed", "moved", "renamed"]
LAST = "finally"


@dataclass(frozen=True)
class FieldChange:
    """One field; None on a side where it is not written."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class StepChange:
    """One step that is not as it was; `where` says in words from which place to which it moved."""

    id: str
    title: str
    phase: str
    kinds: tuple[Kind, ...]
    fields: list[FieldChange] = field(default_factory=list)
    where: str = ""
    was: str = ""


@dataclass(frozen=True)
class Difference:
    """What is not the same: fields of the runbook itself, steps in file order, and how many steps are the same."""

    head: list[FieldChange]
    steps: list[StepChange]
    same: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing that counts differs (comments and layout do not)."""
        return not self.head and not self.steps


@dataclass(frozen=True)
class _Place:
    """A step where it stands."""

    phase: str
    nth: int
    step: dict[str, Any]


def texts(old: str, new: str) -> Difference:
    """The difference of two texts of one runbook; a text that cannot be read counts as empty."""
    return documents(_read(old), _read(new))


def revisions(old: Revision, new: Revision) -> Difference:
    """The difference of two revisions."""
    return texts(old.text, new.text)


def documents(old: dict[str, Any], new: dict[str, Any]) -> Difference:
    """The difference of two runbooks as plain data."""
    before, after = _places(old), _places(new)
    names = _renamed(before, after)
    before = {names.get(step_id, step_id): place for step_id, place in before.items()}
    old_names = {new_id: old_id for old_id, new_id in names.items()}
    moved = _moved(before, after)
    steps: list[StepChange] = []
    for step_id, place in after.items():
        was = before.get(step_id)
        if was is None:
            steps.append(_whole(step_id, place, "added"))
        elif change := _change(step_id, was, place, moved=step_id in moved, was_id=old_names.get(step_id, "")):
            steps.append(change)
    steps += [_whole(step_id, place, "removed") for step_id, place in before.items() if step_id not in after]
    order = {phase: index for index, phase in enumerate((*PHASES, LAST))}
    steps.sort(key=lambda change: order[change.phase])
    kept = sum(step_id in before for step_id in after)
    touched = sum(not {"added", "removed"} & set(change.kinds) for change in steps)
    return Difference(_fields(_head(old), _head(new)), steps, kept - touched)


def _read(text: str) -> dict[str, Any]:
    try:
        found = yaml.read(text, file="").data
    except YamlFaults:
        return {}
    return found if isinstance(found, dict) else {}


def _head(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("phases", LAST)}


def _places(data: dict[str, Any]) -> dict[str, _Place]:
    """Steps by id, in order; of an id that stands twice the first counts."""
    phases = data.get("phases")
    parts = {**(phases if isinstance(phases, dict) else {}), LAST: data.get(LAST)}
    found: dict[str, _Place] = {}
    for phase in (*PHASES, LAST):
        steps = parts.get(phase)
        for nth, step in enumerate(steps if isinstance(steps, list) else [], 1):
            if isinstance(step, dict) and isinstance(step.get("id"), str):
                found.setdefault(step["id"], _Place(phase, nth, step))
    return found


def _renamed(before: dict[str, _Place], after: dict[str, _Place]) -> dict[str, str]:
    """Old id to new id of steps whose id alone was changed."""
    gone = [step_id for step_id in before if step_id not in after]
    come = [step_id for step_id in after if step_id not in before]
    found: dict[str, str] = {}
    for old_id in gone:
        for new_id in come:
            if new_id not in found.values() and _without_id(before[old_id].step) == _without_id(after[new_id].step):
                found[old_id] = new_id
                break
    return found


def _without_id(step: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != "id"}


def _moved(before: dict[str, _Place], after: dict[str, _Place]) -> set[str]:
    """Steps of both that changed their phase, or their order among those that did not: as few as explain it."""
    moved = {step_id for step_id, place in after.items() if step_id in before and before[step_id].phase != place.phase}
    for phase in (*PHASES, LAST):
        stayed = [s for s, place in after.items() if place.phase == phase and s in before and s not in moved]
        numbers = [before[step_id].nth for step_id in stayed]
        moved |= {stayed[index] for index in range(len(stayed)) if index not in _longest_rising(numbers)}
    return moved


def _longest_rising(numbers: list[int]) -> set[int]:
    """Indexes of a longest rising part of the list."""
    ends: list[int] = []
    at: list[int] = []
    previous: list[int] = []
    for index, number in enumerate(numbers):
        slot = bisect_left(ends, number)
        previous.append(at[slot - 1] if slot else -1)
        ends[slot : slot + 1] = [number]
        at[slot : slot + 1] = [index]
    found: set[int] = set()
    index = at[-1] if at else -1
    while index >= 0:
        found.add(index)
        index = previous[index]
    return found


def _change(step_id: str, was: _Place, now: _Place, *, moved: bool, was_id: str) -> StepChange | None:
    fields = _fields(_without_id(was.step), _without_id(now.step))
    told: list[tuple[Kind, bool]] = [("renamed", bool(was_id)), ("moved", moved), ("changed", bool(fields))]
    kinds = tuple(kind for kind, holds in told if holds)
    if not kinds:
        return None
    where = f"from {was.phase}, place {was.nth}, to {now.phase}, place {now.nth}" if moved else ""
    return StepChange(step_id, _title(step_id, now), now.phase, kinds, fields, where, was_id)


def _whole(step_id: str, place: _Place, kind: Literal["added", "removed"]) -> StepChange:
    step = _without_id(place.step)
    fields = _fields({}, step) if kind == "added" else _fields(step, {})
    return StepChange(step_id, _title(step_id, place), place.phase, (kind,), fields)


def _title(step_id: str, place: _Place) -> str:
    return str(place.step.get("name") or step_id)


def _fields(old: dict[str, Any], new: dict[str, Any]) -> list[FieldChange]:
    before, after = dict(_flat(old, "")), dict(_flat(new, ""))
    names = [*after, *(name for name in before if name not in after)]
    return [
        FieldChange(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


def _flat(value: dict[str, Any], path: str) -> list[tuple[str, str]]:
    """Fields with dotted names; lists stay whole."""
    found: list[tuple[str, str]] = []
    for name, part in value.items():
        here = f"{path}.{name}" if path else str(name)
        if isinstance(part, dict) and part:
            found += _flat(part, here)
        else:
            found.append((here, part.strip() if isinstance(part, str) else json.dumps(part, ensure_ascii=False)))
    return found
