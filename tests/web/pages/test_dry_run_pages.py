"""Dry runs in the browser and by the API: started beside the real ones, marked, and in no list of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from catalog.models import Team
from runbooks.models import Run
from tests.factories import make_incident, make_service, make_user
from tests.factories_runbooks import make_runbook, pump
from tests.fakes.world import World, known

STEPS = """\
  check:
    - {id: look, check: world.ask, fail_if: value > 0.5}
  remediate:
    - {id: act, action: world.set, approval: {from: [role:oncall]}, lock: x, irreversible: A test.}
"""


@pytest.fixture
def world() -> Iterator[World]:
    """A world that answers."""
    with known() as found:
        yield found


@pytest.fixture
def signed_in(team: Team, client: Client) -> Client:
    """Somebody who may start runs."""
    client.force_login(make_user("anna", team=team))
    return client


def test_the_button_starts_a_dry_run_that_says_so(world: World, team: Team, signed_in: Client) -> None:
    make_runbook(team, STEPS, slug="dry_page")
    page = signed_in.get("/runbooks/dry_page").content.decode()
    assert '<button type="submit" class="button" name="plan" value="1"' in page
    answer = signed_in.post("/runbooks/dry_page/start", {"team": team.slug, "incident": "", "plan": "1"})
    run = Run.objects.get()
    assert (answer.status_code, answer["Location"], run.is_plan) == (302, f"/runs/{run.uuid}", True)
    pump()
    page = signed_in.get(f"/runs/{run.uuid}").content.decode()
    assert "<strong>Dry run.</strong>" in page
    assert "Dry run ended" in page
    assert "Would do: Switch off → on." in page
    assert "only what a real run would do" in page
    assert "/rerun" not in page


def test_its_page_shows_what_the_steps_of_another_would_do(world: World, team: Team, signed_in: Client) -> None:
    make_runbook(team, STEPS, slug="dry_inner")
    make_runbook(team, "  check:\n    - {id: call, runbook: dry_inner}\n", slug="dry_page")
    signed_in.post("/runbooks/dry_page/start", {"team": team.slug, "incident": "", "plan": "1"})
    outer, inner = Run.objects.order_by("pk")
    pump()
    page = signed_in.get(f"/runs/{outer.uuid}").content.decode()
    assert f'<a href="/runs/{inner.uuid}">Dry run of dry_inner@1</a>' in page
    assert "The value is 1.0." in page
    assert "Would do: Switch off → on." in page


def test_the_page_of_its_runbook_lists_it_apart_from_real_runs(world: World, team: Team, signed_in: Client) -> None:
    make_runbook(team, STEPS, slug="dry_inner")
    make_runbook(team, "  check:\n    - {id: call, runbook: dry_inner}\n", slug="dry_page")
    assert "Last dry runs" not in signed_in.get("/runbooks/dry_page").content.decode()
    signed_in.post("/runbooks/dry_page/start", {"team": team.slug, "incident": "", "plan": "1"})
    outer, inner = Run.objects.order_by("pk")
    real, _, dry = signed_in.get("/runbooks/dry_page").content.decode().partition('id="dry-runs"')
    assert f"/runs/{outer.uuid}" in dry
    assert f"/runs/{outer.uuid}" not in real
    assert "It has not run yet." in real
    assert str(inner.uuid) not in signed_in.get("/runbooks/dry_inner").content.decode()
    (listed,) = signed_in.get("/api/v1/runs?plan=true&runbook=dry_page").json()["items"]
    assert listed["id"] == str(outer.uuid)


def test_it_is_in_no_list_of_runs(world: World, team: Team, signed_in: Client) -> None:
    incident = make_incident(team, make_service(team, "rag-chat"))
    make_runbook(team, STEPS, slug="dry_page")
    signed_in.post("/runbooks/dry_page/start", {"team": team.slug, "incident": str(incident.number), "plan": "1"})
    pump()
    uuid = str(Run.objects.get().uuid)
    for path in ("/", "/runs", f"/incidents/{incident.number}/runs"):
        assert uuid not in signed_in.get(path).content.decode(), path
    assert "never exercised" in signed_in.get("/runbooks").content.decode()
    timeline = signed_in.get(f"/incidents/{incident.number}/timeline").content.decode()
    assert "Dry run, nothing was changed." in timeline


def test_the_api_starts_and_lists_them(world: World, team: Team, signed_in: Client) -> None:
    make_runbook(team, STEPS, slug="dry_page")
    body = {"runbook": "dry_page", "team": team.slug, "plan": True}
    told = signed_in.post("/api/v1/runs", body, content_type="application/json").json()
    assert (told["plan"], told["decision"]) == (True, "started")
    assert signed_in.get("/api/v1/runs").json()["items"] == []
    (listed,) = signed_in.get("/api/v1/runs?plan=true").json()["items"]
    assert (listed["id"], listed["outcome"]) == (told["id"], None)
