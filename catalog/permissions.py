"""Who may do what: the one place where pages, API, tasks and templates ask. Default deny; roles add up.

The table is promises.md §5b of the design, restated in docs/guide/roles.md; tests/catalog/test_permissions.py holds
it against both.
"""

from __future__ import annotations

from enum import StrEnum

from django.db.models import QuerySet

from catalog.actors import Actor
from catalog.models import Membership, Team, User
from common.errors import Forbidden, NotFound
from common.statements import Written


class Permission(StrEnum):
    """Every act that needs leave."""

    SEE = "see"
    RESPOND = "respond"
    RUN = "run"
    ANSWER = "answer"
    APPROVE = "approve"
    BREAK_GLASS = "break_glass"
    DRAFT_RUNBOOK = "draft_runbook"
    PUBLISH_RUNBOOK = "publish_runbook"
    EDIT_POSTMORTEM = "edit_postmortem"
    PUBLISH_POSTMORTEM = "publish_postmortem"
    CONFIGURE = "configure"
    MEMBERS = "members"
    RAW_PAYLOADS = "raw_payloads"
    # About all teams at once: held in any of them, or by an org admin.
    STOP_EFFECTS = "stop_effects"
    ALLOW_EFFECTS = "allow_effects"
    # Acts outside any team.
    SIGNED_IN = "signed_in"
    ANYONE = "anyone"
    ORG_ADMIN = "org_admin"


_P = Permission
ROLES: dict[str, frozenset[Permission]] = {
    "viewer": frozenset({_P.SEE}),
    "responder": frozenset({_P.SEE, _P.RESPOND, _P.RUN, _P.ANSWER, _P.EDIT_POSTMORTEM}),
    "approver": frozenset(
        {
            _P.SEE,
            _P.RESPOND,
            _P.RUN,
            _P.ANSWER,
            _P.APPROVE,
            _P.BREAK_GLASS,
            _P.PUBLISH_RUNBOOK,
            _P.EDIT_POSTMORTEM,
            _P.PUBLISH_POSTMORTEM,
            _P.STOP_EFFECTS,
        }
    ),
    "author": frozenset({_P.SEE, _P.DRAFT_RUNBOOK, _P.PUBLISH_RUNBOOK}),
    "admin": frozenset(
        {
            _P.SEE,
            _P.RESPOND,
            _P.RUN,
            _P.ANSWER,
            _P.BREAK_GLASS,
            _P.DRAFT_RUNBOOK,
            _P.PUBLISH_RUNBOOK,
            _P.EDIT_POSTMORTEM,
            _P.PUBLISH_POSTMORTEM,
            _P.CONFIGURE,
            _P.MEMBERS,
            _P.RAW_PAYLOADS,
            _P.STOP_EFFECTS,
            _P.ALLOW_EFFECTS,
        }
    ),
}
# What a token's scope lets through; a token may never approve, break glass or answer for a person at an approval.
SCOPES: dict[str, frozenset[Permission]] = {
    "read": frozenset({_P.SEE, _P.SIGNED_IN}),
    "incidents:write": frozenset({_P.RESPOND}),
    "runs:write": frozenset({_P.RUN, _P.ANSWER, _P.STOP_EFFECTS}),
    "postmortems:write": frozenset({_P.EDIT_POSTMORTEM, _P.PUBLISH_POSTMORTEM}),
    "admin": frozenset({_P.CONFIGURE, _P.DRAFT_RUNBOOK, _P.RAW_PAYLOADS}),
}
NEVER_BY_TOKEN = frozenset({_P.APPROVE, _P.BREAK_GLASS, _P.MEMBERS, _P.PUBLISH_RUNBOOK, _P.ORG_ADMIN, _P.ALLOW_EFFECTS})
# What concerns every team at once, so that an org admin may do it in any.
OF_ALL_TEAMS = frozenset({_P.STOP_EFFECTS, _P.ALLOW_EFFECTS})


def seeing(user: int | User) -> QuerySet[Membership]:
    """A person's memberships in the teams in which they may see anything."""
    return Membership.objects.filter(user=user).exclude(roles=[])


# Asked for every page and every step that asks people.
_membership = Written(lambda user, team: Membership.objects.filter(user=user, team=team).order_by())
_teams = Written(lambda user: seeing(user).values_list("team_id", flat=True))


def roles_of(user: User, team: Team) -> list[str]:
    """The roles a person holds in a team."""
    row = _membership.first(user.pk, team.pk)
    return list(row.roles) if row and user.is_active else []


def permissions_of(user: User, team: Team) -> frozenset[Permission]:
    """Everything a person may do in a team; empty for a non-member."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles_of(user, team)))


def scoped(scopes: list[str]) -> frozenset[Permission]:
    """Everything that the scopes of a token let through."""
    wanted = SCOPES.keys() if "*" in scopes else [scope for scope in scopes if scope in SCOPES]
    return frozenset().union(*(SCOPES[scope] for scope in wanted)) - NEVER_BY_TOKEN


def can(actor: Actor, permission: Permission, team: Team | None = None) -> bool:
    """Whether the actor may; the engine itself asks nobody."""
    if actor.user is None:
        return False
    if not actor.user.is_active:
        return False
    if actor.token is not None and permission not in scoped(actor.token.scopes):
        return False
    if permission is _P.ANYONE or permission is _P.SIGNED_IN:
        return True
    if permission is _P.ORG_ADMIN:
        return actor.user.is_org_admin
    if permission in OF_ALL_TEAMS and actor.user.is_org_admin:
        return True
    # promises.md §5b: an org admin gives roles in every team, and sees nothing of it by that.
    if permission is _P.MEMBERS and actor.user.is_org_admin:
        return team is not None
    return team is not None and permission in permissions_of(actor.user, team)


def require(actor: Actor, permission: Permission, team: Team) -> None:
    """Nothing, or NotFound for one who may not even see the team, or Forbidden for one who may see but not do."""
    if can(actor, permission, team):
        return
    if actor.user is None or not permissions_of(actor.user, team):
        raise NotFound("There is no such thing here.", fix="Check the address, or ask for membership of its team.")
    if actor.token is not None and permission in NEVER_BY_TOKEN:
        raise Forbidden("No token may do this.", fix="A person signs in and does it in the browser.")
    if actor.token is not None and permission not in scoped(actor.token.scopes):
        needed = next((scope for scope, given in SCOPES.items() if permission in given), "")
        raise Forbidden("This token's scopes do not cover it.", fix=f"It needs the scope {needed}.")
    holders = [role for role, given in ROLES.items() if permission in given]
    raise Forbidden(
        f"You are not allowed to {permission.value.replace('_', ' ')} in team {team.slug}.",
        fix=f"A team admin can give you one of these roles: {', '.join(holders)}.",
    )


def teams_of(user: User) -> list[int]:
    """Ids of the teams in which a person may see anything: what every list is filtered by."""
    if not user.is_active:
        return []
    return _teams(user.pk)


def teams_where(actor: Actor, permission: Permission) -> list[Team]:
    """The teams in which an actor may do something, by slug."""
    if actor.user is None:
        return []
    mine = Team.objects.all() if actor.user.is_org_admin else Team.objects.filter(memberships__user=actor.user)
    return [team for team in mine if can(actor, permission, team)]
