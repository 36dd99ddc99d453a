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
from common.expressions import ExpressionError
from runbooks import reading
from runbooks.definitions import Definition
from runbooks.models import PHASES, ApprovalRequest, Attempt, Effect, Revision, Run, StepRun
from runbooks.steps import ManualStep
from web.pages import exhibits, words
from web.pages.answering import manual_form
from web.pages.incidents.finding import counts
from web.policy import PersonRequest, allow, team_object_or_404


@dataclass(frozen=True)
class StepRow:
    """One step as the page shows it."""

    step: StepRun
    face: words.Face
    doc: str
    instruction: str
    exhibit: exhibits.Exhibit | None
    attempts: list[Attempt]
    effects: list[tuple[Effect, str]]
    approval: ApprovalRequest | None
    approvals: list[ApprovalRequest]
    form: forms.Form | None
    took: float | None
    params: str
    waits: bool
    may_skip: bool
    may_rerun: bool


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
    rows = Run.objects.select_related("runbook", "revision", "incident", "service", "team")
    return team_object_or_404(rows, request.actor, permission=permission, uuid=uuid)


def find_step(request: PersonRequest, uuid: object, step: str, item: int, permission: Permission) -> StepRun:
    """A step of it."""
    rows = StepRun.objects.select_related("run", "run__team", "run__incident")
    return team_object_or_404(
        rows, request.actor, permission=permission, team="run__team", run__uuid=uuid, step=step, item=item
    )


def _definitions(run: Run) -> dict[str, Definition]:
    """Each step's definition from the pinned revision, by id."""
    return {definition.id: definition for definition in reading.spec_of(run).definitions}


def _instruction(definition: Definition | None, context: dict[str, Any]) -> str:
    """What a manual step asks for, with its values; the plain text where a value is not there yet."""
    if definition is None or not isinstance(definition.step, ManualStep):
        return ""
    try:
        return definition.render_manual(context)
    except ExpressionError:
        return definition.step.manual


def _rows(run: Run, steps: list[StepRun], typed: dict[str, forms.Form]) -> list[StepRow]:
    definitions = _definitions(run)
    context = reading.names(run, steps, clock.now())
    cards = exhibits.exhibits_by_id([step.evidence_id for step in steps if step.evidence_id], run.incident)
    attempts: dict[int, list[Attempt]] = {}
    for attempt in Attempt.objects.filter(step_run__in=steps):
        attempts.setdefault(attempt.step_run_id, []).append(attempt)
    effects: dict[int, list[Effect]] = {}
    for effect in Effect.objects.filter(step_run__in=steps):
        effects.setdefault(effect.step_run_id, []).append(effect)
    requests: dict[int, list[ApprovalRequest]] = {}
    for request in ApprovalRequest.objects.filter(step_run__in=steps).prefetch_related("decisions"):
        requests.setdefault(request.step_run_id, []).append(request)
    rows = []
    for step in steps:
        definition = definitions.get(step.step)
        asked = requests.get(step.pk, [])
        waits = step.state == "unknown" or (step.state == "blocked" and step.blocked_on in ("approval", "human", "ask"))
        needs_form = step.state == "blocked" and step.blocked_on == "human"
        rows.append(
            StepRow(
                step=step,
                face=words.step_face(step),
                doc=str(definition.step.doc or "") if definition else "",
                instruction=_instruction(definition, context),
                exhibit=cards.get(step.evidence_id or 0),
                attempts=attempts.get(step.pk, []),
                effects=[(effect, words.effect_word(effect)) for effect in effects.get(step.pk, [])],
                approval=next((row for row in asked if row.state == "open"), None),
                approvals=asked,
                form=typed.get(f"{step.step}-{step.item}")
                or (manual_form(definition.fields) if needs_form and definition else None),
                took=(step.settled_at - step.started_at).total_seconds()
                if step.settled_at and step.started_at
                else None,
                params=json.dumps(step.params, indent=2, ensure_ascii=False, default=str) if step.params else "",
                waits=waits,
                may_skip=run.is_open and step.state in ("pending", "sleeping", "blocked"),
                may_rerun=run.state == "active"
                and step.phase == run.phase
                and ((step.state == "settled" and step.kind != "action") or step.blocked_on == "ask"),
            )
        )
    return rows


def context_of(run: Run, typed: dict[str, forms.Form] | None = None) -> dict[str, Any]:
    """Everything the page shows; `typed` are answer forms with faults, by step and item."""
    steps = list(run.steps.all())
    rows = _rows(run, steps, typed or {})
    names = [*PHASES, *sorted({step.phase for step in steps} - set(PHASES))]
    phases = []
    for name in names:
        mine = [row for row in rows if row.step.phase == name]
        if not mine and name not in PHASES:
            continue
        phases.append(
            Phase(
                name=name,
                word=words.PHASES.get(name, name),
                verdict=str(run.phase_verdicts.get(name, "")),
                counts=counts([row.step for row in mine]),
                rows=mine,
                total=len(mine),
                ended=sum(row.step.is_terminal for row in mine),
            )
        )
    newest = Revision.objects.filter(runbook=run.runbook_id, published_at__isnull=False).order_by("-number").first()
    names_of_steps = {step.step: step.name for step in steps}
    return {
        "run": run,
        "phases": phases,
        "run_face": words.run_face(run, waits=any(row.waits for row in rows)),
        "waiting_rows": [row for row in rows if row.waits],
        "ranked": [row for row in run.diagnosis.get("ranked", []) if isinstance(row, dict)],
        "top": run.diagnosis.get("top", ""),
        "names_of_steps": names_of_steps,
        "newest": newest,
        "inputs": [(name, value, run.input_sources.get(name, "")) for name, value in run.inputs.items()],
        "events": list(run.events.order_by("-seq")[:100]),
    }


@allow(Permission.SEE)
def run(request: PersonRequest, uuid: object) -> HttpResponse:
    """The page."""
    return render(request, "runs/run.html", context_of(find(request, uuid)))


@allow(Permission.SEE)
def steps(request: PersonRequest, uuid: object) -> HttpResponse:
    """Fragment: head, rail, diagnosis and steps."""
    return render(request, "runs/_steps.html", context_of(find(request, uuid)))
