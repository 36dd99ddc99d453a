"""Dry runs ("plan"): checks really run, actions only say what they would change, and nobody is asked or told.

A dry run holds no key and no lock, asks for no approval, counts in no outcome, and leaves two lines on the timeline:
that it was started and that it ended. What it runs as a step is run dry too. What is different for it stands here; who
asks are the modules that act.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from common.plain import plain
from runbooks import principals, reading
from runbooks.actions.base import Preview
from runbooks.definitions import Definition
from runbooks.fields import written
from runbooks.models import Run
from runbooks.verdicts import WORDS

REASON = "dry_run"
# What another runbook would do is told in short; its own dry run tells all of it.
MOST_WORDS = 2_000


def instead(run: Run, definition: Definition) -> str:
    """What a step that only waits or asks would do, in a sentence; empty for those that run."""
    if definition.kind == "manual":
        asked = definition.assign or reading.spec_of(run).owner
        also = "".join(f"; after {written(level.after)} also {level.to}" for level in definition.escalations)
        return f"Would ask {_who(run, [asked])}, for at most {written(definition.timeout)}{also}."
    if definition.kind == "wait":
        return f"Would wait {written(definition.wait_seconds)}."
    return ""


def of_action(run: Run, definition: Definition, preview: Preview) -> tuple[str, dict[str, Any]]:
    """What an action would change and who would be asked first: in sentences, and as the result of its step."""
    result = {
        "sentence": preview.sentence,
        "before": plain(preview.before),
        "after": plain(preview.after),
        "lines": [list(line) for line in preview.lines],
        "warnings": preview.warnings,
    }
    said = [f"Would do: {preview.sentence.rstrip('.')}."]
    approval = definition.approval
    if approval is not None:
        result["asks"] = approval.from_
        people = principals.approvers(approval.from_, team=run.team)
        result["people"] = [user.username for user in people]
        also = "".join(f"; after {written(level.after)} also {level.to}" for level in definition.escalations)
        said.append(f"First {approval.count} of {_who(run, approval.from_)} would have to approve it{also}.")
    return " ".join([*said, *preview.warnings]), result


def of_child(child: Run) -> dict[str, Any]:
    """What a dry run that was a step of another one came to: no verdict, since nothing was done to the world.

    One that was cut off says nothing about what would happen; the sentence tells what one that ended would have done.
    """
    which = f"{child.runbook.slug} (revision {child.revision.number})"
    if child.state != "finished":
        because = f" ({child.stop_reason})" if child.stop_reason else ""
        said = f"The dry run of {which} was {child.state}{because}."
        return {"verdict": "error", "reason": child.state, "summary": said, "result": child.outputs}
    rows = list(child.steps.order_by("position", "item"))
    checks = [row for row in rows if row.kind == "check" and row.state == "settled" and row.verdict != "skipped"]
    found = Counter(WORDS[row.verdict] for row in checks)
    parts = [f"its checks ran ({', '.join(f'{count} × {word}' for word, count in found.items())})"] if checks else []
    would = [row for row in rows if row.reason == REASON and row.kind != "wait"]
    parts += [f"{row.name}{'' if row.name.endswith('?') else ':'} {row.summary.rstrip('.')}" for row in would]
    parts += [f"it would stop there ({child.stop_reason})"] if child.stop_reason else []
    said = f"Would run {which}: {'; '.join(parts) or 'nothing of it is needed'}."
    return {"verdict": "skipped", "reason": REASON, "summary": said[:MOST_WORDS], "result": child.outputs}


def _who(run: Run, asked: list[str]) -> str:
    """Principals with the people behind them."""
    people = [user.username for user in principals.people(asked, team=run.team)]
    shown = ", ".join(people[:5]) + (f" and {len(people) - 5} more" if len(people) > 5 else "")
    return f"{', '.join(asked)} ({shown or 'nobody'})"
