"""Postmortems: the draft, its text with conflict detection, and its exports."""

from __future__ import annotations

import json
from typing import Any, Literal

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse
from ninja import Field, Query, Router

from catalog.permissions import Permission
from common.errors import NotFound
from incidents import postmortem_export, postmortems
from incidents.models import Incident, Postmortem
from web.api import postmortem_schemas, schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.pages import figures
from web.policy import team_object_or_404, visible

router = Router(by_alias=True, tags=["postmortems"])
_ROWS = Postmortem.objects.select_related("incident__team", "owner", "reviewer")
KINDS = {"md": "text/markdown", "html": "text/html", "json": "application/json"}


class PostmortemFilters(Page):
    """What the list of postmortems may be narrowed to."""

    state: Literal["due", "draft", "in_review", "approved", "published", "closed"] | None = None


class Text(Body):
    """A new text, and the edition that it was made from."""

    body: str = Field(max_length=postmortems.BODY_LENGTH)
    edition: int = Field(ge=0)


class Again(Body):
    """Whether to bring new evidence into a text that people have edited."""

    regenerate: bool = False


class Format(Body):
    """How the postmortem is written out."""

    format: Literal["md", "html", "json"] = "md"


def _one(request: ApiRequest, number: int, permission: Permission = Permission.SEE) -> Postmortem:
    return team_object_or_404(
        _ROWS.all(), request.actor, permission=permission, team="incident__team", incident__number=number
    )


@router.get(
    "postmortems",
    auth=permits(Permission.SEE, PostmortemFilters),
    response=schemas.Listed[postmortem_schemas.PostmortemLine],
)
def list_postmortems(request: ApiRequest, filters: Query[PostmortemFilters]) -> dict[str, Any]:
    """Postmortems of your teams, newest first, without their texts."""
    rows = visible(_ROWS.all(), request.actor, team="incident__team")
    if filters.state:
        rows = rows.filter(state=filters.state)
    return listed(rows, filters, shapes.postmortem_line)


@router.get("postmortems/{int:number}", auth=permits(Permission.SEE), response=postmortem_schemas.Postmortem)
def get_postmortem(request: ApiRequest, number: int) -> dict[str, Any]:
    """The postmortem of an incident."""
    return shapes.postmortem(_one(request, number))


@router.put(
    "postmortems/{int:number}", auth=permits(Permission.EDIT_POSTMORTEM), response=postmortem_schemas.Postmortem
)
def save_postmortem(request: ApiRequest, number: int, body: Text) -> dict[str, Any]:
    """Save a text; 409 with the current text when somebody saved since the named edition."""
    found = _one(request, number, Permission.EDIT_POSTMORTEM)
    postmortems.save(found, body=body.body, edition=body.edition, actor=request.actor)
    return shapes.postmortem(_one(request, number))


@router.post(
    "postmortems/{int:number}/draft",
    auth=permits(Permission.EDIT_POSTMORTEM, Again),
    response=postmortem_schemas.Postmortem,
)
def draft_postmortem(request: ApiRequest, number: int, query: Query[Again]) -> dict[str, Any]:
    """Write the draft from the incident's timeline; 409 for an edited text, unless `?regenerate=true`.

    Then, too, edited words stay: what nobody touched follows the evidence, and the rest is in `offers`.
    """
    rows = Incident.objects.select_related("team", "service")
    incident = team_object_or_404(rows, request.actor, permission=Permission.EDIT_POSTMORTEM, number=number)
    postmortems.draft(incident, actor=request.actor, regenerate=query.regenerate)
    return shapes.postmortem(_one(request, number))


_FILE = {"description": "The file.", "content": {kind: {"schema": {"type": "string"}} for kind in KINDS.values()}}


@router.get(
    "postmortems/{int:number}/export",
    auth=permits(Permission.SEE, Format),
    openapi_extra={"responses": {200: _FILE}},
)
def export_postmortem(request: ApiRequest, number: int, query: Query[Format]) -> HttpResponse:
    """The postmortem as a file: Markdown, printable HTML or JSON."""
    found = _one(request, number)
    if not found.body:
        raise NotFound("There is no draft yet.", fix=f"POST /api/v1/postmortems/{number}/draft writes one.")
    if query.format == "json":
        text = json.dumps(postmortem_export.data(found), cls=DjangoJSONEncoder)
    elif query.format == "md":
        text = postmortem_export.markdown(found)
    else:
        text = postmortem_export.html(found, figures=figures.of_postmortem(found))
    response = HttpResponse(text, content_type=f"{KINDS[query.format]}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="INC-{number}-postmortem.{query.format}"'
    return response
