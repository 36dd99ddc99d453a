"""Runbooks that run another: which revisions are pinned, how the child is started, and what its end means.

A child is a run like any other. Its parent waits for it as one step; when it has ended, the parent is told by a hint,
and looks by itself now and then. Whoever holds a parent's lock may take its child's, never the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from catalog.models import Team
from common import background
from common.errors import Conflict
from runbooks import dry, reading, sealing, starting, transitions
from runbooks.checks.base import CheckError
from runbooks.definitions import Book, Definition
from runbooks.lint_children import MOST_DEEP
from runbooks.models import Effect, Revision, Run, Runbook, StepRun
from runbooks.spec import RunbookSpec
from runbooks.steps import HARMLESS

# How often a parent looks at its child although no hint came.
LOOK_AT_FIRST, LOOK_AT_MOST = timedelta(seconds=5), timedelta(seconds=60)
# The reason of a step whose run was cut off; set when that is begun, so that the end of the run cannot hide it.
CUT_OFF = "timeout"
_VERDICTS = {
    "resolved": "pass",
    "no_action": "pass",
    "not_resolved": "fail",
    "unverified": "inconclusive",
}


class NotThere(Conflict):
    """A runbook that another one runs has no revision in use."""


def pinned(book: Book, team: Team | None, *, above: tuple[str, ...] = ()) -> dict[str, int]:
    """The current revision of every runbook that this one runs, directly or through another, by its id.

    Raises Conflict for one that cannot be run: not there, switched off, a cycle, or deeper than three.
    """
    chain = (*above, book.spec.id)
    found: dict[str, int] = {}
    for name in sorted(book.runs):
        way = " → ".join((*chain, name))
        if name in chain:
            raise Conflict(f"Runbooks run each other in a circle: {way}.", fix="Take one of these steps out.")
        if len(chain) >= MOST_DEEP:
            raise Conflict(f"Runbooks are nested more than {MOST_DEEP} deep: {way}.", fix="Make the chain shorter.")
        runbook = Runbook.objects.filter(Q(team=team) | Q(team=None), slug=name).select_related("current").first()
        usable = runbook is not None and runbook.enabled and runbook.deleted_at is None
        if runbook is None or not usable or runbook.current is None:
            raise NotThere(f"It runs {name}, which has no revision in use here ({way}).", fix=f"Publish {name} first.")
        found |= {name: runbook.current.number} | pinned(reading.book_of(runbook.current), team, above=chain)
    return found


def refuse_loops(revision: Revision, team: Team | None) -> None:
    """Conflict for a revision that runs itself through others, or nests too deep; what is not there yet may come."""
    with suppress(NotThere):
        pinned(reading.book_of(revision), team)


def others(team: Team | None) -> dict[str, RunbookSpec]:
    """The runbooks that one of this team may run, by id, as they are in use."""
    rows = Runbook.objects.written().filter(Q(team=team) | Q(team=None), deleted_at=None, current__isnull=False)
    found = {}
    for runbook in rows.select_related("current"):
        with suppress(reading.Unreadable):
            assert runbook.current is not None, "asked for"
            found[runbook.slug] = reading.book_of(runbook.current).spec
    return found


def texts_below(revision: Revision, team: Team | None) -> dict[str, str]:
    """The texts in use of what this revision runs, directly or through another, by id; of those that are there."""
    found: dict[str, str] = {}
    wanted = [revision]
    while wanted:
        with suppress(reading.Unreadable):
            names = reading.book_of(wanted.pop()).runs - found.keys()
            rows = Runbook.objects.filter(Q(team=team) | Q(team=None), slug__in=names, deleted_at=None)
            for runbook in rows.filter(current__isnull=False).select_related("current"):
                assert runbook.current is not None, "asked for"
                found[runbook.slug] = runbook.current.text
                wanted.append(runbook.current)
    return found


def needs_of(revision: Revision | None, team: Team | None) -> list[str]:
    """What keeps this revision from being started, a sentence each: it is damaged, or what it runs is not there."""
    if revision is None:
        return []
    try:
        pinned(reading.book_of(revision), team)
    except (reading.Unreadable, Conflict) as error:
        return [error.sentence]
    return []


def open_child(run: Run, step: StepRun, definition: Definition, given: dict[str, Any], *, now: datetime) -> None:
    """S5: start the pinned revision as a run of its own, unique for this step and generation; the step waits for it.

    A busy concurrency key queues it. Raises Invalid for inputs that do not fit, CheckError for one that must not be
    given: what is sensitive here must be so there.
    """
    pins: dict[str, int] = (step.params or {})["pinned"]
    name = definition.runbook
    revision = Revision.objects.select_related("runbook").get(runbook__slug=name, number=pins[name])
    book = reading.book_of(revision)
    for key, value in definition.with_.items():
        if definition.reads_any(value, reading.spec_of(run).sensitive) and key not in book.sensitive:
            raise CheckError("sensitive", f"Input `{key}` of {name} is given a sensitive value and is not sensitive.")
    child = starting.made(
        revision,
        team=run.team,
        incident=run.incident,
        given={key: value for key, value in sealing.fill(run, step, definition, given).items() if value is not None},
        alert=run.alert,
        is_plan=run.is_plan,
        alert_id=run.alert_id,
        trigger_reason=f"step {step.step} of run {run.uuid}",
        started_by=run.started_by,
        requester_id=run.requester_id,
        parent_step=step,
        parent_generation=step.generation,
    )
    begun = starting.take_key(child, now=now)
    if not begun:
        starting.queue(child)
    starting.add_steps(child, pinned=pins)
    transitions.go(
        run,
        step,
        "S5",
        was=("pending",),
        now=now,
        text=f"run {child.uuid}",
        state="blocked",
        blocked_on="child",
        params={"pinned": pins, "with": given},
        started_at=now,
        due_at=now + timedelta(seconds=definition.timeout) if definition.timeout else None,
        tell_at=now + LOOK_AT_FIRST,
    )
    transitions.event(child, "R1" if begun else "R1q", now=now, state=child.state, text=child.trigger_reason)
    did = "starts" if begun else "is queued behind another run"
    transitions.note(child, kind="run", text=f"Runbook {name} (revision {revision.number}) {did} for «{step.name}».")


def child_of(step: StepRun) -> Run | None:
    """The run that a step waits for, or waited for last."""
    children = Run.objects.filter(parent_step=step, parent_generation=step.generation)
    return children.select_related("incident", "revision", "runbook", "team").first()


def below(run: Run) -> list[Run]:
    """The runs that its steps were, and those of theirs, each before what it started."""
    found: list[Run] = []
    level = [run.pk]
    for _ in range(MOST_DEEP - 1):
        rows = Run.objects.filter(parent_step__run__in=level)
        children = list(
            rows.select_related("runbook", "revision", "incident", "service", "team", "parent_step__run").order_by("pk")
        )
        found += children
        level = [child.pk for child in children]
        if not level:
            break
    return found


def states_of(steps: Iterable[StepRun]) -> dict[int, str]:
    """The state of the run that each of these steps waits for, by the step's key."""
    waiting = {step.pk: step.generation for step in steps if step.state == "blocked" and step.blocked_on == "child"}
    if not waiting:
        return {}
    rows = Run.objects.filter(parent_step__in=waiting).values_list("parent_step_id", "parent_generation", "state")
    return {step: state for step, generation, state in rows if waiting[step] == generation}


