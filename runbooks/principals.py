"""Who `user:x`, `role:x` and `team:x` are, in the team of a run."""

from __future__ import annotations

from catalog import permissions
from catalog.actors import Actor, person
from catalog.models import Team, User
from catalog.permissions import Permission


def people(names: list[str], *, team: Team) -> list[User]:
    """The active people behind principals: a user, a named group of the run's team, or a whole team.

    Shipped runbooks say `team:default`; in the run of another team that means the run's own team.
    """
    found: dict[int, User] = {}
    for name in names:
        kind, _, slug = name.partition(":")
        members = User.objects.filter(is_active=True)
        if kind == "user":
            members = members.filter(username=slug)
        elif kind == "role":
            members = members.filter(oncall_groups__team=team, oncall_groups__slug=slug)
        elif slug in ("default", team.slug):
            members = members.filter(memberships__team=team).exclude(memberships__roles=[])
        else:
            members = members.filter(memberships__team__slug=slug).exclude(memberships__roles=[])
        found |= {user.pk: user for user in members}
    return [found[key] for key in sorted(found)]


def approvers(names: list[str], *, team: Team) -> list[User]:
    """Those among them who hold the permission to approve in the team."""
    return [user for user in people(names, team=team) if permissions.can(person(user), Permission.APPROVE, team)]


def is_among(actor: Actor, names: list[str], *, team: Team) -> bool:
    """Whether the acting person is one of the principals."""
    return actor.user is not None and any(user.pk == actor.user.pk for user in people(names, team=team))
