"""Opening a step: its condition, its parameters, and what it waits for first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from common.errors import Invalid
from common.expressions import ExpressionError
from common.plain import plain
from incidents import notices
from runbooks import (
    autonomy,
    children,
    dry,
    items,
    locks,
    principals,
    reading,
    relapses,
    sealing,
    transitions,
    watching,
)
from runbooks.checks.base import CheckError
from runbooks.definitions import Definition
from runbooks.fields import Watch
from runbooks.models import Run, StepRun
from runbooks.verdicts import boolean


@dataclass(frozen=True)
class AtOnce:
    """A verdict given without any work: a condition that is false, or an expression that failed."""

    verdict: str
    reason: str
    summary: str


def open_step(run: Run, step: StepRun, steps: list[StepRun], *, now: datetime) -> AtOnce | None:
    """Evaluate and render a pending step and put it where it waits; AtOnce when it ends right here (S1, S2)."""
    definition = reading.step_of(run, step)
    context = reading.names(run, steps, now)
    try:
        at_once = _not_needed(run, step, steps, definition, context)
        return at_once or _open(run, step, definition, context | items.names(step, definition), now=now)
    except ExpressionError as error:
        return AtOnce("error", "expression", f"Could not be started: {error}")
    except CheckError as error:
        return AtOnce("error", error.reason, f"Could not be started: {error}")
    except Invalid as error:
        return AtOnce("error", "bad_input", f"Could not be started: {error}")


def _not_needed(
    run: Run, step: StepRun, steps: list[StepRun], definition: Definition, context: dict[str, Any]
) -> AtOnce | None:
    """What decides about the step as a whole: its condition, and whether there is any element to do it for (S3)."""
    condition = definition.condition()
    if condition is not None and not boolean(condition, context):
        return AtOnce("skipped", "condition", f"Not needed: {definition.if_} is false.")
    listed = definition.elements()
    if listed is not None and not items.is_spread(step, steps):
        found = items.elements(listed.evaluate(context))
        if not found:
            return AtOnce("skipped", "empty", f"Nothing to do: {definition.foreach} is an empty list.")
        items.spread(run, step, found)
    return None


def _open(run: Run, step: StepRun, definition: Definition, context: dict[str, Any], *, now: datetime) -> AtOnce | None:
    """Render it, and put it where it waits; AtOnce for what this run only talks about."""
    params = plain(definition.render_with(context, hidden=reading.spec_of(run).sensitive))
    fields = {"params": params, "params_digest": sealing.digest(run, step, definition, params)}
    lock_name = definition.render_lock(context)
    text = definition.render_manual(context)
    not_proposed = autonomy.left_out(run, definition)
    if not_proposed:
        return AtOnce("skipped", "observe", not_proposed)
    if run.is_plan and (would := dry.instead(run, definition)):
        return AtOnce("skipped", dry.REASON, would)
    if definition.watch is not None and not run.is_plan:
        _open_watch(run, step, definition.watch, fields, now=now)
    elif definition.kind in ("check", "action"):
        _open_provider(run, step, definition, fields, lock_name, now=now)
    elif definition.kind == "manual":
        _open_manual(run, step, definition, text, now=now)
    elif definition.kind == "runbook":
        children.open_child(run, step, definition, params, now=now)
    else:
        due = now + timedelta(seconds=definition.wait_seconds)
        until = f"until {due.isoformat()}"
        transitions.go(
            run, step, "S5", was=("pending",), now=now, text=until, state="sleeping", due_at=due, started_at=now
        )
    return None


def _open_provider(
    run: Run, step: StepRun, definition: Definition, rendered: dict[str, Any], lock_name: str, *, now: datetime
) -> None:
    """A check goes to the workers (S3); an action with approval is first previewed by one, then asked for (S4)."""
    fields = rendered | {"queue": "checks", "started_at": now}
    if definition.kind == "action":
        # One change at a time per service, also where the runbook's author did not think of it.
        if not lock_name and definition.risk in ("medium", "high") and run.service is not None:
            lock_name = f"service:{run.service.slug}"
        goes = autonomy.way(run, definition) == autonomy.GO and not run.is_plan
        stage = "apply" if goes else "preview"
        fields |= {"queue": "actions", "stage": stage, "lock_name": lock_name}
        if stage == "apply" and lock_name:
            locks.line_up(run, step, was=("pending",), now=now, transition="S3", **fields)
            return
    transitions.go_ready(run, step, "S3", was=("pending",), now=now, **fields)


def _open_watch(run: Run, step: StepRun, watch: Watch, rendered: dict[str, Any], *, now: datetime) -> None:
    """S5: a watched check sleeps until its first sample is due; from now on its grid stands."""
    # Of an earlier round ("run again"): what those found stays as evidence.
    step.watch_samples.all().delete()
    due = watching.grid(watch, now).due(1)
    fields = rendered | {"queue": "checks", "started_at": None, "state": "sleeping", "due_at": due, "t0": now}
    text = f"sample 1 of {watch.samples} due {due.isoformat()}"
    if transitions.go(run, step, "S5", was=("pending",), now=now, text=text, **fields):
        relapses.watch_begins(run, step)


def _open_manual(run: Run, step: StepRun, definition: Definition, text: str, *, now: datetime) -> None:
    """A person is asked, told, and given until the step's timeout (S5)."""
    due = now + timedelta(seconds=definition.timeout)
    asked = definition.assign or reading.spec_of(run).owner
    moved = transitions.go(
        run,
        step,
        "S5",
        was=("pending",),
        now=now,
        state="blocked",
        blocked_on="human",
        due_at=due,
        started_at=now,
        params={"text": text, "assign": asked, "asked": [asked]},
        escalated=0,
    )
    if not moved:
        return
    transitions.note(run, kind="run", text=f"{step.name} waits for {asked} until {due:%H:%M} UTC.", pinned=True)
    tell_waiting(run, step, asked=[asked], due=due, now=now)
    _next_telling(step, definition)


