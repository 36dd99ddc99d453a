"""What people do on an incident's page."""

from __future__ import annotations

import pytest
from django.test import Client

from catalog.models import Team, User
from incidents import lifecycle
from incidents.models import Incident, TimelineEntry
from tests.factories import make_actor, make_service, make_team, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def incident(team: Team) -> Incident:
    return lifecycle.declare(team=team, title="Answers got worse", severity=3, actor=make_actor(team))


@pytest.fixture
def responder(team: Team, client: Client) -> User:
    user = make_user("rita", team=team, roles=["responder"])
    client.force_login(user)
    return user


def act(client: Client, incident: Incident, verb: str, **fields: str) -> int:
    status = client.post(f"/incidents/{incident.number}/{verb}", fields).status_code
    incident.refresh_from_db()
    return status


def test_it_acknowledges(client: Client, incident: Incident, responder: User) -> None:
    assert act(client, incident, "acknowledge") == 302
    assert (incident.state, incident.commander) == ("acknowledged", responder)


def test_it_refuses_a_get(client: Client, incident: Incident, responder: User) -> None:
    assert client.get(f"/incidents/{incident.number}/acknowledge").status_code == 405
    incident.refresh_from_db()
    assert incident.state == "open"


def test_it_says_so_when_somebody_was_first(client: Client, incident: Incident, responder: User) -> None:
    act(client, incident, "acknowledge")
    answer = client.post(f"/incidents/{incident.number}/acknowledge")
    assert answer.status_code == 409
    assert "Request id" in answer.content.decode()


def test_it_mitigates_and_resolves_with_a_note(client: Client, incident: Incident, responder: User) -> None:
    assert act(client, incident, "mitigate", note="fallback answers") == 302
    assert act(client, incident, "resolve", note="") == 302
    assert incident.state == "resolved"
    assert incident.postmortem.due_at > incident.detected_at
    assert "fallback answers" in client.get(f"/incidents/{incident.number}").content.decode()


def test_it_reopens_only_with_a_reason(client: Client, incident: Incident, responder: User) -> None:
    act(client, incident, "resolve")
    assert act(client, incident, "reopen", reason="") == 422
    assert act(client, incident, "reopen", reason="it is back") == 302
    assert incident.state == "open"


def test_it_sets_the_severity(client: Client, incident: Incident, responder: User) -> None:
    assert act(client, incident, "severity", severity="1", reason="safety") == 302
    assert incident.severity == 1
    assert 'class="sev-band"' in client.get(f"/incidents/{incident.number}").content.decode()
    assert act(client, incident, "severity", severity="9") == 422


def test_it_binds_a_service_of_the_same_team(client: Client, incident: Incident, responder: User, team: Team) -> None:
    make_service(team, "rag-chat")
    make_service(make_team("other"), "secret-service")
    assert act(client, incident, "service", service="secret-service") == 422
    assert act(client, incident, "service", service="rag-chat") == 302
    assert incident.service
    assert incident.service.slug == "rag-chat"


def test_it_writes_a_note_at_an_earlier_time(client: Client, incident: Incident, responder: User) -> None:
    assert act(client, incident, "note", text="saw *it*", at="2026-01-02T03:04") == 302
    entry = TimelineEntry.objects.get(incident=incident, kind="note")
    assert (entry.at.isoformat(), entry.actor) == ("2026-01-02T03:04:00+00:00", responder.label)
    assert "<em>it</em>" in client.get(f"/incidents/{incident.number}/timeline").content.decode()


def test_it_keeps_what_was_typed_when_the_time_is_wrong(client: Client, incident: Incident, responder: User) -> None:
    answer = client.post(f"/incidents/{incident.number}/note", {"text": "half a thought", "at": "yesterday"})
    assert answer.status_code == 422
    assert "half a thought" in answer.content.decode()


def test_it_answers_a_note_of_the_script_with_nothing(client: Client, incident: Incident, responder: User) -> None:
    answer = client.post(f"/incidents/{incident.number}/note", {"text": "x"}, headers={"HX-Request": "true"})
    assert answer.status_code == 204


def test_it_answers_a_gate(client: Client, incident: Incident, responder: User) -> None:
    gate = lifecycle.open_gate(incident, key="k", title="Was the set extended?", blocks="close")
    assert act(client, incident, f"gates/{gate.pk}", note="") == 422
    assert act(client, incident, f"gates/{gate.pk}", note="yes, 12 cases") == 302
    gate.refresh_from_db()
    assert gate.answer == "yes, 12 cases"


def test_it_lets_a_viewer_look_only(client: Client, incident: Incident, team: Team) -> None:
    client.force_login(make_user("vera", team=team, roles=["viewer"]))
    page = client.get(f"/incidents/{incident.number}").content.decode()
    assert "Write it down" not in page
    assert act(client, incident, "acknowledge") == 403
    assert incident.state == "open"


def test_it_hides_the_incident_of_another_team(client: Client, incident: Incident) -> None:
    client.force_login(make_user("olga", team=make_team("other")))
    for verb in ("acknowledge", "note", "resolve", "severity"):
        assert act(client, incident, verb, text="x", severity="1") == 404
    assert incident.state == "open"


def test_it_escapes_what_others_wrote(client: Client, responder: User, team: Team) -> None:
    hostile = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
    found = lifecycle.declare(team=team, title=hostile, severity=2, actor=make_actor(team), summary=hostile)
    lifecycle.add_note(found, text=hostile, actor=make_actor(team))
    for path in (f"/incidents/{found.number}", "/incidents", "/", f"/incidents?q={'%3Cscript%3E'}"):
        page = client.get(path).content.decode()
        assert "<img src=x" not in page
        assert "<script>alert" not in page


def test_it_declares_from_a_filled_in_address(client: Client, responder: User, team: Team) -> None:
    page = client.get("/incidents/new?title=Costs+doubled&severity=2&drill=1").content.decode()
    assert 'value="Costs doubled"' in page
    fields = {
        "title": "Costs doubled",
        "severity": "2",
        "incident_type": "cost_explosion",
        "team": team.slug,
        "is_drill": "on",
    }
    answer = client.post("/incidents/new", fields)
    found = Incident.objects.get(title="Costs doubled")
    assert answer["Location"] == f"/incidents/{found.number}"
    assert (found.severity, found.is_drill, found.declared_by) == (2, True, responder.label)


def test_it_shows_every_kind_of_entry(client: Client, incident: Incident, responder: User) -> None:
    from catalog.actors import ENGINE
    from incidents.timeline import KINDS, record

    for kind in KINDS:
        record(incident, kind=kind, actor=ENGINE, text=f"entry of kind {kind}", data={"verdict": "fail"}, pinned=True)
    page = client.get(f"/incidents/{incident.number}/parts/timeline").content.decode()
    assert [kind for kind in KINDS if f"entry of kind {kind}" not in page] == []
