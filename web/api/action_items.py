"""Action items: what will be done so that it does not happen again."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from uuid import UUID

from ninja import Field, Query, Router, Status

from catalog.models import Team, User
from catalog.permissions import Permission
from common import clock
from common.errors import Invalid
from incidents import action_items
from incidents.models import ActionItem, Incident
from web.api import postmortem_schemas, schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.policy import team_object_or_404, visible

router = Router(by_alias=True, tags=["action-items"])
Kind = Literal["prevent", "detect", "mitigate", "repair", "process", "investigate"]
State = Literal["proposed", "committed", "in_progress", "done", "verified", "declined"]
_ROWS = ActionItem.objects.select_related("incident__team", "team", "owner")


class ItemFilters(Page):
    """What the list of action items may be narrowed to."""

    state: State | None = None
    owner: str = Field("", max_length=40)
    incident: int | None = Field(None, ge=1)
    overdue: bool | None = None


class Words(Body):
    """What an action item says."""

    title: str = Field(min_length=1, max_length=300)
    kind: Kind
    owner: str = Field(min_length=1, max_length=40)
    due_on: date
    priority: int = Field(2, ge=0, le=3)
    closing_check: str = Field("", max_length=500)
    cause: int | None = Field(None, ge=1, le=5)
    tracker: str = Field("", max_length=500)


class NewItem(Words):
    """An action item of an incident."""

    incident: int = Field(ge=1)


class Changed(Body):
    """What to change; what is left out stays. `state` moves it: committed, in_progress, done, verified, declined."""

    title: str | None = Field(None, min_length=1, max_length=300)
    kind: Kind | None = None
    owner: str | None = Field(None, min_length=1, max_length=40)
    due_on: date | None = None
    priority: int | None = Field(None, ge=0, le=3)
    closing_check: str | None = Field(None, max_length=500)
    cause: int | None = Field(None, ge=1, le=5)
    tracker: str | None = Field(None, max_length=500)
    state: Literal["committed", "in_progress", "done", "verified", "declined"] | None = None
    reason: str = Field("", max_length=500)


_MOVES = {
    "committed": action_items.commit,
    "in_progress": action_items.begin,
    "done": action_items.complete,
    "verified": action_items.verify,
}


@router.get(
    "action-items", auth=permits(Permission.SEE, ItemFilters), response=schemas.Listed[postmortem_schemas.ActionItem]
)
def list_items(request: ApiRequest, filters: Query[ItemFilters]) -> dict[str, Any]:
    """Action items of your teams, newest first."""
    rows = visible(_ROWS.all(), request.actor)
    if filters.state:
        rows = rows.filter(state=filters.state)
    if filters.owner:
        rows = rows.filter(owner__username=filters.owner)
    if filters.incident:
        rows = rows.filter(incident__number=filters.incident)
    if filters.overdue is not None:
        late = action_items.due_before(clock.now().date())
        rows = rows.filter(late) if filters.overdue else rows.exclude(late)
    return listed(rows, filters, shapes.action_item)


@router.get("action-items/{uuid:item_id}", auth=permits(Permission.SEE), response=postmortem_schemas.ActionItem)
def get_item(request: ApiRequest, item_id: UUID) -> dict[str, Any]:
    """One action item."""
    return shapes.action_item(team_object_or_404(_ROWS.all(), request.actor, uuid=item_id))


@router.post("action-items", auth=permits(Permission.EDIT_POSTMORTEM), response={201: postmortem_schemas.ActionItem})
def add_item(request: ApiRequest, body: NewItem) -> Status[Any]:
    """Write an action item; it needs an owner of the team and a date."""
    rows = Incident.objects.select_related("team")
    incident = team_object_or_404(rows, request.actor, permission=Permission.EDIT_POSTMORTEM, number=body.incident)
    item = action_items.add(
        incident,
        title=body.title,
        kind=body.kind,
        owner=_owner(body.owner, incident.team),
        due_on=body.due_on,
        actor=request.actor,
        priority=body.priority,
        closing_check=body.closing_check,
        cause=body.cause,
        tracker=body.tracker,
    )
    return Status(201, shapes.action_item(item))


@router.patch(
    "action-items/{uuid:item_id}", auth=permits(Permission.EDIT_POSTMORTEM), response=postmortem_schemas.ActionItem
)
def change_item(request: ApiRequest, item_id: UUID, body: Changed) -> dict[str, Any]:
    """Change the words of an open item, or move it on; one of the two per request."""
    item = team_object_or_404(_ROWS.all(), request.actor, permission=Permission.EDIT_POSTMORTEM, uuid=item_id)
    words = body.model_dump(exclude_none=True, exclude={"state", "reason"})
    if bool(words) == bool(body.state):
        raise Invalid("Send either new words or a new `state`.", fix="Two changes are two requests.")
    if body.state == "declined":
        action_items.decline(item, reason=body.reason, actor=request.actor)
    elif body.state is not None:
        _MOVES[body.state](item, actor=request.actor)
    else:
        owner = _owner(body.owner, item.team) if body.owner else item.owner
        action_items.edit(
            item,
            title=body.title or item.title,
            kind=body.kind or item.kind,
            owner=owner,
            due_on=body.due_on or item.due_on,
            actor=request.actor,
            priority=item.priority if body.priority is None else body.priority,
            closing_check=item.closing_check if body.closing_check is None else body.closing_check,
            cause=item.cause if body.cause is None else body.cause,
            tracker=item.tracker if body.tracker is None else body.tracker,
        )
    return shapes.action_item(team_object_or_404(_ROWS.all(), request.actor, uuid=item_id))


def _owner(username: str, team: Team) -> User:
    """A member of the team by user name; nobody learns whether a stranger has an account."""
    member = User.objects.filter(username=username, is_active=True, memberships__team=team).first()
    if member is None:
        sentence = f"{username} is no member of team {team.slug}."
        raise Invalid(sentence, fix="Name a member of the team.", fields={"owner": sentence})
    return member
