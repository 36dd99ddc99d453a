"""Setting up for real: the steps follow the rows, and a service can be described in the browser."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from catalog.models import Address, Connection, Service, Team, User
from common import clock
from incidents import endpoints
from incidents.models import Endpoint, Incident
from tests.factories import make_connection, make_service, make_team, make_user
from tests.factories_runbooks import pump

pytestmark = pytest.mark.django_db
FILE = "spec: 1\nservice: rag\ntitle: RAG\ntier: 1\n"


@pytest.fixture
def admin(client: Client) -> User:
    user = make_user("anna", team=make_team("default"))
    Team.objects.update(name="Default")
    client.force_login(user)
    return user


def steps(client: Client, path: str = "/setup") -> dict[str, str]:
    """Each step with "done", "next" or nothing."""
    page = client.get(path).content.decode()
    return {name: look.replace("is-", "") for look, name in re.findall(r'<li class="([\w-]*)" id="step-(\w+)"', page)}


def test_an_empty_product_begins_with_the_first_step(client: Client, admin: User) -> None:
    assert steps(client, "/") == steps(client)
    assert steps(client) == {
        "team": "next", "connection": "", "service": "", "endpoint": "", "alert": "", "address": ""
    }  # fmt: skip


def test_the_steps_follow_the_rows_and_leave_the_first_page_when_done(client: Client, admin: User) -> None:
    team = Team.objects.get()
    Team.objects.update(name="Search")
    assert steps(client)["connection"] == "next"
    make_connection(team, "prom")
    assert "prom was never asked yet" in client.get("/setup").content.decode()
    Connection.objects.update(healthy=True, health="Prometheus 3")
    make_service(team, "rag")
    made, _ = endpoints.create(source="generic", name="First", team=team)
    assert list(steps(client).values()) == ["done", "done", "done", "done", "next", ""]
    client.post(f"/endpoints/{made.pk}/test")
    pump()
    assert f"opened {Incident.objects.get().key}" in client.get("/setup").content.decode()
    now = clock.now()
    Address.objects.create(user=admin, label="me", channel="mail", url_encrypted=b"", url_hint="", created_at=now)
    assert steps(client)["address"] == "next"
    Address.objects.update(last_ok_at=now)
    assert set(steps(client).values()) == {"done"}
    assert steps(client, "/") == {}
    assert "Everything is in place" in client.get("/setup").content.decode()


def test_the_demo_sets_up_nothing(client: Client, admin: User) -> None:
    team = Team.objects.get()
    make_connection(team, "demo-prometheus")
    service = make_service(team, "rag-chat")
    endpoints.create(source="alertmanager", name="demo", team=team, service=service)
    assert "done" not in steps(client).values()
    assert steps(client, "/") == {}


def test_it_can_be_put_away_and_taken_out_again(client: Client, admin: User) -> None:
    client.post("/setup/hide", {"hide": "1"})
    assert steps(client, "/") == {}
    assert len(steps(client)) == 6
    client.post("/setup/hide", {})
    assert len(steps(client, "/")) == 6
    assert client.get("/setup/hide").status_code == 405


def test_who_may_set_up_nothing_sees_no_steps(client: Client, admin: User) -> None:
    client.force_login(make_user("vic", team=Team.objects.get(), roles=["viewer"]))
    assert steps(client, "/") == {}
    assert "You may not set up anything" in client.get("/setup").content.decode()


def test_another_teams_steps_are_not_shown(client: Client, admin: User) -> None:
    make_connection(make_team("elsewhere"), "secret-prom")
    page = client.get("/setup?team=elsewhere").content.decode()
    assert "secret-prom" not in page
    assert "Set up <bdi>Default" in page


def test_a_service_is_loaded_from_what_is_typed(client: Client, admin: User) -> None:
    answer = client.post("/services/new", {"text": FILE.replace("\n", "\r\n"), "team": "default"})
    assert answer["Location"] == "/services/rag"
    again = client.post("/services/new", {"text": FILE.replace("RAG", "Answers"), "team": "default"})
    assert (again.status_code, Service.objects.get().title) == (302, "Answers")


def test_a_chosen_file_takes_the_place_of_the_text(client: Client, admin: User) -> None:
    file = SimpleUploadedFile("rag.yaml", FILE.replace("tier", "teir").encode())
    answer = client.post("/services/new", {"text": "x", "team": "default", "file": file})
    page = answer.content.decode()
    assert (answer.status_code, "teir: 1" in page, "SV001" in page) == (422, True, True)
    file = SimpleUploadedFile("rag.yaml", FILE.encode())
    assert client.post("/services/new", {"text": "x", "team": "default", "file": file}).status_code == 302


@pytest.mark.parametrize(
    "text",
    ["", "spec: 1", "[", "a: " + "x" * 300_000, FILE + "depends_on: [x]\n", FILE + "signals: 5\n", "service: ../x\n"],
    ids=range(7),
)
def test_a_faulty_file_is_told_by_place_and_kept_on_the_page(client: Client, admin: User, text: str) -> None:
    answer = client.post("/services/new", {"text": text, "team": "default"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "data-goto" in page.partition("<template")[0] or "Write the file here" in page
    assert not Service.objects.exists()
    found = client.post("/services/new/lint", {"text": text, "team": "default"}).json()
    assert (found["errors"] > 0) is bool(text)


def test_what_is_no_text_is_refused_as_a_file(client: Client, admin: User) -> None:
    file = SimpleUploadedFile("rag.yaml", b"\xff\xfe\x00s")
    answer = client.post("/services/new", {"text": FILE, "team": "default", "file": file})
    assert (answer.status_code, "This is not UTF-8 text" in answer.content.decode()) == (422, True)


def test_a_person_loads_for_teams_of_theirs_alone_and_learns_nothing_of_others(client: Client, admin: User) -> None:
    other = make_team("elsewhere")
    make_service(other, "theirs")
    make_user("zoe", team=other)
    for text, words in [
        (FILE + "team: elsewhere\n", "and you load it for `default`"),
        (FILE.replace("rag", "theirs"), "belongs to another team"),
        (FILE + "depends_on: [theirs]\n", "There is no service `theirs`"),
        (FILE + "depends_on: [their]\n", "There is no service `their`"),
        (FILE + "default_owner: zoe\n", "There is no user `zoe`"),
    ]:
        page = client.post("/services/new", {"text": text, "team": "default"}).content.decode()
        assert words.replace("`", "&#96;") in page or words in page, words
        assert "Did you mean" not in page
    assert client.post("/services/new", {"text": FILE, "team": "elsewhere"}).status_code == 422
    assert client.post("/services/new/lint", {"text": FILE, "team": "elsewhere"}).status_code == 404
    assert Service.objects.get().team == other
    assert not Endpoint.objects.exists()
