"""Secrets of a team: which there are, keep one, delete one. No operation tells a value."""

from __future__ import annotations

from typing import Any

from ninja import Field, Query, Router, Status

from catalog import team_secrets
from catalog.models import Secret
from catalog.permissions import Permission
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, Page, listed, permits
from web.policy import team_or_404, visible

router = Router(by_alias=True, tags=["secrets"])


class SecretFilters(Page):
    """What the list of secrets may be narrowed to."""

    team: str = Field("", max_length=40)


class NewSecret(Body):
    """The value to keep, of at least 8 characters."""

    value: str = Field(max_length=team_secrets.LONGEST)


@router.get("secrets", auth=permits(Permission.SEE, SecretFilters), response=schemas.Listed[schemas.Secret])
def list_secrets(request: ApiRequest, filters: Query[SecretFilters]) -> dict[str, Any]:
    """Secrets of your teams, newest first: name, who and when."""
    rows = visible(Secret.objects.select_related("team"), request.actor)
    if filters.team:
        rows = rows.filter(team__slug=filters.team)
    return listed(rows, filters, shapes.secret)


@router.put(
    "secrets/{slug:team}/{slug:name}",
    auth=permits(Permission.CONFIGURE),
    response={200: schemas.Secret, 201: schemas.Secret},
)
def keep_secret(request: ApiRequest, team: str, name: str, body: NewSecret) -> Status[Any]:
    """Keep a value under a name, in place of the one before."""
    found = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    is_new = not Secret.objects.filter(team=found, name=name).exists()
    kept = team_secrets.put(found, name=name, value=body.value, actor=request.actor)
    return Status(201 if is_new else 200, shapes.secret(kept))


@router.delete("secrets/{slug:team}/{slug:name}", auth=permits(Permission.CONFIGURE), response=schemas.Secret)
def delete_secret(request: ApiRequest, team: str, name: str) -> dict[str, Any]:
    """Forget a secret, and say which it was; steps that name it end in error."""
    found = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    return shapes.secret(team_secrets.delete(found, name=name, actor=request.actor))
