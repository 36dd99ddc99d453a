"""`foreach`: one row for each element of a list that is evaluated once; a step is what all of its rows come to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from common.expressions import ExpressionError
from common.plain import plain
from runbooks.definitions import Definition
from runbooks.models import Run, StepRun
from runbooks.verdicts import WORST_FIRST, worst

MOST = 50
# Of a map the first of these names it; everything else is shown as it is.
_NAMES = ("name", "id", "slug", "key", "title")
_LONGEST_LABEL = 60


def elements(value: Any) -> list[Any]:
    """The list that a step is done for. ExpressionError when it is none, or too long."""
    if not isinstance(value, list):
        raise ExpressionError(f"`foreach` gave {_KINDS.get(type(value), 'something else')}, not a list.")
    if len(value) > MOST:
        raise ExpressionError(f"`foreach` gave {len(value)} elements; at most {MOST} are done in one step.")
    listed: list[Any] = plain(value)
    return listed


_KINDS: dict[type, str] = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "a map",
    type(None): "nothing",
}


def is_spread(step: StepRun, steps: Iterable[StepRun]) -> bool:
    """Whether its list was evaluated already, so that this row stands for one element of it."""
    if step.item or step.item_value is not None or step.started_at is not None:
        return True
    return any(other.step == step.step and other.item for other in steps)


def spread(run: Run, step: StepRun, listed: list[Any]) -> None:
    """S3: the row becomes that of the first element, and each further element gets one, in the caller's transaction."""
    name = step.name
    StepRun.objects.filter(pk=step.pk).update(item_value=listed[0], name=_named(name, listed[0]))
    step.item_value, step.name = listed[0], _named(name, listed[0])
    StepRun.objects.bulk_create(
        StepRun(
            run=run,
            step=step.step,
            item=item,
            item_value=element,
            position=step.position,
            kind=step.kind,
            provider=step.provider,
            phase=step.phase,
            name=_named(name, element),
            params=step.params,
        )
        for item, element in enumerate(listed)
        if item
    )


def names(step: StepRun, definition: Definition) -> dict[str, Any]:
    """The name that expressions of this row know besides those of every step."""
    return {"item": step.item_value} if definition.step.foreach is not None else {}


def label(element: Any) -> str:
    """An element in a few words."""
    if isinstance(element, dict):
        element = next((element[name] for name in _NAMES if isinstance(element.get(name), str | int)), element)
    text = element if isinstance(element, str) else json.dumps(element, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _named(name: str, element: Any) -> str:
    """What timelines and messages call a row: the step's name and the element."""
    return f"{name[: 300 - _LONGEST_LABEL - 3]} ({label(element)})"


def by_step(steps: Iterable[StepRun]) -> dict[str, list[StepRun]]:
    """The rows of each step, in the order of their elements."""
    found: dict[str, list[StepRun]] = defaultdict(list)
    for step in sorted(steps, key=lambda row: (row.position, row.item)):
        found[step.step].append(step)
    return found


def decisive(rows: list[StepRun]) -> StepRun | None:
    """The first row with the worst verdict, once all have ended; None while one has not, or when all were cancelled."""
    settled = [row for row in rows if row.state == "settled"]
    if not settled or not all(row.is_terminal for row in rows):
        return None
    return min(settled, key=lambda row: WORST_FIRST.index(worst([row.verdict])))


def verdicts_of(steps: Iterable[StepRun]) -> dict[str, str]:
    """The verdict of every step that has ended: the worst of its rows; what was cancelled has no say."""
    found = {name: decisive(rows) for name, rows in by_step(steps).items()}
    return {name: row.verdict for name, row in found.items() if row is not None}
