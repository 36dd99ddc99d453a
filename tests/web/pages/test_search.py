"""Search finds by words what the reader's teams have, and tells nothing of what others have."""

from __future__ import annotations

import json
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.actors import person
from catalog.models import User
from incidents.models import Postmortem
from runbooks.models import Runbook
from tests.factories import make_incident, make_service, make_team, make_user
from tests.factories_runbooks import make_runbook
from tests.factories_web import MARK, Program, make_world, signed_in
from web.search import MOST, search

pytestmark = pytest.mark.django_db


def found(user: User, words: str) -> list[str]:
    """Kind and key of what that person finds."""
    return [f"{one.kind} {one.key}" for group in search(words, person(user)) for one in group.found]


def test_it_finds_every_kind_by_a_word() -> None:
    world = make_world()
    keys = [f"incident {world.incident.key}", f"postmortem {world.incident.key}", f"service {world.service.slug}"]
    assert found(world.member, MARK) == [*keys, f"runbook {world.runbook.slug}", f"person {world.member.username}"]


def test_all_words_must_occur_wherever_they_stand() -> None:
    team = make_team()
    user, service = make_user(team=team), make_service(team, "rag-chat")
    both = make_incident(team, service, title="Latency rose", summary="The cache was cold")
    make_incident(team, service, title="Latency rose", summary="The queue was long")
    assert found(user, "CACHE latency") == [f"incident {both.key}"]
    assert found(user, "rag-chat cold") == [f"incident {both.key}"]
    assert found(user, "cache 100 %") == []


def test_titles_come_before_texts() -> None:
    team = make_team()
    user = make_user(team=team)
    titled = make_incident(team, title="Embedder drifts")
    told = make_incident(team, title="Answers got worse", summary="The embedder drifts")
    assert found(user, "embedder") == [f"incident {titled.key}", f"incident {told.key}"]


def test_a_number_finds_the_incident_and_its_key_goes_straight_there() -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    client = signed_in(user)
    assert found(user, str(incident.number)) == [f"incident {incident.key}"]
    answer = client.get("/search", {"q": f" {incident.key.lower()} "})
    assert (answer.status_code, answer["Location"]) == (302, f"/incidents/{incident.number}")


def test_of_others_it_tells_neither_titles_nor_counts_nor_that_they_are_there() -> None:
    world = make_world()
    stranger = make_user(team=make_team())
    assert found(stranger, MARK) == []
    client = signed_in(stranger)
    theirs, never = (client.get("/search", {"q": q}) for q in (world.incident.key, "INC-999999"))
    assert theirs.status_code == never.status_code == 200
    shown = [re.sub(r"INC-\d+|req_\w+|value=\"[^\"]+\"", "", page.content.decode()) for page in (theirs, never)]
    assert re.findall(r"<h2>.*?</h2>", shown[0]) == re.findall(r"<h2>.*?</h2>", shown[1])
    assert MARK not in shown[0]


def test_colleagues_of_another_team_are_not_found() -> None:
    mine, other = make_team(), make_team()
    user, both = make_user(team=mine), make_user("both", team=mine)
    make_user("zqelsewhere", team=other)
    both.memberships.create(team=other, roles=["viewer"])
    assert found(user, "zqelsewhere") == []
    assert found(both, "zqelsewhere") == ["person zqelsewhere"]


def test_a_postmortem_is_found_by_its_text_and_a_shipped_runbook_by_everybody() -> None:
    world = make_world()
    Postmortem.objects.filter(pk=world.postmortem.pk).update(body="# The tokenizer had changed")
    shipped = make_runbook(world.team, "  check:\n    - {id: look, manual: look}\n", slug="tokenizer_check")
    Runbook.objects.filter(pk=shipped.pk).update(team=None)
    assert found(world.member, "tokenizer") == [f"postmortem {world.incident.key}", f"runbook {shipped.slug}"]


@pytest.mark.parametrize("words", ["", "   ", "%", "_", "x" * 5000, "\u0000", "' OR 1=1 --", "zq " * 500, "INC-", "²"])
def test_odd_words_find_nothing_and_break_nothing(words: str) -> None:
    team = make_team()
    user = make_user(team=team)
    make_incident(team, title="Plain")
    assert found(user, words) == []
    assert signed_in(user).get("/search", {"q": words.replace("\u0000", "")}).status_code == 200


def test_it_asks_as_often_for_many_as_for_one_and_shows_ten() -> None:
    team = make_team()
    user = make_user(team=team)
    counts = []
    for more in (1, 30):
        for _ in range(more):
            make_incident(team, make_service(team), title="Drifts")
        with CaptureQueriesContext(connection) as asked:
            keys = found(user, "drifts")
        counts.append(len(asked))
    assert counts[0] == counts[1]
    assert len(keys) == MOST
    assert "All that fit" in signed_in(user).get("/search", {"q": "drifts"}).content.decode()


def test_programs_find_the_same() -> None:
    world = make_world()
    items = json.loads(Program(world.member).get(f"search?q={MARK}").content)["items"]
    assert [f"{item['kind']} {item['key']}" for item in items] == found(world.member, MARK)
    assert items[0]["url"] == f"/incidents/{world.incident.number}"
    nothing = Program(make_user(team=make_team())).get(f"search?q={MARK}").content
    assert json.loads(nothing) == {"items": []}
