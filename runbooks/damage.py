"""Runs whose rows make no sense to this version: edited by hand, or written by a newer one. They wait and say so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from django.db import transaction
from django.db.models import F, Q

from common import live
from incidents import notices
from incidents.models import TimelineEntry
from runbooks import reading, transitions
from runbooks.models import OPEN_RUN_STATES, PHASES, Revision, Run, StepRun
from runbooks.planning import ENDINGS
from runbooks.reading import FIX, Unreadable

# So many are named by `doctor`.
MOST = 50


def of(run: Run, steps: list[StepRun]) -> str:
    """What is wrong with a run, in a sentence; empty for one that can go on."""
    try:
        for step in steps:
            reading.step_of(run, step)
        reading.spec_of(run)
    except Unreadable as error:
        return error.sentence
    if run.phase not in (*PHASES, *ENDINGS):
        return f"The run is in phase `{run.phase[:40]}`, which this version of Backstop does not know."
    return ""


def require_none(run: Run) -> None:
    """Nothing is changed in the world for a run that could not take down what became of it. Raises Unreadable."""
    fault = of(run, transitions.steps_of(run))
    if fault:
        raise Unreadable(fault)


def say(run_id: int) -> bool:
    """Tell the incident and the team, once for each fault, why a run waits; False when there is nothing to say."""
    with transaction.atomic():
        run = transitions.lock_run(run_id)
        fault = of(run, list(run.steps.all()))
        if not fault:
            return False
        told = TimelineEntry.objects.filter(incident=run.incident_id, kind="engine", data__damage=fault)
        if run.incident_id is None or not told.filter(data__run=str(run.uuid)).exists():
            Run.objects.filter(pk=run.pk).update(version=F("version") + 1)
            transitions.note(
                run, kind="engine", text=f"{run.label} waits: {fault} {FIX}", pinned=True, data={"damage": fault}
            )
            transaction.on_commit(live.wake)
        notices.tell(
            team=run.team,
            kind="engine_down",
            key=f"damage:{run.uuid}:{hashlib.sha256(fault.encode()).hexdigest()[:12]}",
            subject=f"A run of {run.runbook.slug} waits: its rows cannot be read",
            body=f"{fault} {FIX}",
            link=f"/runs/{run.uuid}",
            incident=run.incident,
        )
    return True


def everywhere() -> Iterator[tuple[Run, str]]:
    """Open runs that wait for this reason, the oldest first; each revision is read once, however many runs it has."""
    rows = Run.objects.filter(state__in=OPEN_RUN_STATES)
    suspect = ~Q(phase__in=[*PHASES, *ENDINGS])
    for revision in Revision.objects.filter(pk__in=rows.order_by().values("revision")):
        steps = StepRun.objects.filter(run__in=rows, run__revision=revision).order_by()
        names = steps.values_list("step", flat=True).distinct()
        unknown = [name for name in names if not _is_known(revision, name)]
        suspect |= Q(pk__in=steps.filter(step__in=unknown).values("run"))
    for run in rows.filter(suspect).select_related("runbook", "revision__runbook").order_by("pk")[:MOST]:
        yield run, of(run, list(run.steps.all()))


def _is_known(revision: Revision, step: str) -> bool:
    try:
        reading.definition_of(revision, step)
    except Unreadable:
        return False
    return True