def changed_something(steps: Iterable[StepRun]) -> set[int]:
    """Those of these steps whose runs, or runs of theirs, changed something in the world."""
    mine = {step.pk for step in steps if step.kind == "runbook"}
    if not mine:
        return set()
    confirmed = Effect.objects.filter(state="confirmed").exclude(effect_class__in=HARMLESS)
    up = "step_run__run__parent_step"
    above = (up, f"{up}__run__parent_step")
    return {pk for path in above for pk in confirmed.filter(**{f"{path}__in": mine}).values_list(path, flat=True)}


def come_to(child: Run, step: StepRun) -> dict[str, Any]:
    """What the end of a child means for the step: verdict, reason, sentence, result."""
    if child.is_plan:
        return dry.of_child(child)
    how = child.outcome or child.state
    because = f" ({child.stop_reason})" if child.stop_reason else ""
    return {
        "verdict": _VERDICTS.get(child.outcome, "error"),
        "reason": step.reason or how,
        "summary": f"Runbook {child.runbook.slug} ended, {how.replace('_', ' ')}{because}.",
        "result": child.outputs,
    }


def tell_parent(run: Run) -> None:
    """A child has ended: whoever advances runs looks at its parent once this is committed."""
    if run.parent_step_id is not None:
        parent = StepRun.objects.values_list("run_id", flat=True).get(pk=run.parent_step_id)
        background.hint("runbooks.advance", "engine", parent)


def look_again(step: StepRun, *, now: datetime) -> None:
    """No hint came: the next look is later, the longer it lasts."""
    lasted = now - step.started_at if step.started_at else timedelta(0)
    later = now + min(LOOK_AT_MOST, max(LOOK_AT_FIRST, lasted / 2))
    StepRun.objects.filter(pk=step.pk, state="blocked", blocked_on="child").update(tell_at=later)
