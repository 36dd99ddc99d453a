"""Endpoints, connections, people, account, services, runbooks: their forms do what they say."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from catalog import team_secrets
from catalog.models import ApiToken, Change, Connection, Secret, Team, User
from incidents.models import ActionItem, Delivery, Endpoint
from runbooks.models import Runbook
from tests.factories import make_service, make_user
from tests.factories_runbooks import make_runbook
from tests.factories_web import Program, make_world

pytestmark = pytest.mark.django_db
BOOK = """spec: 1
id: look_around
title: Look around
incident_type: other
owner: role:oncall
inputs:
  who: {type: string, description: Who looks}
phases:
  check:
    - {id: look, manual: "Look, {{ inputs.who }}", fields: {seen: {type: integer, min: 0, max: 9}}}
"""


@pytest.fixture
def admin(team: Team, client: Client) -> User:
    user = make_user("anna", team=team)
    client.force_login(user)
    return user


def test_it_makes_an_endpoint_and_takes_a_test_alert(client: Client, admin: User, team: Team) -> None:
    answer = client.post("/endpoints/new", {"source": "generic", "name": "First", "team": team.slug})
    made = Endpoint.objects.get()
    assert answer["Location"] == f"/endpoints/{made.pk}"
    assert "/hooks/generic/" in client.get(f"/endpoints/{made.pk}").content.decode()
    client.post(f"/endpoints/{made.pk}/test")
    delivery = Delivery.objects.get(endpoint=made)
    assert client.get(f"/deliveries/{delivery.uuid}").status_code == 200
    assert client.get(f"/deliveries/{delivery.uuid}/raw")["Content-Disposition"].startswith("attachment")


def test_it_changes_the_mapping_and_the_service_of_an_endpoint(client: Client, admin: User, team: Team) -> None:
    client.post("/endpoints/new", {"source": "generic", "name": "First", "team": team.slug})
    made, service = Endpoint.objects.get(), make_service(team, "rag-chat")
    address = f"/endpoints/{made.pk}/configure"
    mapping = '{"mapping": {"title": "{{ payload.name }}"}}'
    assert client.post(address, {"config": mapping, "service": "rag-chat"}).status_code == 302
    made.refresh_from_db()
    assert (made.config["mapping"], made.service) == ({"title": "{{ payload.name }}"}, service)
    for config, says in [
        ('{"mapping": {"title": "{{ payload.x( }}"}}', "cannot be used"),
        ('{"maping": {}}', "no setting"),
        ('{"max_open_incidents": 0}', "from 1 to 10,000"),
        ("{", "line 1, column 2"),
    ]:
        answer = client.post(address, {"config": config})
        assert (answer.status_code, says in answer.content.decode()) == (422, True), config
    assert Endpoint.objects.get().config == made.config


def test_it_asks_for_signatures_and_stops_asking(client: Client, admin: User, team: Team) -> None:
    client.post("/endpoints/new", {"source": "github", "name": "First", "team": team.slug})
    address = f"/endpoints/{Endpoint.objects.get().pk}"
    assert client.post(f"{address}/signature", {"secret": "short"}).status_code == 422
    assert client.post(f"{address}/signature", {"secret": "a-secret-of-the-sender"}).status_code == 302
    assert "a-secret-of-the-sender" in client.get(address).content.decode()
    client.force_login(make_user("vic", team=team, roles=["viewer"]))
    assert "a-secret-of-the-sender" not in client.get(address).content.decode()
    client.force_login(admin)
    client.post(f"{address}/signature", {"drop": "1"})
    assert not bytes(Endpoint.objects.get().signing_secret_encrypted)


def test_it_shows_the_token_to_nobody_else(client: Client, admin: User, team: Team) -> None:
    client.post("/endpoints/new", {"source": "generic", "name": "First", "team": team.slug})
    client.force_login(make_user("vic", team=team, roles=["viewer"]))
    assert "/hooks/generic/" not in client.get(f"/endpoints/{Endpoint.objects.get().pk}").content.decode()


def test_it_never_shows_a_secret_again(client: Client, admin: User, team: Team) -> None:
    fields = {
        "team": team.slug,
        "connector": "prometheus",
        "slug": "prom",
        "config": '{"url": "https://prometheus.example.com"}',
        "secrets": '{"bearer": "very-secret-token-value"}',
    }
    answer = client.post("/connections/new", fields)
    assert answer.status_code == 302, answer.content.decode()[-3000:]
    page = client.get(f"/connections/{team.slug}/prom").content.decode()
    assert "very-secret-token-value" not in page
    assert "stored, and shown nowhere" in page
    before = bytes(Connection.objects.get().secrets_encrypted)
    client.post(f"/connections/{team.slug}/prom", {"config": fields["config"], "secrets": ""})
    assert bytes(Connection.objects.get().secrets_encrypted) == before


def test_it_names_the_line_of_broken_settings(client: Client, admin: User, team: Team) -> None:
    fields = {"team": team.slug, "connector": "prometheus", "slug": "prom", "config": '{"url": }', "secrets": ""}
    answer = client.post("/connections/new", fields)
    assert answer.status_code == 422
    assert "line 1, column 9" in answer.content.decode()


def test_it_asks_for_a_fresh_sign_in_before_a_token(client: Client, admin: User) -> None:
    client.post("/account/tokens", {"name": "ci", "scopes": ["read"], "days": "30"})
    assert not ApiToken.objects.exists()


def test_it_switches_shortcuts_off(client: Client, admin: User) -> None:
    client.post("/account/shortcuts")
    assert 'data-shortcuts="off"' in client.get("/account").content.decode()


def test_it_records_a_change_by_hand(client: Client, admin: User, team: Team) -> None:
    make_service(team, "rag-chat")
    answer = client.post("/services/rag-chat/changes", {"kind": "prompt", "summary": "Shorter prompt"})
    assert answer.status_code == 302
    assert Change.objects.get().summary == "Shorter prompt"


def test_it_keeps_publishes_starts_and_answers_a_runbook(client: Client, admin: User, team: Team) -> None:
    fields = {"text": BOOK.replace("\n", "\r\n"), "team": team.slug, "note": "first"}
    assert client.post("/runbooks/new", fields).status_code == 302
    book = Runbook.objects.get(slug="look_around")
    assert book.revisions.get().text == BOOK
    assert client.post("/runbooks/look_around/revisions/1/publish").status_code == 302
    answer = client.post("/runbooks/look_around/start", {"team": team.slug, "in-who": ""})
    assert answer.status_code == 422
    answer = client.post("/runbooks/look_around/start", {"team": team.slug, "in-who": "Ada", "incident": ""})
    run = book.runs.get()
    assert answer["Location"] == f"/runs/{run.uuid}"
    assert "Look, Ada" in client.get(f"/runs/{run.uuid}").content.decode()
    wrong = client.post(f"/runs/{run.uuid}/steps/look/0/answer", {"decision": "done", "in-seen": "99"})
    assert wrong.status_code == 422
    client.post(f"/runs/{run.uuid}/steps/look/0/answer", {"decision": "done", "in-seen": "3"})
    assert run.steps.get().verdict == "pass"


def test_it_shows_findings_with_line_and_column(client: Client, admin: User, team: Team) -> None:
    page = client.post(
        "/runbooks/new", {"text": BOOK + "surprise: 1\n", "team": team.slug, "check": "1"}
    ).content.decode()
    assert "data-goto=" in page
    assert "surprise" in page
    assert not Runbook.objects.exists()


def test_it_edits_and_ends_an_action_item(client: Client) -> None:
    world = make_world()
    client.force_login(world.member)
    address = f"/actions/{world.item.uuid}"
    assert client.post(f"{address}/commit").status_code == 302
    assert client.post(f"{address}/complete").status_code == 302
    assert client.post(f"{address}/explode").status_code == 404
    world.item.refresh_from_db()
    assert world.item.state == "done"
    fields = {"title": "Add German cases", "kind": "prevent", "priority": "1", "owner": "", "due_on": ""}
    assert client.post(f"/actions/new/{world.incident.number}", fields).status_code == 422
    fields |= {"owner": world.member.username, "due_on": "2027-01-01"}
    assert client.post(f"/actions/new/{world.incident.number}", fields).status_code == 302
    assert ActionItem.objects.filter(title="Add German cases").exists()


def test_it_shows_both_texts_when_two_people_edit(client: Client) -> None:
    world = make_world()
    client.force_login(world.member)
    address = f"/postmortems/{world.incident.number}/edit"
    edition = str(world.postmortem.edition)
    client.post(address, {"body": "the first one's text", "edition": edition})
    answer = client.post(address, {"body": "the second one's words", "edition": edition})
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "the first one&#39;s text" in page
    assert "the second one" in page
    world.postmortem.refresh_from_db()
    assert "first one" in world.postmortem.body


def test_rows_are_compact_for_whom_wants_them_so(client: Client, admin: User) -> None:
    assert 'data-rows="compact"' not in client.get("/incidents").content.decode()
    client.post("/account/density")
    assert 'data-rows="compact"' in client.get("/incidents").content.decode()
    client.post("/account/density")
    assert 'data-rows="compact"' not in client.get("/incidents").content.decode()


def test_it_hides_a_sensitive_input_in_form_and_run(client: Client, admin: User, team: Team) -> None:
    head = "inputs:\n  who: {type: string}\n  code: {type: string, sensitive: true}\n"
    make_runbook(team, BOOK.partition("phases:\n")[2], slug="look_in", head=head)
    page = client.get("/runbooks/look_in?in-code=typed-by-hand&code=typed-by-hand").content.decode()
    assert 'type="password" name="in-code"' in page
    assert "typed-by-hand" not in page.partition('name="in-code"')[2].partition(">")[0]
    wrong = client.post("/runbooks/look_in/start", {"team": team.slug, "in-who": "", "in-code": "typed-by-hand"})
    assert (wrong.status_code, "typed-by-hand" in wrong.content.decode()) == (422, False)
    answer = client.post("/runbooks/look_in/start", {"team": team.slug, "in-who": "Ada", "in-code": "typed-by-hand"})
    page = client.get(answer["Location"]).content.decode()
    assert ("•••" in page, "typed-by-hand" in page) == (True, False)


def test_it_keeps_replaces_and_deletes_a_secret_and_shows_it_to_nobody(client: Client, admin: User, team: Team) -> None:
    fields = {"team": team.slug, "name": "upstream", "value": "value-for-the-upstream"}
    assert client.post("/secrets/keep", fields)["Location"] == "/secrets"
    steps = "  check:\n    - {id: a, check: result.test, with: {value: {secret: upstream}}, pass_if: value == 1}\n"
    make_runbook(team, steps, slug="uses_it")
    page = client.get("/secrets").content.decode()
    assert ("upstream" in page, "kept by" in page, "/runbooks/uses_it" in page) == (True, True, True)
    assert fields["value"] not in page
    short = client.post("/secrets/keep", fields | {"value": "short"})
    assert (short.status_code, "cannot be hidden safely" in short.content.decode()) == (422, True)
    assert team_secrets.reveal(team, "upstream") == fields["value"]
    client.force_login(make_user("vic", team=team, roles=["viewer"]))
    assert "/secrets/keep" not in client.get("/secrets").content.decode()
    assert client.post(f"/secrets/{team.slug}/upstream/delete").status_code == 403
    client.force_login(admin)
    client.post(f"/secrets/{team.slug}/upstream/delete")
    assert not Secret.objects.exists()
    assert client.post(f"/secrets/{team.slug}/upstream/delete").status_code == 302


def test_the_api_keeps_a_secret_and_tells_its_name_only(client: Client, admin: User, team: Team) -> None:
    program = Program(admin)
    kept = program.call("PUT", f"secrets/{team.slug}/upstream", {"value": "value-for-the-upstream"})
    assert (kept.status_code, set(json.loads(kept.content))) == (201, {"name", "team", "kept_by", "kept_at"})
    assert program.call("PUT", f"secrets/{team.slug}/upstream", {"value": "another-value"}).status_code == 200
    listed = program.get("secrets")
    assert [row["name"] for row in json.loads(listed.content)["items"]] == ["upstream"]
    assert b"value" not in listed.content
    assert program.call("PUT", f"secrets/{team.slug}/upstream", {"value": "short"}).status_code == 422
    assert program.call("DELETE", f"secrets/{team.slug}/upstream").status_code == 200
    assert program.call("DELETE", f"secrets/{team.slug}/upstream").status_code == 404
