"""Locking an incident for a person's act on it."""

from __future__ import annotations

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from incidents.models import Incident


def locked(incident: Incident, actor: Actor) -> Incident:
    """The incident's row, locked in the caller's transaction; Forbidden for a person who may not respond."""
    # Never the nullable relations in the locking query: PostgreSQL cannot lock the far side of an outer join.
    row = Incident.objects.select_for_update().get(pk=incident.pk)
    if actor.user is not None:
        permissions.require(actor, Permission.RESPOND, row.team)
    return row
