"""Accounts, teams, login links and tokens."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from catalog import people, permissions
from catalog.actors import ENGINE, person
from catalog.models import Address, ApiToken, LoginLink, Team, User
from catalog.permissions import ROLES, SCOPES, Permission
from common import clock
from common.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from common.secrets import decrypt
from tests.conftest import Clock
from tests.factories import make_actor, make_team, make_user


@pytest.mark.django_db
def test_it_makes_the_first_user_once() -> None:
    first = people.first_user()
    again = people.first_user()
    team = Team.objects.get(slug="default")
    assert first == again
    assert set(permissions.roles_of(first, team)) == set(ROLES)
    assert list(team.groups.get(slug="oncall").members.all()) == [first]
    assert not first.has_usable_password()


@pytest.mark.django_db
def test_it_keeps_what_was_changed_about_the_first_user() -> None:
    admin = people.first_user()
    team = Team.objects.get(slug="default")
    other = make_user("other", team=team, roles=["admin"])
    people.set_roles(admin, team=team, roles=["viewer"], actor=person(other))
    people.first_user()
    assert permissions.roles_of(admin, team) == ["viewer"]


@pytest.mark.django_db
@pytest.mark.parametrize("username", ["", "Ümit", "a b", "../x", "-x", "a" * 41, "x\x00y", "<b>"])
def test_it_refuses_a_user_name_that_does_not_fit_an_address(username: str) -> None:
    with pytest.raises(Invalid) as refused:
        people.create_user(username=username, email="a@example.com")
    assert "username" in str(refused.value.extra["fields"])


@pytest.mark.django_db
@pytest.mark.parametrize("email", ["", "nobody", "a@b@c", "x\n@example.com"])
def test_it_refuses_what_is_no_email_address(email: str) -> None:
    with pytest.raises(Invalid):
        people.create_user(username="sam", email=email)


@pytest.mark.django_db
def test_it_refuses_a_second_account_of_the_same_name() -> None:
    people.create_user(username="sam", email="sam@example.com")
    with pytest.raises(Conflict):
        people.create_user(username="SAM", email="other@example.com")
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_it_stores_passwords_as_argon2() -> None:
    user = people.create_user(username="sam", email="sam@example.com", password="a long enough word")
    assert user.password.startswith("argon2")
    assert user.check_password("a long enough word")


def test_it_gives_and_takes_roles(team: Team) -> None:
    admin, sam = make_actor(team, ["admin"]), make_user("sam")
    people.set_roles(sam, team=team, roles=["approver", "responder"], actor=admin)
    people.add_to_group(sam, team=team, group="oncall")
    assert permissions.permissions_of(sam, team) == ROLES["approver"] | ROLES["responder"]
    people.set_roles(sam, team=team, roles=[], actor=admin)
    assert permissions.teams_of(sam) == []
    assert not team.groups.get(slug="oncall").members.filter(pk=sam.pk).exists()


def test_it_lets_nobody_set_their_own_roles(team: Team) -> None:
    admin = make_actor(team, ["admin"])
    assert admin.user is not None
    with pytest.raises(Forbidden):
        people.set_roles(admin.user, team=team, roles=["admin", "approver"], actor=admin)


def test_it_keeps_the_last_admin(team: Team) -> None:
    admin = make_actor(team, ["admin"])
    assert admin.user is not None
    with pytest.raises(Conflict):
        people.set_roles(admin.user, team=team, roles=["viewer"], actor=ENGINE)


@pytest.mark.parametrize("role", ["viewer", "responder", "approver", "author"])
def test_it_lets_only_admins_set_roles(team: Team, role: str) -> None:
    with pytest.raises(Forbidden):
        people.set_roles(make_user(), team=team, roles=["viewer"], actor=make_actor(team, [role]))


def test_it_refuses_a_stranger_as_if_the_team_did_not_exist(team: Team) -> None:
    with pytest.raises(NotFound):
        people.set_roles(make_user(), team=team, roles=["viewer"], actor=make_actor(make_team()))


def test_it_refuses_an_unknown_role(team: Team) -> None:
    with pytest.raises(Invalid):
        people.set_roles(make_user(), team=team, roles=["root"], actor=make_actor(team))


def test_it_puts_only_members_into_groups(team: Team) -> None:
    with pytest.raises(Invalid):
        people.add_to_group(make_user(), team=team, group="oncall")


# --- login links -----------------------------------------------------------------------------------------------------
def test_a_link_works_once_and_is_kept_as_a_hash(team: Team) -> None:
    user = make_user(team=team)
    token = people.new_login_link(user)
    assert token not in str(LoginLink.objects.values())
    assert people.peek_login_link(token) == user
    assert people.peek_login_link(token) == user
    assert people.use_login_link(token) == user
    with pytest.raises(people.LinkSpent):
        people.use_login_link(token)
    with pytest.raises(people.LinkSpent):
        people.peek_login_link(token)


def test_a_link_ends_after_an_hour(team: Team, moved_clock: Clock) -> None:
    token = people.new_login_link(make_user(team=team))
    moved_clock.forward(minutes=60)
    with pytest.raises(people.LinkSpent):
        people.use_login_link(token)


def test_a_link_of_a_switched_off_account_is_unknown(team: Team) -> None:
    user = make_user(team=team)
    token = people.new_login_link(user)
    people.set_active(user, active=False, actor=ENGINE)
    with pytest.raises(NotFound):
        people.use_login_link(token)
    with pytest.raises(Forbidden):
        people.new_login_link(user)


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_gets_the_link() -> None:
    token = people.new_login_link(make_user(team=make_team()))
    outcomes: list[str] = []

    def use() -> None:
        try:
            people.use_login_link(token)
            outcomes.append("in")
        except DomainError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] + ["link_spent"] * 5


# --- tokens ----------------------------------------------------------------------------------------------------------
def test_a_token_is_told_once_and_kept_as_a_hash(team: Team) -> None:
    token, secret = people.create_token(make_user(team=team), name="ci", scopes=["read"])
    assert secret.startswith(token.prefix + "_")
    assert secret not in str(ApiToken.objects.values())
    actor = people.token_actor(secret)
    assert actor.token == token
    assert not actor.is_person
    assert "token ci" in actor.label


@pytest.mark.parametrize(
    "secret", ["", "bs_", "bs_00000000_" + "a" * 43, "Bearer x", "bs_\x00", "é" * 50, "x" * 10_000]
)
def test_an_unknown_token_is_refused(team: Team, secret: str) -> None:
    with pytest.raises(people.TokenRefused) as refused:
        people.token_actor(secret)
    assert refused.value.status == 401


def test_a_token_with_another_secret_is_refused(team: Team) -> None:
    _, secret = people.create_token(make_user(team=team), name="ci", scopes=["*"])
    with pytest.raises(people.TokenRefused):
        people.token_actor(secret[:-1] + ("a" if secret[-1] != "a" else "b"))


def test_a_token_dies_with_time_revocation_and_its_owner(team: Team, moved_clock: Clock) -> None:
    user = make_user(team=team)
    secrets = [people.create_token(user, name=f"t{i}", scopes=["*"], days=2) for i in range(2)]
    people.revoke_token(secrets[0][0], actor=person(user))
    with pytest.raises(people.TokenRefused):
        people.token_actor(secrets[0][1])
    people.set_active(user, active=False, actor=ENGINE)
    with pytest.raises(people.TokenRefused):
        people.token_actor(secrets[1][1])
    people.set_active(user, active=True, actor=ENGINE)
    assert people.token_actor(secrets[1][1]).token is not None
    moved_clock.forward(days=2)
    with pytest.raises(people.TokenRefused):
        people.token_actor(secrets[1][1])


def test_it_notes_the_use_of_a_token_once_a_minute(team: Team, moved_clock: Clock) -> None:
    token, secret = people.create_token(make_user(team=team), name="ci", scopes=["read"])
    people.token_actor(secret)
    first = moved_clock.time
    moved_clock.forward(seconds=59)
    people.token_actor(secret)
    token.refresh_from_db()
    assert token.last_used_at == first
    moved_clock.forward(seconds=1)
    people.token_actor(secret)
    token.refresh_from_db()
    assert token.last_used_at == first + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("name", "scopes", "days", "field"),
    [("", ["read"], 9, "name"), ("a", [], 9, "scopes"), ("a", ["all"], 9, "scopes"), ("a", ["read"], 366, "days")],
)
def test_it_refuses_a_token_that_nobody_should_have(
    team: Team, name: str, scopes: list[str], days: int, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        people.create_token(make_user(team=team), name=name, scopes=scopes, days=days)
    assert field in str(refused.value.extra["fields"])


def test_a_stranger_cannot_revoke_a_token(team: Team) -> None:
    token, secret = people.create_token(make_user(team=team), name="ci", scopes=["read"])
    with pytest.raises(NotFound):
        people.revoke_token(token, actor=make_actor(team))
    assert people.token_actor(secret).token is not None


@pytest.mark.parametrize("scope", [*SCOPES, "*"])
def test_no_scope_lets_a_token_approve(team: Team, scope: str) -> None:
    _, secret = people.create_token(make_user(team=team), name="ci", scopes=[scope])
    actor = people.token_actor(secret)
    for never in (Permission.APPROVE, Permission.BREAK_GLASS, Permission.MEMBERS, Permission.PUBLISH_RUNBOOK):
        assert not permissions.can(actor, never, team)


def test_an_address_is_kept_encrypted(team: Team) -> None:
    url = "https://hooks.example.com/T0/B0/verysecret"
    made = people.add_address(url=url, label="", channel="webhook", hint="hooks.example.com", team=team)
    assert b"verysecret" not in bytes(Address.objects.get(pk=made.pk).url_encrypted)
    assert decrypt(made.url_encrypted).decode() == url
    with pytest.raises(Invalid):
        people.add_address(url=url, label="x", channel="webhook", hint="", team=team, user=make_user())


def test_only_an_org_admin_switches_accounts_off(team: Team) -> None:
    user = make_user()
    with pytest.raises(Forbidden):
        people.set_active(user, active=False, actor=make_actor(team))
    boss = people.create_user(username="boss", email="boss@example.com", is_org_admin=True)
    people.set_active(user, active=False, actor=person(boss))
    assert not User.objects.get(pk=user.pk).is_active
    with pytest.raises(Forbidden):
        people.set_active(boss, active=False, actor=person(boss))
    assert clock.now() > boss.created_at
