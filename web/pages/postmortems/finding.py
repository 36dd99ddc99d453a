"""The postmortem that an address names."""

from __future__ import annotations

from catalog.permissions import Permission
from incidents.models import Postmortem
from web.policy import PersonRequest, team_object_or_404


def find(request: PersonRequest, number: int, permission: Permission = Permission.SEE) -> Postmortem:
    """The postmortem of the incident of that number."""
    rows = Postmortem.objects.select_related("incident__team", "incident__service", "owner", "reviewer")
    return team_object_or_404(
        rows, request.actor, permission=permission, team="incident__team", incident__number=number
    )
