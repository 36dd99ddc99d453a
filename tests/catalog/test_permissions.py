"""The table of docs/guide/roles.md, the table in the code, and what both mean."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from catalog import people, permissions
from catalog.actors import ALERT, ENGINE, person
from catalog.models import Team
from catalog.permissions import NEVER_BY_TOKEN, ROLES, SCOPES, Permission
from common.errors import Forbidden, NotFound
from tests.factories import make_actor, make_team, make_user

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "roles.md"
# promises.md §5b, by hand: role -> what it may beyond seeing.
WANTED: dict[str, set[str]] = {
    "viewer": set(),
    "responder": {"respond", "run", "answer", "edit_postmortem"},
    "approver": {
        "respond",
        "run",
        "answer",
        "approve",
        "break_glass",
        "publish_runbook",
        "edit_postmortem",
        "publish_postmortem",
        "stop_effects",
    },
    "author": {"draft_runbook", "publish_runbook"},
    "admin": {
        "respond",
        "run",
        "answer",
        "break_glass",
        "draft_runbook",
        "publish_runbook",
        "edit_postmortem",
        "publish_postmortem",
        "configure",
        "members",
        "raw_payloads",
        "stop_effects",
        "allow_effects",
    },
}
TEAM_PERMISSIONS = [p for p in Permission if p not in (Permission.ANYONE, Permission.SIGNED_IN, Permission.ORG_ADMIN)]


@pytest.mark.parametrize("role", list(ROLES))
def test_a_role_may_what_the_design_says(role: str) -> None:
    assert {permission.value for permission in ROLES[role]} == WANTED[role] | {"see"}


def test_the_guide_tells_the_same_table() -> None:
    told: dict[str, set[str]] = {role: set() for role in ROLES}
    for line in GUIDE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        named = re.fullmatch(r".*`([a-z_]+)`", cells[0]) if len(cells) == 6 else None
        if named:
            for role, cell in zip(ROLES, cells[1:], strict=True):
                if cell == "yes":
                    told[role].add(named[1])
    assert told == {role: {p.value for p in given} for role, given in ROLES.items()}


@pytest.mark.parametrize("permission", TEAM_PERMISSIONS)
@pytest.mark.parametrize("role", list(ROLES))
def test_it_says_yes_only_in_the_own_team(team: Team, role: str, permission: Permission) -> None:
    actor, foreign = make_actor(team, [role]), make_team()
    assert permissions.can(actor, permission, team) == (permission in ROLES[role])
    assert not permissions.can(actor, permission, foreign)
    with pytest.raises(NotFound):
        permissions.require(actor, permission, foreign)
    if permission not in ROLES[role]:
        with pytest.raises(Forbidden) as refused:
            permissions.require(actor, permission, team)
        assert refused.value.fix


def test_roles_add_up(team: Team) -> None:
    both = make_actor(team, ["viewer", "author", "approver"])
    assert permissions.can(both, Permission.DRAFT_RUNBOOK, team)
    assert permissions.can(both, Permission.APPROVE, team)
    assert not permissions.can(both, Permission.MEMBERS, team)


def test_a_switched_off_account_may_nothing(team: Team) -> None:
    user = make_user(team=team)
    people.set_active(user, active=False, actor=ENGINE)
    assert not any(permissions.can(person(user), permission, team) for permission in Permission)
    assert permissions.teams_of(user) == []


def test_an_org_admin_sees_no_team_by_that(team: Team) -> None:
    boss = people.create_user(username="boss", email="boss@example.com", is_org_admin=True)
    assert permissions.can(person(boss), Permission.ORG_ADMIN)
    assert not permissions.can(person(boss), Permission.SEE, team)
    assert permissions.teams_of(boss) == []


def test_an_org_admin_stops_and_allows_effects_of_all_teams(team: Team) -> None:
    boss = person(people.create_user(username="boss", email="boss@example.com", is_org_admin=True))
    for permission in (Permission.STOP_EFFECTS, Permission.ALLOW_EFFECTS):
        assert permissions.can(boss, permission, team)
    assert not permissions.can(boss, Permission.APPROVE, team)


@pytest.mark.parametrize("scope", list(SCOPES))
def test_a_token_may_what_both_its_scope_and_its_owner_may(team: Team, scope: str) -> None:
    user = make_user(team=team, roles=["responder"])
    actor = people.token_actor(people.create_token(user, name="t", scopes=[scope])[1])
    for permission in TEAM_PERMISSIONS:
        both = permission in SCOPES[scope] and permission in ROLES["responder"]
        assert permissions.can(actor, permission, team) == both


def test_scopes_never_cover_what_only_people_do() -> None:
    assert not permissions.scoped(["*"]) & NEVER_BY_TOKEN


def test_the_engine_and_alerts_hold_no_permission(team: Team) -> None:
    assert not any(permissions.can(actor, p, team) for actor in (ENGINE, ALERT) for p in Permission)
