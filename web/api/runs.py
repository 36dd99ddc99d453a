"""Runbooks and their runs: start one, stop it, answer what it asks."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from ninja import Field, Query, Router, Status

from catalog.models import Service, Team
from catalog.permissions import Permission
from common.errors import Conflict, Invalid, NotFound
from incidents.models import Incident
from runbooks import approvals, going_on, repeating, runs
from runbooks.models import OPEN_RUN_STATES, Run, Runbook, StepRun
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.api.runbooks import ROWS
from web.policy import require_recent_for_approval, team_ids, team_object_or_404, team_or_404, visible

router = Router(by_alias=True, tags=["runs"])
_RUNS = Run.objects.select_related("runbook", "revision", "incident", "service", "team", "parent_step__run")


class RunFilters(Page):
    """What the list of runs may be narrowed to."""

    state: Literal["queued", "active", "paused", "stopping", "finished", "cancelled", "expired"] | None = None
    open: bool | None = None
    plan: bool = False
    runbook: str = Field("", max_length=40)
    incident: int | None = Field(None, ge=1)
    service: str = Field("", max_length=60)


class StepQuery(Body):
    """Which row of a `foreach` step is meant; 0 is the step itself."""

    item: int = Field(0, ge=0, le=32_000)


class NewRun(Body):
    """A run of the published revision of a runbook; `team` only where neither incident nor service tells it."""

    runbook: str = Field(min_length=1, max_length=40)
    inputs: dict[str, Any] = Field(default_factory=dict)
    incident: int | None = Field(None, ge=1)
    team: str = Field("", max_length=40)
    plan: bool = Field(default=False, description="A dry run: checks run, actions only say what they would change.")


class Why(Body):
    """Why it is stopped, paused or resumed."""

    reason: str = Field("", max_length=300)


class Approve(Body):
    """Yes to exactly the change whose digest this is."""

    digest: str
    note: str = Field("", max_length=5_000)


class Reject(Body):
    """No, and why."""

    digest: str
    reason: str = Field(min_length=1, max_length=5_000)


class Answer(Body):
    """What a manual step asked for, or what to do with a step that nobody could decide."""

    fields: dict[str, Any] | None = None
    decision: Literal[
        "",
        "accept",
        "override",
        "again",
        "stop",
        "done",
        "could_not",
        "skip",
        "happened",
        "did_not_happen",
        "send_again",
    ] = ""
    verdict: Literal["", "pass", "fail", "inconclusive", "skipped"] = ""
    note: str = Field("", max_length=5_000)


class Skip(Body):
    """Why the step is not needed."""

    reason: str = Field(min_length=1, max_length=5_000)


class GoOn(Body):
    """Inputs that differ from those of the run that ended."""

    inputs: dict[str, Any] = Field(default_factory=dict)


# --- runs ------------------------------------------------------------------------------------------------------------
@router.get("runs", auth=permits(Permission.SEE, RunFilters), response=schemas.Listed[schemas.RunLine])
def list_runs(request: ApiRequest, filters: Query[RunFilters]) -> dict[str, Any]:
    """Runs of your teams, newest first, without their steps; dry runs by `?plan=true`."""
    rows = visible(_RUNS.filter(is_plan=filters.plan), request.actor)
    if filters.state:
        rows = rows.filter(state=filters.state)
    if filters.open is not None:
        rows = rows.filter(state__in=OPEN_RUN_STATES) if filters.open else rows.exclude(state__in=OPEN_RUN_STATES)
    if filters.runbook:
        rows = rows.filter(runbook__slug=filters.runbook)
    if filters.incident:
        rows = rows.filter(incident__number=filters.incident)
    if filters.service:
        rows = rows.filter(service__slug=filters.service)
    return listed(rows, filters, shapes.run_line)


@router.post("runs", auth=permits(Permission.RUN), response={200: schemas.Started, 201: schemas.Started})
def start_run(request: ApiRequest, body: NewRun) -> Status[Any]:
    """Start a runbook, or join the run that is at work on the same service; `decision` says which."""
    books = ROWS.all()
    runbook = team_object_or_404(books, request.actor, permission=Permission.RUN, shared=True, slug=body.runbook)
    incident = None
    if body.incident is not None:
        incidents = Incident.objects.select_related("team", "service")
        incident = team_object_or_404(incidents, request.actor, permission=Permission.RUN, number=body.incident)
    team = _team_of(request, body, runbook, incident)
    started = runs.start(runbook, given=body.inputs, actor=request.actor, team=team, incident=incident, plan=body.plan)
    if started.run is None:
        raise Conflict("The runbook is at work already, and it says to skip.", fix="Wait for that run to end.")
    shown = shapes.run(team_object_or_404(_RUNS.all(), request.actor, pk=started.run.pk))
    return Status(200 if started.decision == "joined" else 201, {**shown, "decision": started.decision})


def _team_of(request: ApiRequest, body: NewRun, runbook: Runbook, incident: Incident | None) -> Team:
    """Whose run it is: the incident's team, the runbook's, the service's, the one named, or the caller's only one."""
    if incident is not None:
        return incident.team
    if runbook.team is not None:
        return runbook.team
    if body.team:
        return team_or_404(request.actor, body.team, permission=Permission.RUN)
    named = body.inputs.get("service")
    if isinstance(named, str):
        return team_object_or_404(Service.objects.select_related("team"), request.actor, slug=named).team
    mine = team_ids(request.actor)
    if len(mine) != 1:
        raise Invalid("Which team's run is it?", fix="Send `team`, or an incident.", fields={"team": "Missing."})
    return Team.objects.get(pk=mine[0])


def _run(request: ApiRequest, run_id: UUID, permission: Permission = Permission.SEE) -> Run:
    return team_object_or_404(_RUNS.all(), request.actor, permission=permission, uuid=run_id)


def _shown(request: ApiRequest, run_id: UUID) -> dict[str, Any]:
    return shapes.run(_run(request, run_id))


@router.get("runs/{uuid:run_id}", auth=permits(Permission.SEE), response=schemas.Run)
def get_run(request: ApiRequest, run_id: UUID) -> dict[str, Any]:
    """One run with its steps."""
    return _shown(request, run_id)


@router.post("runs/{uuid:run_id}/cancel", auth=permits(Permission.RUN), response=schemas.Run)
def cancel_run(request: ApiRequest, run_id: UUID, body: Why | None = None) -> dict[str, Any]:
    """End a run; nothing new is started."""
    runs.cancel(_run(request, run_id, Permission.RUN), actor=request.actor, reason=body.reason if body else "")
    return _shown(request, run_id)


@router.post("runs/{uuid:run_id}/pause", auth=permits(Permission.RUN), response=schemas.Run)
def pause_run(request: ApiRequest, run_id: UUID, body: Why | None = None) -> dict[str, Any]:
    """Start no further step for now."""
    runs.pause(_run(request, run_id, Permission.RUN), actor=request.actor, reason=body.reason if body else "")
    return _shown(request, run_id)


@router.post("runs/{uuid:run_id}/resume", auth=permits(Permission.RUN), response=schemas.Run)
def resume_run(request: ApiRequest, run_id: UUID, body: Why | None = None) -> dict[str, Any]:
    """Go on after a pause."""
    runs.resume(_run(request, run_id, Permission.RUN), actor=request.actor, reason=body.reason if body else "")
    return _shown(request, run_id)


# --- steps -----------------------------------------------------------------------------------------------------------
def _step(request: ApiRequest, run_id: UUID, step: str, item: int, permission: Permission) -> StepRun:
    found = _run(request, run_id, permission).steps.filter(step=step, item=item).select_related("run").first()
    if found is None:
        raise NotFound("The run has no such step.", fix="GET the run: `steps` lists id and item.")
    return found


@router.post(
    "runs/{uuid:run_id}/steps/{str:step}/approve",
    auth=permits(Permission.APPROVE, StepQuery),
    response=schemas.Run,
    openapi_extra={"x-people-only": True},
)
def approve_step(
    request: ApiRequest, run_id: UUID, step: str, body: Approve, query: Query[StepQuery]
) -> dict[str, Any]:
    """Approve exactly the change that was shown. Signed-in people only; 409 for an old digest."""
    found = _step(request, run_id, step, query.item, Permission.APPROVE)
    require_recent_for_approval(request)
    approvals.approve(found, digest=body.digest, actor=request.actor, note=body.note)
    return _shown(request, run_id)


@router.post(
    "runs/{uuid:run_id}/steps/{str:step}/reject",
    auth=permits(Permission.APPROVE, StepQuery),
    response=schemas.Run,
    openapi_extra={"x-people-only": True},
)
def reject_step(request: ApiRequest, run_id: UUID, step: str, body: Reject, query: Query[StepQuery]) -> dict[str, Any]:
    """Say no, with a reason; nothing is applied."""
    found = _step(request, run_id, step, query.item, Permission.APPROVE)
    approvals.reject(found, digest=body.digest, actor=request.actor, reason=body.reason)
    return _shown(request, run_id)


@router.post(
    "runs/{uuid:run_id}/steps/{str:step}/answer", auth=permits(Permission.ANSWER, StepQuery), response=schemas.Run
)
def answer_step(request: ApiRequest, run_id: UUID, step: str, body: Answer, query: Query[StepQuery]) -> dict[str, Any]:
    """Answer a manual step (`fields`), or a step that waits for a decision."""
    found = _step(request, run_id, step, query.item, Permission.ANSWER)
    runs.answer(
        found,
        actor=request.actor,
        fields=body.fields,
        decision=body.decision,
        verdict=body.verdict,
        note=body.note,
    )
    return _shown(request, run_id)


@router.post("runs/{uuid:run_id}/steps/{str:step}/rerun", auth=permits(Permission.RUN, StepQuery), response=schemas.Run)
def rerun_step(request: ApiRequest, run_id: UUID, step: str, query: Query[StepQuery]) -> dict[str, Any]:
    """Do a check again, and with it the ended checks of its phase that read it."""
    repeating.rerun(_step(request, run_id, step, query.item, Permission.RUN), actor=request.actor)
    return _shown(request, run_id)


@router.post(
    "runs/{uuid:run_id}/steps/{str:step}/go-on",
    auth=permits(Permission.RUN, StepQuery),
    response={201: schemas.Run},
)
def go_on_from_step(
    request: ApiRequest, run_id: UUID, step: str, query: Query[StepQuery], body: GoOn | None = None
) -> Status[Any]:
    """A new run that begins at this step of one that has ended, and takes over what came before."""
    old = _run(request, run_id, Permission.RUN)
    found = _step(request, run_id, step, query.item, Permission.RUN)
    new = going_on.from_step(old, found, given=body.inputs if body else {}, actor=request.actor)
    return Status(201, _shown(request, new.uuid))


@router.post(
    "runs/{uuid:run_id}/steps/{str:step}/skip", auth=permits(Permission.ANSWER, StepQuery), response=schemas.Run
)
def skip_step(request: ApiRequest, run_id: UUID, step: str, body: Skip, query: Query[StepQuery]) -> dict[str, Any]:
    """Count a step as skipped, with a reason."""
    found = _step(request, run_id, step, query.item, Permission.ANSWER)
    runs.skip(found, actor=request.actor, reason=body.reason)
    return _shown(request, run_id)
