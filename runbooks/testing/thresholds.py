"""Which numbers of a runbook could be a little different without any test noticing.

Each number in a rule, a condition, a guard or a watch is moved a little, up and down, and the cases in which it had a
say are played again. Whole numbers up to 20 move by one, everything else by 5 %.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from common.yaml import Document, Finding, Path
from runbooks.fields import seconds
from runbooks.lint import places
from runbooks.spec import RunbookSpec
from runbooks.steps import CheckStep, ManualStep
from runbooks.testing.playing import Played, Seen

SURVIVES = "RT031"
SMALL = 20
SHARE = 0.05
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
# Not parts of a name, an index, or how many places to round to.
_NUMBER = re.compile(r"(?<![\w.])(?<!\w\[)(?<!round\()(?<!percent\()\d+(?:\.\d+)?(?![\w.])")


@dataclass(frozen=True)
class Shift:
    """One number moved: where it is written, what it was and what it is now."""

    path: Path
    # The step that it belongs to; empty for triggers and inputs.
    step: str
    # Where in the text of an expression it begins; None where the number stands alone.
    offset: int | None
    was: str
    now: str

    def applied(self, data: dict[str, Any]) -> RunbookSpec | None:
        """The runbook with that number moved; None when there cannot be such a one."""
        changed = deepcopy(data)
        holder: Any = changed
        for part in self.path[:-1]:
            holder = holder[part]
        last = self.path[-1]
        if self.offset is None:
            holder[last] = _typed(self.now)
        else:
            text = holder[last]
            holder[last] = text[: self.offset] + self.now + text[self.offset + len(self.was) :]
        try:
            return RunbookSpec.model_validate(changed)
        except ValidationError:
            return None

    def finding(self, document: Document, text: str) -> Finding:
        """That nobody would notice."""
        line, column = document.position(self.path)
        if self.offset is not None:
            written = text.splitlines()[line - 1]
            # Quotes come before the text of a quoted one; a block of several lines is told by where it begins.
            places = [column + self.offset + quote for quote in (0, 1)]
            column = next((place for place in places if written.startswith(self.was, place - 1)), column)
        message = f"No case fails when this {self.was} is {self.now}."
        return Finding(document.file, line, column, SURVIVES, "warning", message, "Add a case right beside it.")


def shifts(spec: RunbookSpec, data: dict[str, Any]) -> list[Shift]:
    """Every number that may be moved, each way."""
    found: list[Shift] = []
    for index, trigger in enumerate(spec.triggers):
        found += _in_text(("triggers", index, "alert"), "", trigger.alert)
    conditions = " ".join(trigger.alert for trigger in spec.triggers)
    for path, step in places(spec):
        for name in ("if_", "pass_if", "fail_if"):
            source = getattr(step, name, None)
            if isinstance(source, str):
                conditions += " " + source
                found += _in_text((*path, name.rstrip("_")), step.id, source)
        if isinstance(step, CheckStep | ManualStep):
            found += _alone(path, step.id, _at(data, path), ("min_samples", "max_age"))
            watch = _at(data, path).get("watch")
            if isinstance(watch, dict):
                limits = ("max_fails", "fail_streak", "pass_streak", "error_streak", "max_inconclusive")
                found += _alone((*path, "watch"), step.id, watch, limits)
    for name in spec.inputs:
        if re.search(rf"\binputs\.{name}\b", conditions):
            found += _alone(("inputs", name), "", data["inputs"][name], ("default",))
    return found


def concerned(shift: Shift, played: list[Played]) -> list[int]:
    """The cases, by their place, in which the number had a say."""
    if shift.step:
        return [index for index, one in enumerate(played) if any(map(_was_asked, one.steps.get(shift.step, [])))]
    if shift.path[0] == "triggers":
        return [index for index, one in enumerate(played) if one.triggers]
    return list(range(len(played)))


def _was_asked(row: Seen) -> bool:
    return row.started or bool(row.rules) or row.reason == "condition"


def _in_text(path: Path, step: str, source: str) -> Iterator[Shift]:
    # Blanked out at equal length, so that places stay the same.
    bare = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), source)
    for number in _NUMBER.finditer(bare):
        for moved in moves(number[0]):
            yield Shift(path, step, number.start(), number[0], moved)


def _alone(path: Path, step: str, holder: dict[str, Any], names: tuple[str, ...]) -> Iterator[Shift]:
    for name in names:
        value = holder.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        if isinstance(value, str):
            try:
                amount = seconds(value)
            except ValueError:
                continue
            spread = max(1, round(amount * SHARE))
            for moved in (amount - spread, amount + spread):
                yield Shift((*path, name), step, None, value, f"{moved}s")
        else:
            for text in moves(f"{value}"):
                yield Shift((*path, name), step, None, f"{value}", text)


def moves(number: str) -> list[str]:
    """A little less and a little more."""
    if "." in number or "e" in number.lower():
        value = float(number)
        spread = abs(value) * SHARE or SHARE
        return [f"{value - spread:.6g}", f"{value + spread:.6g}"]
    whole = int(number)
    step = 1 if abs(whole) <= SMALL else max(1, round(abs(whole) * SHARE))
    return [str(whole - step), str(whole + step)]


def _typed(text: str) -> int | float | str:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _at(data: Any, path: Path) -> dict[str, Any]:
    for part in path:
        data = data[part]
    assert isinstance(data, dict)
    return data
