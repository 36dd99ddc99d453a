"""The test button of an address: a person's own, and a team's."""

from __future__ import annotations

import pytest
from django.urls import reverse

from catalog.models import Team
from tests.factories import make_user
from tests.factories_postmortems import make_address
from tests.factories_web import signed_in
from tests.fakes import web

pytestmark = pytest.mark.django_db


def test_it_sends_a_test_to_ones_own_address(team: Team) -> None:
    with web.serve(lambda asked: web.Reply()) as sink:
        user = make_user("sam", team=team, roles=["viewer"])
        address = make_address(sink.url, user=user)
        client = signed_in(user)
        assert f'action="{reverse("address_test", args=[address.pk])}"' in client.get("/account").content.decode()
        answer = client.post(reverse("address_test", args=[address.pk]), follow=True)
    assert "phone: delivered." in answer.content.decode()
    assert len(sink.asked) == 1


def test_it_says_what_went_wrong(team: Team) -> None:
    user = make_user("sam", team=team)
    address = make_address("http://127.0.0.1:9/", team=team, label="chat room")
    client = signed_in(user)
    assert "Send a test" in client.get("/people").content.decode()
    answer = client.post(reverse("address_test", args=[address.pk]), follow=True)
    assert "chat room: not delivered. The web address did not take it" in answer.content.decode()


def test_it_is_not_for_others(team: Team) -> None:
    sam, kim = make_user("sam", team=team, roles=["responder"]), make_user("kim", team=team)
    own, teams = make_address("https://a.test/1", user=kim), make_address("https://a.test/2", team=team)
    client = signed_in(sam)
    assert client.post(reverse("address_test", args=[own.pk])).status_code == 404
    assert client.post(reverse("address_test", args=[teams.pk])).status_code == 403
    assert client.post(reverse("address_test", args=[9_999])).status_code == 404
    assert client.get(reverse("address_test", args=[own.pk])).status_code == 405
