"""Search: the same as the page."""

from __future__ import annotations

from typing import Any

from ninja import Field, Query, Router, Schema
from pydantic import ConfigDict

from catalog.permissions import Permission
from web import search as finding
from web.api import schemas
from web.api.doors import ApiRequest, permits

router = Router(by_alias=True, tags=["search"])


class Words(Schema):
    """What to look for."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field("", max_length=finding.LONGEST)


@router.get("search", auth=permits(Permission.SEE, Words), response=schemas.Results)
def search(request: ApiRequest, filters: Query[Words]) -> dict[str, Any]:
    """Incidents, postmortems, services, runbooks and people of your teams that have all the words; ten of each kind."""
    found = [one for group in finding.search(filters.q, request.actor) for one in group.found]
    return {"items": [vars(one) for one in found]}
