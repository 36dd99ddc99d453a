"""Who is here, and for how long."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog import presence
from catalog.models import Presence, User
from common import clock
from tests.factories import make_user

pytestmark = pytest.mark.django_db
START = datetime.fromisoformat("2026-11-21T03:02:00+00:00")


def at(seconds: int, username: str, key: str = "42") -> bool:
    """That person's page is open at that second."""
    user = User.objects.filter(username=username).first() or make_user(username)
    with clock.replaced(lambda: START + timedelta(seconds=seconds)):
        return presence.seen(user, "incident", key)


def here(seconds: int, key: str = "42") -> list[str]:
    """Who is here at that second."""
    with clock.replaced(lambda: START + timedelta(seconds=seconds)):
        return [user.username for user in presence.here("incident", key)]


def test_readers_are_here_while_their_pages_tell_so() -> None:
    at(0, "zoe")
    at(5, "adam")
    at(6, "eve", key="43")
    assert here(10) == ["zoe", "adam"], "who came first first, and nobody of another incident"
    at(30, "adam")
    assert here(45) == ["adam"]
    assert here(90) == []


def test_who_was_away_comes_anew() -> None:
    at(0, "zoe")
    at(30, "adam")
    at(60, "zoe")
    assert here(61) == ["adam", "zoe"]


def test_it_writes_at_most_once_in_fifteen_seconds() -> None:
    assert at(0, "zoe")
    assert not at(14, "zoe")
    assert at(15, "zoe")
    assert Presence.objects.count() == 1


def test_asking_costs_one_query() -> None:
    for name in ("a", "b", "c"):
        at(0, name)
    with CaptureQueriesContext(connection) as asked:
        assert here(1) == ["a", "b", "c"]
    assert len(asked) == 1


def test_one_may_ask_who_else_is_here() -> None:
    zoe = make_user("zoe")
    presence.seen(zoe, "incident", "42")
    assert presence.here("incident", "42") == [zoe]
    assert presence.here("incident", "42", but=zoe) == []
    zoe.is_active = False
    zoe.save(update_fields=["is_active"])
    assert presence.here("incident", "42") == []


def test_old_rows_are_thrown_away() -> None:
    at(0, "zoe")
    at(7200, "adam")
    assert presence.tidy(START + timedelta(hours=25)) == 1
    assert [row.user.username for row in Presence.objects.all()] == ["adam"]
