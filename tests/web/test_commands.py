"""login_link, api_token and endpoint: what other tools read from them."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from catalog import people
from catalog.models import Team
from incidents.models import Endpoint
from tests.factories import make_service, make_user


def said(*words: str) -> str:
    """What a command prints."""
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_last_word_of_login_link_is_the_link(client: Client) -> None:
    link = said("login_link").split()[-1]
    assert link.startswith("http://127.0.0.1:8000/login/link/")
    page = client.get(link.removeprefix("http://127.0.0.1:8000"))
    assert page.status_code == 200
    assert "admin" in page.content.decode().lower()


def test_login_link_names_who_is_known(team: Team) -> None:
    make_user("sam", team=team)
    assert said("login_link", "--user", "Sam")
    with pytest.raises(CommandError, match="sam"):
        said("login_link", "--user", "nobody")


def test_api_token_prints_a_token_that_works(team: Team) -> None:
    make_user("sam", team=team)
    words = ["api_token", "create", "--user", "sam", "--name", "ci", "--scopes", "read,runs:write"]
    told = json.loads(said(*words, "--json"))
    assert people.token_actor(told["token"]).label == "sam (token ci)"
    assert told["scopes"] == ["read", "runs:write"]
    assert said(*words).startswith("bs_")


@pytest.mark.parametrize("scopes", ["", "everything", "read,root"])
def test_api_token_refuses_unknown_scopes(team: Team, scopes: str) -> None:
    make_user("sam", team=team)
    with pytest.raises(CommandError, match="scopes"):
        said("api_token", "create", "--user", "sam", "--name", "ci", "--scopes", scopes)


def test_endpoint_prints_an_address_that_takes_alerts(team: Team, tmp_path: Path, client: Client) -> None:
    make_service(team, "rag")
    words = ["endpoint", "create", "--source", "alertmanager", "--team", team.slug, "--json"]
    told = json.loads(said(*words, "--name", "am", "--service", "rag"))
    assert set(told) == {"url", "path", "token", "id"}
    assert told["url"].endswith(told["path"])
    assert Endpoint.objects.get(pk=told["id"]).service is not None
    assert client.post(told["path"], "{}", content_type="application/json").status_code == 202
    with pytest.raises(CommandError):
        said(*words, "--name", "am2", "--config", str(tmp_path / "none.json"))


def test_the_pagerduty_endpoint_is_its_own_address(team: Team) -> None:
    words = ["endpoint", "create", "--source", "pagerduty-events", "--team", team.slug, "--name", "pd", "--json"]
    assert json.loads(said(*words))["path"] == "/v2/enqueue"


@pytest.mark.parametrize("flags", [["--source", "nosuch"], ["--team", "nosuch"], ["--service", "nosuch"]])
def test_endpoint_says_what_is_unknown(team: Team, flags: list[str]) -> None:
    words = {"--source": "alertmanager", "--team": team.slug, "--name": "x"} | {flags[0]: flags[1]}
    with pytest.raises(CommandError, match="nosuch"):
        said("endpoint", "create", *[word for pair in words.items() for word in pair])
