"""Who answers for what follows an incident."""

from __future__ import annotations

from catalog.models import Membership, User
from incidents.models import Incident


def owner_of(incident: Incident) -> User | None:
    """The service's default owner, else the team's, else the commander, else the first team admin; only active ones."""
    service = incident.service
    for person in (service.default_owner if service else None, incident.team.default_owner, incident.commander):
        if person is not None and person.is_active:
            return person
    admins = Membership.objects.filter(team=incident.team, user__is_active=True).select_related("user").order_by("pk")
    return next((row.user for row in admins if "admin" in row.roles), None)
