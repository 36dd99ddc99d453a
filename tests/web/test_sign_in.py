"""Signing in, staying in, and being out at once (promises A1 to A4, A10)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password
from django.core.cache import cache
from django.http import HttpResponse, HttpResponseRedirect
from django.test import Client, RequestFactory

from catalog import people
from catalog.actors import ENGINE
from catalog.models import LoginLink, Team, User
from tests.factories import make_team, make_user
from tests.factories_web import signed_in
from web import accounts, devices

WORD = "correct horse battery"


@pytest.fixture(autouse=True)
def fresh_limits(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has guessed yet, and a guess costs little: the real cost would be most of this file's time."""
    cache.clear()
    monkeypatch.setattr(Argon2PasswordHasher, "memory_cost", 1024)
    monkeypatch.setattr(Argon2PasswordHasher, "time_cost", 1)


@pytest.fixture
def sam(team: Team) -> User:
    """Somebody with a password."""
    user = make_user("sam", team=team)
    user.set_password(WORD)
    user.save()
    return user


def sign_in(client: Client, name: str = "sam", password: str = WORD, **extra: Any) -> int:
    """One try at the sign-in page."""
    address = extra.pop("REMOTE_ADDR", "198.51.100.7")
    return client.post("/login", {"login": name, "password": password, **extra}, REMOTE_ADDR=address).status_code


def is_in(client: Client) -> bool:
    """Whether this browser is signed in."""
    return client.get("/version/home/me", headers={"Accept": "application/json"}).status_code == 200


@pytest.mark.parametrize("name", ["sam", "SAM", "sam@example.com", "Sam@Example.com"])
def test_it_lets_in_by_name_or_address(sam: User, client: Client, name: str) -> None:
    assert sign_in(client, name) == 302
    assert is_in(client)


@pytest.mark.parametrize(
    ("name", "password"),
    [("sam", "wrong"), ("nobody", WORD), ("", ""), ("sam", ""), ("sam\x00", WORD), ("x" * 5000, "y")],
)
def test_it_keeps_out_whoever_is_wrong(sam: User, client: Client, name: str, password: str) -> None:
    assert sign_in(client, name, password) == 200
    assert not is_in(client)


def test_a_person_without_a_password_cannot_sign_in_by_one(team: Team, client: Client) -> None:
    make_user("kim", team=team)
    assert sign_in(client, "kim", "") == 200
    assert sign_in(client, "kim", "!") == 200


