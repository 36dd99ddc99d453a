"""The whole journey without any server but the simulated service: alert, incident, run, approval, effect, draft."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from catalog import people, versions
from catalog.models import ModelVersion, Team, User
from common import clock, http
from drills import alerting, world
from drills.server import DrillServer
from incidents import endpoints
from incidents.citations import unsupported_sentences
from incidents.models import Delivery, Incident, TimelineEntry
from runbooks import library
from runbooks.models import ApprovalRequest, Effect, Run
from tests.factories_runbooks import wait_for
from web.operate import demo, demo_book

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def drill() -> Iterator[DrillServer]:
    """A simulated rag-chat whose new version is worse since twelve minutes; its clock runs fast."""
    made = demo.make_world()
    server = world.serve(made, 0)
    http.allow(server.url)
    demo.break_world(made)
    yield server
    server.close()


@pytest.fixture
def admin(drill: DrillServer) -> User:
    """The first user, with the simulated service looked after by the default team."""
    user = people.first_user()
    team = Team.objects.get(slug="default")
    library.load_shipped()
    demo.connect(team, drill.url)
    service = demo.load_service(team)
    versions.promote(service, "v43", at=clock.now() - timedelta(minutes=12))
    demo_book.make(team)
    return user


def post_alert(client: Client, drill: DrillServer, token: str, status: str = "firing") -> Any:
    body = alerting.payload(drill.world, status=status, kind="", severity="critical", labels={})
    return client.post(f"/hooks/alertmanager/{token}", json.dumps(body), content_type="application/json")


def test_it_goes_from_alert_to_draft(client: Client, drill: DrillServer, admin: User) -> None:
    team = Team.objects.get(slug="default")
    _, token = endpoints.create(source="alertmanager", name="alerts", team=team)
    answer = post_alert(client, drill, token)
    assert answer.status_code == 202
    wait_for(lambda: ApprovalRequest.objects.filter(state="open").exists(), seconds=200)
    assert Delivery.objects.get().status == "processed"
    incident = Incident.objects.get()
    run = Run.objects.get()
    assert (incident.service and incident.service.slug, run.runbook.slug) == ("rag-chat", "accuracy_drop_demo")
    assert run.diagnosis["top"] == "model_regression"

    client.force_login(admin)
    request = ApprovalRequest.objects.get()
    page = client.get(f"/approvals/{request.uuid}").content.decode()
    assert "v43" in page
    assert "v42" in page
    assert drill.world.flag("chat-model") == "v43"
    answered = client.post(
        f"/approvals/{request.uuid}", {"digest": request.digest, "decision": "approve", "typed": "v42", "note": ""}
    )
    assert answered.status_code == 302
    wait_for(lambda: not Run.objects.filter(state__in=["active", "stopping"]).exists(), seconds=240)
    assert drill.world.flag("chat-model") == "v42"
    assert list(Effect.objects.filter(provider="model.rollback").values_list("state", "times_sent")) == [
        ("confirmed", 1)
    ]
    run.refresh_from_db()
    assert run.outcome == "resolved", list(run.steps.values_list("step", "verdict", "summary"))
    assert ModelVersion.objects.get(state="serving").version == "v42"

    incident.refresh_from_db()
    assert incident.state == "mitigated"
    assert client.post(f"/postmortems/{incident.number}/draft").status_code == 302
    body = incident.postmortem.body
    assert "v42" in body
    assert unsupported_sentences(body) == []
    assert TimelineEntry.objects.filter(incident=incident, kind="effect", pinned=True).count() == 1
