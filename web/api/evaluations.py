"""Evaluation sets: the list, and adding cases to one."""

from __future__ import annotations

from typing import Any

from ninja import Field, Query, Router, Status

from catalog.permissions import Permission
from evaluations import sets
from evaluations.models import EvaluationSet
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.policy import team_or_404, visible

router = Router(by_alias=True, tags=["evaluation sets"])


class SetFilters(Page):
    """What the list of sets may be narrowed to."""

    team: str = Field("", max_length=40)


class NewCase(Body):
    """One input with its expected answer; `attributes` are what slices are made of."""

    item: str = Field(min_length=1, max_length=120)
    input: Any
    expected: Any
    attributes: dict[str, str] = Field(default_factory=dict, max_length=64)


class NewCases(Body):
    """Cases for a set of this team, which is made when there is none."""

    team: str = Field(min_length=1, max_length=40)
    title: str = Field("", max_length=120)
    cases: list[NewCase] = Field(min_length=1, max_length=sets.MAX_CASES)


@router.get("evaluation-sets", auth=permits(Permission.SEE, SetFilters), response=schemas.Listed[schemas.EvaluationSet])
def list_sets(request: ApiRequest, filters: Query[SetFilters]) -> dict[str, Any]:
    """Evaluation sets of your teams, newest first."""
    rows = visible(sets.counted(EvaluationSet.objects.select_related("team")), request.actor)
    if filters.team:
        rows = rows.filter(team__slug=filters.team)
    return listed(rows, filters, shapes.evaluation_set)


@router.post(
    "evaluation-sets/{slug:evaluation_set}",
    auth=permits(Permission.CONFIGURE),
    response={200: schemas.LoadedSet, 201: schemas.LoadedSet},
)
def load_cases(request: ApiRequest, evaluation_set: str, body: NewCases) -> Status[Any]:
    """Make the set, or add to it what it lacks; items that it has already stay as they were."""
    team = team_or_404(request.actor, body.team, permission=Permission.CONFIGURE)
    cases = [sets.NewCase(case.item, case.input, case.expected, case.attributes) for case in body.cases]
    loaded = sets.keep(team, slug=evaluation_set, cases=cases, actor=request.actor, title=body.title)
    row = sets.counted(EvaluationSet.objects.select_related("team")).get(pk=loaded.evaluation_set.pk)
    told = {**shapes.evaluation_set(row), "added": loaded.added, "duplicates": loaded.duplicates}
    return Status(201 if loaded.is_new else 200, told)