def test_unknown_names_cost_one_hash_as_known_ones_do(sam: User, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    seen = make_password

    def counting(password: str | None, *args: Any, **kwargs: Any) -> str:
        hashed.append("made")
        return seen(password, *args, **kwargs)

    monkeypatch.setattr("django.contrib.auth.base_user.make_password", counting)
    backend = accounts.Backend()
    for name in ("nobody", "nobody@example.com"):
        hashed.clear()
        assert backend.authenticate(None, username=name, password="x") is None
        assert hashed == ["made"]


def test_guessing_from_one_address_is_slowed_and_others_are_not_locked_out(sam: User) -> None:
    guesser, owner = Client(), Client()
    answers = [guesser.post("/login", {"login": "sam", "password": "x"}, REMOTE_ADDR="203.0.113.5") for _ in range(8)]
    assert "Too many" in answers[-1].content.decode()
    assert sign_in(guesser, REMOTE_ADDR="203.0.113.5") in (200, 429)
    assert not is_in(guesser)
    assert sign_in(owner) == 302


def test_guessing_from_many_addresses_is_slowed_too(sam: User) -> None:
    client = Client()
    for n in range(30):
        client.post("/login", {"login": "sam", "password": "x"}, REMOTE_ADDR=f"203.0.113.{n}")
    answer = client.post("/login", {"login": "sam", "password": WORD}, REMOTE_ADDR="203.0.113.99")
    assert answer.status_code in (200, 429)
    assert not is_in(client)
    assert is_in(signed_in(sam)), "a login link still works"


def test_guesses_elsewhere_do_not_lock_an_owner_out_of_a_known_browser(sam: User) -> None:
    home = Client()
    sign_in(home)
    home.post("/logout")
    for n in range(40):
        sign_in(Client(), ("sam", "sam@example.com")[n % 2], "wrong", REMOTE_ADDR=f"10.9.8.{n}")
    refused = Client()
    sign_in(refused, REMOTE_ADDR="10.9.9.9")
    assert not is_in(refused), "a browser that nobody knows waits"
    sign_in(home)
    assert is_in(home)


def test_a_made_up_or_foreign_device_mark_is_worth_nothing(sam: User, team: Team) -> None:
    other = Client()
    make_user("kim", team=team)
    other.post(f"/login/link/{people.new_login_link(User.objects.get(username='kim'))}")
    request = RequestFactory().get("/")
    for mark in (other.cookies["device"].value, "x", "WzEsMV0:x:y", ""):
        request.COOKIES["device"] = mark
        assert devices.known(request, sam) == ""
    assert devices.known(request, None) == ""


def test_signing_in_often_is_no_guessing(sam: User) -> None:
    for n in range(32):
        client = Client()
        sign_in(client, REMOTE_ADDR=f"10.9.8.{n}")
        assert is_in(client)


def test_a_forged_forwarding_header_makes_nobody_another(settings: Any) -> None:
    request = RequestFactory().get("/", headers={"X-Forwarded-For": "1.1.1.1"}, REMOTE_ADDR="203.0.113.5")
    assert accounts.client_ip(request) == "203.0.113.5"


@pytest.mark.parametrize(
    ("trusted", "header", "seen"),
    [
        (1, "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (2, "6.6.6.6, 198.51.100.1, 10.0.0.1", "198.51.100.1"),
        (2, "198.51.100.1", "198.51.100.1"),
        (1, "<script>", "unknown"),
        (1, "", "203.0.113.5"),
    ],
)
def test_only_our_own_proxies_are_believed(
    monkeypatch: pytest.MonkeyPatch, trusted: int, header: str, seen: str
) -> None:
    monkeypatch.setattr(settings.BACKSTOP, "trusted_proxies", trusted)
    request = RequestFactory().get("/", headers={"X-Forwarded-For": header}, REMOTE_ADDR="203.0.113.5")
    assert accounts.client_ip(request) == seen


# --- A2 --------------------------------------------------------------------------------------------------------------
def test_a_form_without_its_token_is_refused(sam: User) -> None:
    client = Client(enforce_csrf_checks=True)
    for path in ("/login", f"/login/link/{people.new_login_link(sam)}", "/logout"):
        assert client.post(path, {"login": "sam", "password": WORD}).status_code == 403
    assert not is_in(client)
    assert not LoginLink.objects.exclude(used_at=None).exists()


@pytest.mark.parametrize("origin", ["https://evil.test", "null"])
def test_a_form_of_another_origin_is_refused(sam: User, origin: str) -> None:
    client = Client(enforce_csrf_checks=True)
    page = client.get("/login")
    token = re.search(r'name="?\'?csrfmiddlewaretoken"?\'? value=[\'"]([^\'"]+)', page.content.decode())
    assert token
    form = {"login": "sam", "password": WORD, "csrfmiddlewaretoken": token[1]}
    assert client.post("/login", form, headers={"Origin": origin}).status_code == 403
    assert client.post("/login", form).status_code == 302


def test_the_session_cookie_is_kept_from_scripts_and_other_sites(sam: User, client: Client) -> None:
    sign_in(client)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


# --- A3 --------------------------------------------------------------------------------------------------------------
def test_a_session_ends_after_twelve_idle_hours(sam: User, client: Client) -> None:
    with time_machine.travel("2026-11-21T03:00:00Z", tick=False) as now:
        sign_in(client)
        now.shift(timedelta(hours=11, minutes=59))
        assert is_in(client)
        now.shift(timedelta(hours=11, minutes=59))
        assert is_in(client)
        now.shift(timedelta(hours=12, seconds=1))
        assert not is_in(client)


def test_a_session_ends_after_a_week_of_clicking(sam: User, client: Client) -> None:
    with time_machine.travel("2026-11-21T03:00:00Z", tick=False) as now:
        sign_in(client)
        for _ in range(14):
            now.shift(timedelta(hours=11, minutes=59))
            assert is_in(client)
        now.shift(timedelta(minutes=15))
        assert not is_in(client)


def test_a_remembered_device_stays_for_a_month(sam: User, client: Client) -> None:
    with time_machine.travel("2026-11-21T03:00:00Z", tick=False) as now:
        sign_in(client, remember="on")
        now.shift(timedelta(days=29))
        assert is_in(client)
        now.shift(timedelta(days=2))
        assert not is_in(client)


def test_a_changed_password_ends_the_other_sessions(sam: User) -> None:
    here, elsewhere = Client(), Client()
    sign_in(here)
    sign_in(elsewhere)
    new = "another long enough word"
    answer = here.post("/password", {"oldpassword": WORD, "password1": new, "password2": new})
    assert answer.status_code == 302
    assert is_in(here)
    assert not is_in(elsewhere)


def test_a_switched_off_account_is_out_at_the_next_click(sam: User, client: Client) -> None:
    sign_in(client)
    people.set_active(sam, active=False, actor=ENGINE)
    assert not is_in(client)
    assert sign_in(client) == 200


def test_a_lost_role_is_gone_at_the_next_click(sam: User, team: Team, client: Client) -> None:
    sign_in(client)
    assert client.get(f"/version/team/{team.slug}").status_code == 200
    make_user(team=team, roles=["admin"])
    people.set_roles(sam, team=team, roles=[], actor=ENGINE)
    assert client.get(f"/version/team/{team.slug}").status_code == 404


def test_signing_out_is_by_post_only(sam: User, client: Client) -> None:
    sign_in(client)
    client.get("/logout")
    assert is_in(client)
    client.post("/logout")
    assert not is_in(client)


def test_a_password_change_wants_a_fresh_proof(sam: User, client: Client) -> None:
    with time_machine.travel("2026-11-21T03:00:00Z", tick=False) as now:
        sign_in(client)
        now.shift(timedelta(minutes=10))
        assert client.get("/password")["Location"].startswith("/reauthenticate")
        assert client.post("/reauthenticate", {"password": "wrong"}).status_code == 200
        assert client.get("/password").status_code == 302
        assert client.post("/reauthenticate", {"password": WORD}).status_code == 302
        assert client.get("/password").status_code == 200


def test_a_person_without_a_password_sets_one_right_after_a_link(team: Team) -> None:
    user = make_user("kim", team=team)
    with time_machine.travel("2026-11-21T03:00:00Z", tick=False) as now:
        client = signed_in(user)
        now.shift(timedelta(minutes=11))
        assert client.post("/password/set", {"password1": WORD, "password2": WORD}).status_code == 403
        assert client.get("/reauthenticate").status_code == 403
        client = signed_in(user)
        assert client.post("/password/set", {"password1": WORD, "password2": WORD}).status_code == 302
    user.refresh_from_db()
    assert user.check_password(WORD)


# --- login links, A4 -------------------------------------------------------------------------------------------------
def test_opening_a_link_does_not_use_it_up(sam: User, client: Client) -> None:
    path = f"/login/link/{people.new_login_link(sam)}"
    for _ in range(3):
        page = client.get(path)
        assert page.status_code == 200
        assert "<form" in page.content.decode()
        # Not "no-referrer": a browser would send `Origin: null` with the form, and be refused (Chromium does).
        assert page["Referrer-Policy"] == "same-origin"
        assert not is_in(client)
    assert client.post(path).status_code == 302
    assert is_in(client)
    assert Client().post(path).status_code == 410
    assert Client().get(path).status_code == 410


def test_an_unknown_link_is_told_what_to_do(db: None, client: Client) -> None:
    page = client.get("/login/link/nonsense")
    assert page.status_code == 404
    assert "login_link" in page.content.decode()


@pytest.mark.parametrize("wanted", ["//evil.test", "/\\evil.test", "https://me.test@evil.test", "https://evil.test"])
def test_it_goes_to_no_other_host_after_signing_in(sam: User, wanted: str) -> None:
    link = f"/login/link/{people.new_login_link(sam)}"
    assert Client().post(link, {"next": wanted})["Location"] == "/"
    assert Client().post("/login", {"login": "sam", "password": WORD, "next": wanted})["Location"] == "/"


def test_it_goes_back_to_where_the_visitor_wanted(sam: User, client: Client) -> None:
    refused = client.get("/version/home/me?x=1", headers={"Accept": "text/html"})
    assert refused.status_code in (302, 401)
    link = f"/login/link/{people.new_login_link(sam)}"
    assert client.post(link, {"next": "/incidents/4"})["Location"] == "/incidents/4"


def test_nobody_signs_up(db: None, client: Client) -> None:
    assert client.get("/signup").status_code == 403
    assert client.post("/signup", {"username": "x", "email": "x@example.com"}).status_code == 403
    assert not User.objects.exists()


# --- room for what comes later ---------------------------------------------------------------------------------------
class SecondFactor:
    """The stage that allauth.mfa will put between the first proof and the session."""

    key = "second_factor"

    def __init__(self, controller: object, request: object, login: object) -> None:
        """allauth makes one for every sign-in."""

    def handle(self) -> tuple[HttpResponse, bool]:
        """Ask for the code."""
        return HttpResponseRedirect("/code"), True


def test_a_second_factor_stands_before_passwords_and_links_alike(sam: User, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = f"{__name__}.SecondFactor"
    monkeypatch.setattr(accounts.Adapter, "get_login_stages", lambda self: [stage])
    monkeypatch.setattr("allauth.account.stages.import_callable", lambda path: {stage: SecondFactor}[path])
    by_word, by_link = Client(), Client()
    answer = by_word.post("/login", {"login": "sam", "password": WORD})
    assert (answer.status_code, answer["Location"]) == (302, "/code")
    assert by_link.post(f"/login/link/{people.new_login_link(sam)}")["Location"] == "/code"
    assert not is_in(by_word)
    assert not is_in(by_link)


def test_a_link_signs_the_one_before_out(sam: User, team: Team, client: Client) -> None:
    sign_in(client)
    kim = make_user("kim", team=team)
    client.post(f"/login/link/{people.new_login_link(kim)}")
    assert "kim" in client.get("/account").content.decode()
    assert client.get("/password/set").status_code == 200, "the link is a fresh proof of the new one"


# --- A10 -------------------------------------------------------------------------------------------------------------
def test_no_page_can_be_framed(db: None, client: Client) -> None:
    page = client.get("/login")
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"]
    assert page["X-Frame-Options"] == "DENY"
    assert page["X-Content-Type-Options"] == "nosniff"
    assert make_team().pk