def tell_again(run: Run, step: StepRun, *, now: datetime) -> None:
    """Nobody has answered a manual step for so long: the next ones are asked too, once per level."""
    definition = reading.step_of(run, step)
    if step.started_at is None or step.due_at is None:
        return
    for number, level in enumerate(definition.escalations[step.escalated :], start=step.escalated + 1):
        if now < step.started_at + timedelta(seconds=level.after):
            break
        step.escalated = number
        params = dict(step.params or {})
        params["asked"] = [*params.get("asked", []), level.to]
        transitions.note_on(step, was=("blocked",), params=params)
        text = f"Nobody has answered for {level.after // 60} min: {level.to} is asked too. {step.name}"
        transitions.note(run, kind="run", text=text, pinned=True, data={"step": step.step, "level": number})
        tell_waiting(run, step, asked=[level.to], due=step.due_at, now=now, level=number)
    _next_telling(step, definition)


def _next_telling(step: StepRun, definition: Definition) -> None:
    assert step.started_at is not None, "set when it was opened"
    levels = definition.escalations[step.escalated :]
    next_at = step.started_at + timedelta(seconds=levels[0].after) if levels else None
    transitions.note_on(step, was=("blocked",), tell_at=next_at, escalated=step.escalated)


def tell_waiting(run: Run, step: StepRun, *, asked: list[str], due: datetime, now: datetime, level: int = 0) -> None:
    """Tell the people a step waits for, readable on a lock screen."""
    left = due - now
    row, again = [f"item {step.item}"] if step.item else [], [str(level)] if level else []
    if run.incident is not None:
        subject = notices.subject(run.incident, what=run.incident.title, asks=step.name, left=left)
    else:
        subject = f"{run.runbook.title} asks: {step.name} · until {due:%H:%M} UTC"
    notices.tell(
        team=run.team,
        kind="waits_for_you",
        key=":".join([str(run.uuid), step.step, *row, str(step.generation), due.isoformat(), *again]),
        subject=subject,
        body=notices.body(
            "waits_for_you",
            incident=run.incident,
            action=step.name,
            why=[line for line in (step.summary, f"Runbook {run.runbook.slug} waits for you.") if line],
            until=due,
        ),
        link=f"/runs/{run.uuid}#step-{step.step}",
        incident=run.incident,
        users=principals.people(asked, team=run.team),
    )
