"""Runbooks that a case does not play: in place of each a run that only waits, and ends as the test says.

A stand-in takes the inputs of the real one, so what it is given is validated, and its concurrency key; everything else
of it is left out. To the engine it is a run like any other: it is cancelled, cut off and waited for.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta

from common import clock
from runbooks import engine, stopping, transitions
from runbooks.models import Effect, Revision, Run, Runbook, StepRun
from runbooks.spec import LONGEST_DEADLINE, Phases, RunbookSpec
from runbooks.steps import WaitStep
from runbooks.testing.cases import Stub
from runbooks.testing.stubs import EPOCH, World, place_of

# Revision numbers of the real text, and of what stands in for it.
REAL, STAND_IN = 1, 2
_STEP = WaitStep.model_validate({"id": "stand_in", "wait": f"{LONGEST_DEADLINE}s"})


def revision(runbook: Runbook, spec: RunbookSpec, *, number: int) -> Revision:
    """A published revision with that text."""
    stored = json.dumps(spec.stored())
    return Revision.objects.create(
        runbook=runbook,
        number=number,
        spec=1,
        sha256=hashlib.sha256(stored.encode()).hexdigest(),
        text="",
        parsed=json.loads(stored),
        source="file",
        author="test",
        created_at=EPOCH,
        published_at=EPOCH,
    )


def add(runbook: Runbook, spec: RunbookSpec) -> None:
    """What stands in for that runbook where a case says how it ends."""
    nothing: dict[str, object] = {"triggers": [], "hypotheses": {}, "finally_": [], "outputs": {}}
    bare = {"phases": Phases(check=[_STEP]), "deadline": LONGEST_DEADLINE, **nothing}
    revision(runbook, spec.model_copy(update=bare), number=STAND_IN)


def pin(run: Run, world: World) -> None:
    """Let the steps that a case has an ending for run the stand-in, before any of them is opened.

    What a played runbook runs is settled by the step that plays it: one of its own steps with an ending means all of
    them that run the same one.
    """
    for step in run.steps.filter(kind="runbook"):
        pinned = dict((step.params or {})["pinned"])
        for path, runbook in _runs_of(step, world):
            if world.is_stubbed(path):
                pinned[runbook] = STAND_IN
        StepRun.objects.filter(pk=step.pk).update(params={"pinned": pinned})


def _runs_of(step: StepRun, world: World) -> list[tuple[str, str]]:
    """The path and the runbook of a step and of all below it that run one."""
    found = []
    paths = [step.step]
    while paths:
        path = paths.pop()
        runbook = getattr(world.family.step(path), "runbook", "")
        if runbook:
            found.append((path, runbook))
            paths += world.family.beside(f"{path}.") if not world.is_stubbed(path) else []
    return found


def is_one(run: Run) -> bool:
    """Whether that run only stands in for another."""
    return run.parent_step is not None and run.revision.number == STAND_IN


def path_of(step: StepRun) -> str:
    """The path of a step; of one in a stand-in, that of the step which runs it."""
    return place_of(step.run, step.step, 0).path.removesuffix(f".{_STEP.id}")


def _open() -> list[Run]:
    """Those at work: started, and not ended or about to."""
    rows = Run.objects.filter(revision__number=STAND_IN, state__in=["active", "paused"])
    return list(rows.select_related("runbook", "revision", "parent_step__run__parent_step__run").order_by("pk"))


def _ending(run: Run, world: World) -> tuple[datetime, Stub]:
    """When one ends, and how."""
    assert run.parent_step is not None, "a stand-in is a step of another run"
    assert run.started_at is not None, "asked of those at work"
    above = run.parent_step
    stub = world.ending(place_of(above.run, above.step, above.item), run.parent_generation)
    return run.started_at + timedelta(seconds=stub.takes or 0), stub


def endings(world: World) -> list[datetime]:
    """When those at work end."""
    return [_ending(run, world)[0] for run in _open()]


def end_due(world: World) -> bool:
    """End those whose time has come, as the case says; whether there were any."""
    now = clock.now()
    due = [(run, stub) for run, (moment, stub) in ((run, _ending(run, world)) for run in _open()) if moment <= now]
    for run, stub in due:
        _end(run, stub, now)
    return bool(due)


def _end(run: Run, stub: Stub, now: datetime) -> None:
    (step,) = run.steps.all()
    if stub.changed:
        Effect.objects.create(
            key=f"stand-in {run.uuid}",
            step_run=step,
            provider="stand-in",
            effect_class="set",
            state="confirmed",
            generation=step.generation,
            params={},
            params_digest="",
            intended_at=now,
            sent_at=now,
            ended_at=now,
        )
    if stub.ends in ("cancelled", "expired"):
        stopping.begin(run, reason=stub.reason or "a test says so", now=now, ends=stub.ends)
        engine.advance(run.pk)
        return
    StepRun.objects.filter(pk=step.pk).update(state="settled", verdict="pass", due_at=None, settled_at=now)
    Run.objects.filter(pk=run.pk).update(
        state="finished", outcome=stub.ends, stop_reason=stub.reason or "", outputs=stub.outputs, ended_at=now
    )
    transitions.event(run, "R5", now=now, state="finished", text=stub.ends or "")
