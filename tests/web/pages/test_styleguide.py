"""The page of styles shows every part in both themes."""

from __future__ import annotations

import html

import pytest
from django.test import Client

from catalog.models import Team
from tests.factories import make_user
from web.pages import words

pytestmark = pytest.mark.django_db


def test_it_shows_each_verdict_severity_and_state_once_per_theme(team: Team, client: Client) -> None:
    client.force_login(make_user("anna", team=team))
    page = html.unescape(client.get("/styleguide").content.decode())
    light, dark = page.split('class="theme-light"')[1].split('class="theme-dark"')
    for word in [*words.VERDICTS.values(), "SEV1 critical", "SEV4 low", "Waiting for Ana", "without an entry"]:
        assert word in light, word
        assert word in dark, word


def test_it_has_no_id_twice(team: Team, client: Client) -> None:
    client.force_login(make_user("anna", team=team))
    ids = [part.split('"')[0] for part in client.get("/styleguide").content.decode().split(' id="')[1:]]
    assert len(ids) == len(set(ids))
