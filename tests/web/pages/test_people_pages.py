"""People, teams, accounts: who may bring in, promote, switch off and make links for whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client

from catalog import people, permissions
from catalog.models import Address, LoginLink, Membership, Team, User
from catalog.permissions import ROLES
from common import clock
from tests.factories import make_team, make_user
from tests.factories_web import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(team: Team) -> User:
    """A team's admin."""
    return make_user("anna", team=team, roles=["admin"])


@pytest.fixture
def boss(db: None) -> Client:
    """The browser of an org admin, who is in no team."""
    return signed_in(people.create_user(username="boss", email="boss@example.com", is_org_admin=True))


def person(team: Team, **changed: Any) -> dict[str, Any]:
    """The form of a new person."""
    said = {"username": "newone", "email": "new@example.com", "team": team.slug, "roles": ["responder"]}
    return said | {"groups": "oncall, dba"} | changed


def text(client: Client, path: str) -> str:
    """What a page says."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.content[:500]
    return answer.content.decode()


# --- bringing people in ----------------------------------------------------------------------------------------------
def test_a_new_person_comes_in_by_a_link_shown_once(admin: User, team: Team) -> None:
    make_user("loner", team=team, oncall=False)
    client = signed_in(admin)
    page = client.post("/people/new", person(team)).content.decode()
    link = page[page.index("/login/link/") :].split('"')[0].split("<")[0]
    assert Client().post(link).status_code == 302
    made = User.objects.get(username="newone")
    assert permissions.roles_of(made, team) == ["responder"]
    assert set(made.oncall_groups.values_list("slug", flat=True)) == {"oncall", "dba"}
    assert "in dba, oncall" in text(client, "/people")


def test_who_has_an_account_joins_another_team_without_a_link(admin: User, team: Team) -> None:
    sam = make_user("sam", team=make_team())
    links = LoginLink.objects.count()
    client = signed_in(admin)
    assert client.post("/people/new", person(team, username="sam", email="Sam@example.com")).status_code == 302
    assert permissions.roles_of(sam, team) == ["responder"]
    assert LoginLink.objects.filter(user=sam).count() == 0
    assert LoginLink.objects.count() == links + 1, "the admin's own, to sign in"
    again = client.post("/people/new", person(team, username="sam", email="sam@example.com"))
    assert (again.status_code, "is in team" in again.content.decode()) == (422, True)


@pytest.mark.parametrize(
    "wrong",
    [{"roles": []}, {"groups": "Ümit"}, {"email": "other@example.com", "username": "anna"}, {"roles": ["root"]}],
)
def test_what_is_refused_leaves_no_account_behind(admin: User, team: Team, wrong: dict[str, Any]) -> None:
    answer = signed_in(admin).post("/people/new", person(team, **wrong))
    assert answer.status_code == 422
    assert User.objects.count() == 1
    assert Membership.objects.count() == 1


def test_roles_and_groups_are_changed_and_taken(admin: User, team: Team) -> None:
    sam = make_user("sam", team=team, roles=["viewer"])
    client = signed_in(admin)
    client.post(f"/people/{team.slug}/sam", {"roles": ["approver", "viewer"], "groups": "dba"})
    assert permissions.roles_of(sam, team) == ["viewer", "approver"]
    assert list(sam.oncall_groups.values_list("slug", flat=True)) == ["dba"]
    client.post(f"/people/{team.slug}/sam", {"roles": [], "groups": "dba"})
    assert permissions.teams_of(sam) == []
    assert not sam.oncall_groups.exists()
    assert client.post(f"/people/{team.slug}/anna", {"roles": ["approver"]}).status_code == 403, "not one's own"


# --- links for others ------------------------------------------------------------------------------------------------
def test_an_admin_makes_links_only_for_who_never_came_in(admin: User, team: Team) -> None:
    client = signed_in(admin)
    fresh, seen, shared = make_user(team=team), make_user(team=team), make_user(team=team)
    signed_in(seen)
    Membership.objects.create(user=shared, team=make_team(), roles=["approver"])
    chief = people.create_user(username="chief", email="chief@example.com", is_org_admin=True)
    Membership.objects.create(user=chief, team=team, roles=["viewer"])
    told = {user.username: client.post(f"/people/{user.username}/link").status_code for user in (seen, shared, chief)}
    assert set(told.values()) == {403}, "whoever makes an approver's link could approve in their name"
    assert "/login/link/" in client.post(f"/people/{fresh.username}/link").content.decode()
    assert client.post(f"/people/{make_user(team=make_team()).username}/link").status_code == 404


def test_a_link_for_somebody_wants_a_fresh_sign_in(admin: User, team: Team) -> None:
    sam = make_user("sam", team=team)
    with time_machine.travel(clock.now(), tick=False) as now:
        client = signed_in(admin)
        now.shift(timedelta(minutes=10))
        assert client.post("/people/sam/link")["Location"].startswith("/reauthenticate")
    assert not LoginLink.objects.filter(user=sam).exists()


# --- org admins ------------------------------------------------------------------------------------------------------
def test_an_org_admin_gives_roles_anywhere_and_sees_nothing_by_that(boss: Client, team: Team, admin: User) -> None:
    people.add_address(url="https://x.example/y", label="chat", channel="webhook", hint="hint.example", team=team)
    Team.objects.filter(pk=team.pk).update(name="Zebra finders")
    page = text(boss, "/people")
    assert "anna" in page
    assert "hint.example" not in page
    assert boss.post(f"/people/{team.slug}/anna", {"roles": ["admin", "approver"]}).status_code == 302
    assert permissions.roles_of(admin, team) == ["approver", "admin"]
    assert boss.get(f"/teams/{team.slug}").status_code in (403, 404)
    assert "Zebra finders" not in text(boss, "/services")


def test_an_org_admin_makes_a_team_whose_first_person_holds_every_role(boss: Client, admin: User) -> None:
    form = {"name": "Ranking", "slug": "ranking", "first": "Anna"}
    assert boss.post("/teams/new", form).status_code == 302
    assert permissions.roles_of(admin, Team.objects.get(slug="ranking")) == list(ROLES)
    for wrong in ({"slug": "ranking"}, {"slug": "new"}, {"slug": "other", "first": "nobody"}):
        assert boss.post("/teams/new", form | wrong).status_code == 422
    assert Team.objects.count() == 2
    assert signed_in(admin).post("/teams/new", form | {"slug": "more"}).status_code == 403


def test_an_org_admin_switches_accounts_off_and_on(boss: Client, admin: User) -> None:
    client = signed_in(admin)
    assert boss.post("/accounts/anna/active", {"active": "off"}).status_code == 302
    assert client.get("/people").status_code == 302, "out at the next click"
    assert "switched off" in text(boss, "/accounts")
    boss.post("/accounts/anna/active", {"active": "on"})
    assert User.objects.get(username="anna").is_active
    assert boss.post("/accounts/boss/active", {"active": "off"}).status_code == 403
    assert boss.post("/accounts/nobody/active", {"active": "off"}).status_code == 404


def test_org_admins_make_org_admins_but_not_of_themselves(boss: Client, admin: User) -> None:
    assert signed_in(admin).post("/accounts/anna/org-admin", {"org_admin": "on"}).status_code == 403
    boss.post("/accounts/anna/org-admin", {"org_admin": "on"})
    assert User.objects.get(username="anna").is_org_admin
    boss.post("/accounts/anna/org-admin", {"org_admin": "off"})
    assert not User.objects.get(username="anna").is_org_admin
    assert boss.post("/accounts/boss/org-admin", {"org_admin": "off"}).status_code == 403


# --- a team's settings -----------------------------------------------------------------------------------------------
def test_an_admin_asks_for_four_eyes_and_names_an_owner(admin: User, team: Team) -> None:
    client = signed_in(admin)
    form = {"name": "Search and ranking", "four_eyes": "on", "default_owner": "anna"}
    assert client.post(f"/teams/{team.slug}", form).status_code == 302
    team.refresh_from_db()
    assert (team.name, team.four_eyes, team.default_owner) == ("Search and ranking", True, admin)
    make_user("stranger", team=make_team())
    assert client.post(f"/teams/{team.slug}", form | {"default_owner": "stranger"}).status_code == 422
    assert signed_in(make_user(team=team, roles=["approver"])).post(f"/teams/{team.slug}", form).status_code == 403


def test_a_team_is_told_at_addresses_that_come_and_go(admin: User, team: Team) -> None:
    client = signed_in(admin)
    client.post(f"/teams/{team.slug}/addresses", {"url": "mailto:oncall@example.com", "label": "Mail"})
    address = Address.objects.get(team=team)
    foreign = people.add_address(url="mailto:x@example.com", label="", channel="mail", hint="x", team=make_team())
    assert client.post(f"/teams/{team.slug}/addresses/{foreign.pk}/remove").status_code == 404
    assert client.post(f"/teams/{team.slug}/addresses/{address.pk}/remove").status_code == 302
    assert list(Address.objects.all()) == [foreign]
