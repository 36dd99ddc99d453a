"""Runbooks: read them, check a text, keep it as the next revision. Only a person publishes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ninja import Field, Query, Router, Schema, Status
from pydantic import ConfigDict

from catalog import permissions
from catalog.models import Team
from catalog.permissions import Permission
from common.errors import Invalid
from runbooks import children, revisions, schema
from runbooks.models import Runbook
from runbooks.testing import kept
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.policy import team_object_or_404, team_or_404, visible

router = Router(by_alias=True, tags=["runs"])
ROWS = Runbook.objects.written().filter(deleted_at__isnull=True).select_related("current", "team", "copy_of")


class RunbookFilters(Page):
    """What the list of runbooks may be narrowed to."""

    type: str = Field("", max_length=20)
    enabled: bool | None = None


class RunbookTests(Schema):
    """The tests of a runbook; `report` is that of `manage.py runbook test --json` on revision `report_revision`."""

    runbook: str
    text: str | None
    author: str | None
    report: dict[str, Any] | None
    report_revision: int | None
    report_at: datetime | None
    exercised_at: datetime | None
    url: str


class TestsText(Body):
    """The YAML of a runbook's tests."""

    text: str = Field(min_length=1)


class NewText(Body):
    """A runbook's YAML. `begun_from` is the number of the revision that the writer saw (0: none)."""

    # The size of the text is told by line and column, like everything else that is wrong with it.
    model_config = ConfigDict(extra="forbid", str_max_length=5 * 1024 * 1024)

    text: str = Field(min_length=1)
    team: str = Field("", max_length=40)
    note: str = Field("", max_length=300)
    begun_from: int | None = Field(None, ge=0, le=2**31 - 1)
    check_only: bool = False


@router.get("runbooks", auth=permits(Permission.SEE, RunbookFilters), response=schemas.Listed[schemas.Runbook])
def list_runbooks(request: ApiRequest, filters: Query[RunbookFilters]) -> dict[str, Any]:
    """The shipped runbooks and those of your teams."""
    rows = visible(ROWS.all(), request.actor, shared=True)
    if filters.type:
        rows = rows.filter(incident_type=filters.type)
    if filters.enabled is not None:
        rows = rows.filter(enabled=filters.enabled)
    return listed(rows, filters, shapes.runbook, key="slug", newest_first=False)


@router.get("runbooks/{str:runbook}", auth=permits(Permission.SEE), response=schemas.RunbookText)
def get_runbook(request: ApiRequest, runbook: str) -> dict[str, Any]:
    """One runbook with the text of its published revision."""
    return shapes.runbook_with_text(team_object_or_404(ROWS.all(), request.actor, shared=True, slug=runbook))


@router.post("runbooks", auth=permits(Permission.DRAFT_RUNBOOK), response={200: schemas.Checked, 201: schemas.Checked})
def keep_runbook(request: ApiRequest, body: NewText) -> Status[Any]:
    """Keep a text as the next revision of the runbook that its `id` names, or (`check_only`) only look at it.

    A text with errors is not kept: 422 with all findings. What is kept is not run before a person publishes it.
    """
    team = _team_of(request, body.team)
    findings = schema.check(
        body.text, file="runbook", principals=revisions.principals_of(team), others=children.others(team)
    )
    if body.check_only:
        return Status(200, shapes.checked(findings))
    saved = revisions.save(
        None,
        text=body.text,
        actor=request.actor,
        team=team,
        note=body.note,
        source="editor",
        begun_from=body.begun_from,
    )
    return Status(201, shapes.checked(findings, saved))


def _team_of(request: ApiRequest, slug: str) -> Team:
    """The team that is named, or the only one in which the caller may draft."""
    if slug:
        return team_or_404(request.actor, slug, permission=Permission.DRAFT_RUNBOOK)
    mine = permissions.teams_where(request.actor, Permission.DRAFT_RUNBOOK)
    if len(mine) != 1:
        raise Invalid("Which team's runbook is it?", fix="Send `team`.", fields={"team": "Missing."})
    return mine[0]


def _runbook(request: ApiRequest, slug: str, permission: Permission = Permission.SEE) -> Runbook:
    return team_object_or_404(ROWS.all(), request.actor, permission=permission, shared=True, slug=slug)


@router.get("runbooks/{str:runbook}/tests", auth=permits(Permission.SEE), response=RunbookTests)
def get_tests(request: ApiRequest, runbook: str) -> dict[str, Any]:
    """The tests of a runbook, and what they said when they were last played."""
    return shapes.runbook_tests(_runbook(request, runbook))


@router.put("runbooks/{str:runbook}/tests", auth=permits(Permission.DRAFT_RUNBOOK), response=RunbookTests)
def keep_tests(request: ApiRequest, runbook: str, body: TestsText) -> dict[str, Any]:
    """Keep a text as the tests of a team's runbook; 422 with all findings, 409 for a shipped one."""
    found = _runbook(request, runbook, Permission.DRAFT_RUNBOOK)
    kept.keep(found, text=body.text, actor=request.actor)
    return shapes.runbook_tests(found)


@router.post("runbooks/{str:runbook}/tests/play", auth=permits(Permission.DRAFT_RUNBOOK), response=RunbookTests)
def play_tests(request: ApiRequest, runbook: str) -> dict[str, Any]:
    """Play them on the newest revision, in a process that can reach nothing; 409 while others are played."""
    found = _runbook(request, runbook, Permission.DRAFT_RUNBOOK)
    kept.play(found, actor=request.actor)
    return shapes.runbook_tests(found)
