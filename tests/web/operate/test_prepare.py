"""What a start does before it serves: seed from the operator's folders, let go of what a killed process held."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from catalog.models import Team
from incidents import intake
from incidents.models import Delivery
from runbooks import execution, ticker
from runbooks.models import Runbook
from tests.factories import make_actor
from tests.factories_intake import make_endpoint, take
from tests.factories_runbooks import make_runbook, pump, start, states, step
from web.operate import prepare

pytestmark = pytest.mark.django_db
BOOK = """\
spec: 1
id: {slug}
title: From a folder
incident_type: other
owner: team:default
phases:
  check:
    - {{id: a, check: result.test, with: {{value: 1}}, pass_if: value > 0}}
"""
SERVICE = """\
spec: 1
service: rag
title: RAG
signals:
  error_rate: {connection: nosuch, query: up}
"""


def test_a_faulty_file_is_named_and_stops_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.yaml").write_text(BOOK.format(slug="good"))
    (tmp_path / "bad.yaml").write_text(BOOK.format(slug="bad").replace("value > 0", "value >"))
    services = tmp_path / "services"
    services.mkdir()
    (services / "rag.yaml").write_text(SERVICE)
    monkeypatch.setattr(settings.BACKSTOP, "runbooks_dir", tmp_path)
    monkeypatch.setattr(settings.BACKSTOP, "services_dir", services)
    user, (first, second) = prepare.seed()
    assert user.username == "admin"
    assert first.startswith(f"{tmp_path / 'bad.yaml'}:8:")
    assert second.startswith(f"{services / 'rag.yaml'}:5:")
    assert "nosuch" in second
    assert Runbook.objects.get(slug="good").current is not None


@pytest.mark.skipif(connection.vendor != "sqlite", reason="on PostgreSQL another process may hold the leases")
def test_what_a_killed_process_held_is_taken_up_at_once(team: Team) -> None:
    steps = "  check:\n    - {id: a, check: result.test, with: {value: 1}, pass_if: value > 0}\n"
    run = start(make_runbook(team, steps), make_actor(team), team)
    execution.claim(step(run, "a").pk, "killed")
    delivery, _ = take(make_endpoint(team), {"alerts": []})
    intake.claim(delivery.pk)
    ticker.tick("test")
    assert states(run) == {"a": "leased"}
    assert prepare.end_leases() == 2
    pump()
    assert states(run) == {"a": "pass"}
    assert Delivery.objects.get().status == "processed"
