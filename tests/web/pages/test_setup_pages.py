"""Endpoints, people, account, guide and "how it runs": what they tell, and what they keep."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client

from catalog.models import Address, Team, User
from catalog.permissions import ROLES
from common import clock
from incidents import endpoints, intake
from incidents.models import Delivery, Endpoint, Incident
from runbooks.models import Worker
from tests.factories import make_team, make_user
from tests.factories_runbooks import pump
from tests.factories_web import MARK, make_world
from web.pages.guide import guide

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(team: Team, client: Client) -> User:
    user = make_user("anna", team=team)
    client.force_login(user)
    return user


@pytest.fixture
def endpoint(team: Team) -> Endpoint:
    return endpoints.create(source="generic", name="First", team=team)[0]


def send(endpoint: Endpoint, body: bytes) -> Delivery:
    delivery, _ = intake.accept(endpoint, body=body, headers={}, content_type="application/json")
    return delivery


def test_an_endpoint_shows_what_became_of_each_delivery(client: Client, admin: User, endpoint: Endpoint) -> None:
    send(endpoint, b'{"title": "It is slow", "password": "hunter2hunter2"}')
    send(endpoint, b"not json")
    pump()
    send(endpoint, b'{"title": "Still waits"}')
    page = client.get(f"/endpoints/{endpoint.pk}").content.decode()
    for words in (Incident.objects.get().key, "It is slow", "Rejected", "Waits to be read", "Payload", "not json"):
        assert words in page, words
    assert "hunter2" not in page
    # What is not read yet is not replayed.
    assert page.count(">Replay</button>") == 2


def test_a_delivery_follows_what_becomes_of_it(client: Client, admin: User, endpoint: Endpoint) -> None:
    delivery = send(endpoint, b'{"title": "It is slow"}')
    waits = client.get(f"/deliveries/{delivery.uuid}").content.decode()
    assert f'data-live="/live/delivery/{delivery.uuid}"' in waits
    pump()
    read = client.get(f"/deliveries/{delivery.uuid}").content.decode()
    assert f"Open {Incident.objects.get().key}" in read


def test_a_refused_address_of_a_team_stays_in_its_form(client: Client, admin: User, team: Team) -> None:
    answer = client.post(f"/teams/{team.slug}/addresses", {"url": "mailto:no-such\u202eplace", "label": "Night"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="Night"' in page
    assert 'class="wrong"' in page
    assert not Address.objects.exists()


def test_people_are_told_what_each_role_may(client: Client, admin: User) -> None:
    page = client.get("/people").content.decode()
    for role in ROLES:
        assert f'<strong class="role-name">{role.capitalize()}</strong>' in page
    assert "Not: approve; who does both holds both roles" in page


def test_one_signs_out_everywhere_else(client: Client, admin: User, team: Team) -> None:
    elsewhere, stranger = Client(), Client()
    elsewhere.force_login(admin)
    stranger.force_login(make_user("ben", team=team))
    assert client.get("/account").content.decode().count("Another browser") == 1
    client.post("/account/sessions/end")
    answers = [one.get("/account").status_code for one in (client, elsewhere, stranger)]
    assert answers == [200, 302, 200]
    assert "Sign out everywhere else" not in client.get("/account").content.decode()


def test_how_it_runs_names_workers_queues_and_the_hops_of_tasks(client: Client) -> None:
    world = make_world()
    client.force_login(world.member)
    now = clock.now()
    shared = {"queues": ["checks"], "providers": ["metric.query"]}
    Worker.objects.create(name="worker@one", started_at=now, ticked_at=now, **shared)
    silent = now - timedelta(minutes=5)
    Worker.objects.create(name="worker@two", started_at=silent, ticked_at=silent, **shared)
    Worker.objects.create(name="worker@old", started_at=silent, ticked_at=now - timedelta(hours=2), **shared)
    page = client.get("/how-it-runs").content.decode()
    for words in ("worker@one", "Alive", "worker@two", "Silent", f"/deliveries/{world.delivery.uuid}", "stored"):
        assert words in page, words
    assert "worker@old" not in page
    assert 'every 3s"' in page


def test_how_it_runs_says_when_nothing_does(client: Client, admin: User) -> None:
    page = client.get("/how-it-runs/now").content.decode()
    assert "No worker ticks" in page
    assert "python manage.py worker" in page


def test_how_it_runs_shows_tasks_of_own_teams_alone(client: Client) -> None:
    make_world()
    client.force_login(make_user("zoe", team=make_team("elsewhere")))
    assert MARK not in client.get("/how-it-runs").content.decode()


def test_every_page_of_the_guide_has_a_place_and_leads_on(client: Client, admin: User) -> None:
    pages = [page.slug for chapter in guide.chapters() for page in chapter.pages]
    assert pages[:2] == ["first-ten-minutes", "connecting"]
    assert sorted(pages) == sorted(file.stem for file in guide.FOLDER.glob("*.md"))
    for slug, following in zip(pages, [*pages[1:], None], strict=True):
        told = client.get(f"/guide/{slug}").content.decode()
        assert (f'href="/guide/{following}" rel="next"' in told) is bool(following), slug


def test_links_pictures_and_anchors_of_the_guide_lead_somewhere(client: Client, admin: User) -> None:
    pages = {
        page.slug: client.get(f"/guide/{page.slug}").content.decode() for c in guide.chapters() for page in c.pages
    }
    for slug, told in pages.items():
        for source in re.findall(r'<img[^>]* src="([^"]+)"', told):
            assert client.get(source)["Content-Type"] == "image/png", f"{slug}: {source}"
        for other, anchor in re.findall(r'href="/guide/([\w-]+)#([\w-]+)"', told):
            assert f'id="{anchor}"' in pages[other], f"{slug}: {other}#{anchor}"
        for anchor in re.findall(r'href="#([\w-]+)"', told):
            assert f'id="{anchor}"' in told, f"{slug}: #{anchor}"
        assert ".md)" not in re.sub(r"<code.*?</code>|<pre.*?</pre>", "", told, flags=re.DOTALL), slug


def test_a_picture_that_is_not_there_is_not_found(client: Client, admin: User) -> None:
    assert client.get("/files/guide/nothing.png").status_code == 404
    client.logout()
    assert client.get("/files/guide/now.png").status_code == 302


def test_a_heading_inside_code_is_no_section() -> None:
    found = guide.sections("Begin\n\n## One\n\n```\n## not this\n```\n\n## Two `b`\n### Three\nEnd")
    told = [(part.id, part.level) for part in found]
    assert told == [("", 2), ("one", 2), ("two-b", 2), ("three", 3)]
