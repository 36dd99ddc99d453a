"""All effects at once: whether they are stopped, stopping them, allowing them again."""

from __future__ import annotations

from typing import Any

from ninja import Field, Router

from catalog.permissions import Permission
from runbooks import killswitch
from web.api import schemas
from web.api.doors import ApiRequest, Body, permits

router = Router(by_alias=True, tags=["effects"])


class Why(Body):
    """Why; everybody reads it."""

    reason: str = Field(min_length=1, max_length=500)


def _state() -> dict[str, Any]:
    held = killswitch.engaged()
    return {
        "stopped": held is not None,
        "by": held.pulled_by if held else None,
        "reason": held.reason if held else None,
        "since": held.pulled_at if held else None,
        "waiting": killswitch.waiting_actions().count(),
    }


@router.get("effects", auth=permits(Permission.SEE), response=schemas.Effects)
def get_effects(request: ApiRequest) -> dict[str, Any]:
    """Whether all effects are stopped, and how many actions of open runs have not ended."""
    return _state()


@router.post("effects/stop", auth=permits(Permission.STOP_EFFECTS), response=schemas.Effects)
def stop_effects(request: ApiRequest, body: Why) -> dict[str, Any]:
    """Stop every effect of every run, in every team, at once; 409 when they are stopped already."""
    killswitch.pull(reason=body.reason, actor=request.actor)
    return _state()


@router.post("effects/allow", auth=permits(Permission.ALLOW_EFFECTS), response=schemas.Effects)
def allow_effects(request: ApiRequest, body: Why) -> dict[str, Any]:
    """Allow effects again; a signed-in admin only. What was held back looks at everything anew, then goes on once."""
    killswitch.release(reason=body.reason, actor=request.actor)
    return _state()
