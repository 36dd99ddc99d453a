"""One run: five phases, its steps with evidence, the hypotheses with every line of points, and what people may do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render

from catalog.permissions import Permission
from common import clock
from runbooks import damage, verdicts
from runbooks.models import KEY_HOLDING_STATES, PHASES, Lock, Revision, Run, StepRun
from runbooks.planning import ENDINGS
from web.pages import words
from web.pages.incidents.finding import counts
from web.pages.runs.rows import StepRow
from web.pages.runs.rows import rows as step_rows
from web.policy import PersonRequest, allow, team_object_or_404


@dataclass(frozen=True)
class Phase:
    """One part of the rail with its steps."""

    name: str
    word: str
    verdict: str
    counts: list[tuple[str, int]]
    rows: list[StepRow]
    total: int
    ended: int


def find(request: PersonRequest, uuid: object, permission: Permission = Permission.SEE) -> Run:
    """The run, of a team of this person."""
    rows = Run.objects.select_related("runbook", "revision", "incident", "service", "team", "parent_step__run__runbook")
    return team_object_or_404(rows, request.actor, permission=permission, uuid=uuid)


def find_step(request: PersonRequest, uuid: object, step: str, item: int, permission: Permission) -> StepRun:
    """A step of it."""
    rows = StepRun.objects.select_related("run", "run__team", "run__incident")
    return team_object_or_404(
        rows, request.actor, permission=permission, team="run__team", run__uuid=uuid, step=step, item=item
    )


def context_of(run: Run, typed: dict[str, forms.Form] | None = None) -> dict[str, Any]:
    """Everything the page shows; `typed` are answer forms with faults, by step and item."""
    steps = list(run.steps.all())
    now = clock.now()
    rows = step_rows(run, steps, typed or {}, now)
    names = [*PHASES, *ENDINGS]
    phases = []
    for name in names:
        mine = [row for row in rows if row.step.phase == name]
        if not mine and name not in PHASES:
            continue
        phases.append(
            Phase(
                name=name,
                word=words.PHASES.get(name, name),
                verdict=_verdict(run, name, mine),
                counts=counts([row.step for row in mine]),
                rows=mine,
                total=len(mine),
                ended=sum(row.step.is_terminal for row in mine),
            )
        )
    newest = Revision.objects.filter(runbook=run.runbook_id, published_at__isnull=False).order_by("-number").first()
    names_of_steps = {row.step.step: row.name for row in rows}
    return {
        "run": run,
        "damage": damage.of(run, steps) if run.is_open else "",
        "phases": phases,
        "run_face": words.run_face(
            run,
            waits=any(row.waits for row in rows),
            watches=any(row.watch and row.watch.standing.is_under_way for row in rows),
        ),
        "waiting_rows": [row for row in rows if row.waits],
        "ranked": [row for row in run.diagnosis.get("ranked", []) if isinstance(row, dict)],
        "top": run.diagnosis.get("top", ""),
        "names_of_steps": names_of_steps,
        "newest": newest,
        "inputs": [
            (name, _written(value), _source(run.input_sources.get(name, ""))) for name, value in run.inputs.items()
        ],
        "outputs": sorted(run.outputs.items()),
        "events": list(run.events.order_by("-seq")[:100]),
        "locks": list(Lock.objects.filter(step_run__run=run).select_related("step_run")),
        "blocked_by": _blocked_by(rows),
        "line": {waiting.run.pk: waiting for row in rows if row.lock for waiting in row.line}.values(),
        "queue": _queue(run),
        "holder": _holder(run),
        "open_steps": sum(not step.is_terminal for step in steps),
    }


def _verdict(run: Run, name: str, rows: list[StepRow]) -> str:
    """The worst verdict of a phase once all of it has ended: as of now, also after a check was asked again."""
    if not rows or not all(row.step.is_terminal for row in rows):
        return "" if rows else str(run.phase_verdicts.get(name, ""))
    return verdicts.worst([row.step.verdict for row in rows if row.step.state == "settled"])


def _written(value: Any) -> Any:
    """An input as its runbook would write it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


def _source(word: str) -> str:
    """Where an input came from, in words."""
    return {"form": "given by hand", "default": "the runbook's default", "": ""}.get(word, f"from {word}")


def _blocked_by(rows: list[StepRow]) -> list[StepRow]:
    """Steps of this run that wait for a lock which another run holds."""
    return [row for row in rows if row.step.blocked_on == "lock" and row.step.state == "blocked" and row.lock]


def _queue(run: Run) -> list[Run]:
    """Runs that start only after this one."""
    if not run.concurrency_key or not run.is_open or run.state == "queued":
        return []
    rows = Run.objects.filter(runbook=run.runbook_id, concurrency_key=run.concurrency_key, state="queued")
    return list(rows.order_by("pk")[:10])


def _holder(run: Run) -> Run | None:
    """The run that a queued one waits for."""
    if run.state != "queued":
        return None
    rows = Run.objects.filter(runbook=run.runbook_id, concurrency_key=run.concurrency_key)
    return rows.filter(state__in=KEY_HOLDING_STATES).first()


@allow(Permission.SEE)
def run(request: PersonRequest, uuid: object) -> HttpResponse:
    """The page."""
    return render(request, "runs/run.html", context_of(find(request, uuid)))


@allow(Permission.SEE)
def steps(request: PersonRequest, uuid: object) -> HttpResponse:
    """Fragment: head, rail, diagnosis and steps."""
    return render(request, "runs/_steps.html", context_of(find(request, uuid)))
