"""Act now: one action outside any runbook, for programs that ask; people alone approve."""

from __future__ import annotations

from typing import Any

from ninja import Field, Router, Status

from catalog.permissions import Permission
from incidents.models import Incident
from runbooks import acting
from runbooks.models import Run
from web.api import schemas, shapes
from web.api.doors import ApiRequest, Body, permits
from web.policy import team_object_or_404

router = Router(by_alias=True, tags=["incidents"])
_ROWS = Incident.objects.select_related("team", "service")
_RUNS = Run.objects.select_related("runbook", "revision", "incident", "service", "team")


class Act(Body):
    """The action, its parameters, and why; what needs an approval is asked for and not applied."""

    action: str = Field(min_length=1, max_length=60)
    params: dict[str, Any] = Field(default_factory=dict)
    reason: str = Field(min_length=1, max_length=500)


@router.get("incidents/{int:number}/act", auth=permits(Permission.SEE), response=schemas.Offers)
def list_acts(request: ApiRequest, number: int) -> dict[str, Any]:
    """What can be done now about an incident, with the JSON Schema of the parameters; `lacks` says why not."""
    incident = team_object_or_404(_ROWS.all(), request.actor, number=number)
    return {"items": [shapes.offer(offer) for offer in acting.offers(incident)]}


@router.post("incidents/{int:number}/act", auth=permits(Permission.RUN), response={201: schemas.Run})
def act_now(request: ApiRequest, number: int, body: Act) -> Status[Any]:
    """Ask for one action outside any runbook, or (at low risk) do it. The same again answers with the open run."""
    incident = team_object_or_404(_ROWS.all(), request.actor, permission=Permission.RUN, number=number)
    run = acting.act(incident, action=body.action, given=body.params, reason=body.reason, actor=request.actor)
    return Status(201, shapes.run(_RUNS.get(pk=run.pk)))
