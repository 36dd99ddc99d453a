"""The API: who gets in, what is understood, and that nothing else is (promises A9, R1 to R4)."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog import people
from catalog.actors import ENGINE
from catalog.models import Change, Team
from catalog.permissions import SCOPES
from incidents.models import ActionItem, Incident, PostmortemEdition, TimelineEntry
from incidents.postmortems import BODY_LENGTH
from runbooks.models import Run
from tests.factories import make_incident, make_team, make_user
from tests.factories_web import MARK, Program, World, make_world, problem, signed_in
from web.api import api


@pytest.fixture
def world(db: None) -> World:
    """A team with one thing of every kind."""
    cache.clear()
    return make_world()


@pytest.fixture
def program(world: World) -> Program:
    """A program that may all that tokens may."""
    return Program(world.member)


@pytest.fixture
def light(team: Team) -> Program:
    """A program of a team that has nothing: quicker to make."""
    return Program(make_user(team=team))


def data(answer: HttpResponse, status: int = 200) -> Any:
    """The JSON of an answer of that status."""
    assert answer.status_code == status, answer.content[:600]
    return json.loads(answer.content)


# --- lists and single things -----------------------------------------------------------------------------------------
LISTS = [
    "alerts",
    "deliveries",
    "incidents",
    "services",
    "evaluation-sets",
    "changes",
    "runbooks",
    "runs",
    "postmortems",
    "action-items",
]


def test_a_list_has_items_and_next(world: World, program: Program) -> None:
    for name in LISTS:
        told = data(program.get(name))
        assert set(told) == {"items", "next"}
        assert MARK in json.dumps(told["items"]), name
        assert told["next"] is None


def test_every_single_thing_is_found(world: World, program: Program) -> None:
    for path in (
        f"alerts/{world.alert.uuid}",
        f"deliveries/{world.delivery.uuid}",
        f"incidents/{world.incident.number}",
        f"incidents/{world.incident.number}/timeline",
        f"services/{world.service.slug}",
        f"runbooks/{world.runbook.slug}",
        f"runs/{world.run.uuid}",
        f"postmortems/{world.incident.number}",
        f"action-items/{world.item.uuid}",
    ):
        assert MARK in json.dumps(data(program.get(path))), path


def test_a_run_has_the_words_of_the_contract(world: World, program: Program) -> None:
    told = data(program.get(f"runs/{world.run.uuid}"))
    assert {"id", "runbook", "revision", "state", "stop_reason", "outcome", "phase", "incident", "inputs"} <= set(told)
    assert {"diagnosis", "steps"} <= set(told)
    step = told["steps"][0]
    wanted = {"id", "item", "kind", "phase", "state", "blocked_on", "verdict", "reason", "value", "result", "attempts"}
    assert wanted | {"due_at", "evidence"} <= set(step)
    assert (step["id"], step["state"], step["blocked_on"]) == ("look", "blocked", "human")
    assert told["incident"] == world.incident.number


def test_a_delivery_has_the_words_of_the_contract(world: World, program: Program) -> None:
    told = data(program.get(f"deliveries/{world.delivery.uuid}"))
    assert {"id", "status", "kind", "reason", "alerts"} <= set(told)
    assert "body" not in json.dumps(told)
    assert told["status"] == "rejected"


def test_deliveries_are_read_without_their_bodies(world: World, program: Program) -> None:
    for path in ("deliveries", f"deliveries/{world.delivery.uuid}"):
        with CaptureQueriesContext(connection) as asked:
            data(program.get(path))
        of_deliveries = [query["sql"] for query in asked if 'FROM "incidents_delivery"' in query["sql"]]
        assert of_deliveries, path
        assert "body_encrypted" not in "".join(of_deliveries)


def test_lists_come_in_pages(world: World, program: Program) -> None:
    numbers = {make_incident(world.team).number for _ in range(4)} | {world.incident.number}
    seen: list[int] = []
    cursor = ""
    for _ in range(9):
        told = data(program.get(f"incidents?limit=2{cursor}"))
        seen += [item["number"] for item in told["items"]]
        if told["next"] is None:
            break
        cursor = f"&cursor={told['next']}"
    assert seen == sorted(numbers, reverse=True)


def test_a_timeline_comes_oldest_first(world: World, program: Program) -> None:
    path = f"incidents/{world.incident.number}/timeline"
    first = data(program.get(f"{path}?limit=1"))
    rest = data(program.get(f"{path}?cursor={first['next']}"))
    assert [item["seq"] for item in first["items"] + rest["items"]] == list(
        TimelineEntry.objects.filter(incident=world.incident).order_by("seq").values_list("seq", flat=True)
    )


FILTERS = [
    ("incidents?open=true", 1),
    ("incidents?open=false", 0),
    ("incidents?state=closed", 0),
    ("incidents?severity=3", 1),
    (f"incidents?team={MARK}-team", 1),
    ("incidents?service=nosuch", 0),
    ("alerts?status=firing", 1),
    ("alerts?severity=critical", 0),
    ("runs?state=active&open=true", 1),
    ("runs?runbook=nosuch", 0),
    ("postmortems?state=draft", 1),
    ("action-items?overdue=true", 0),
    (f"action-items?owner={MARK}-team-member", 1),
    ("changes?kind=model", 1),
    ("deliveries?status=rejected&source=alertmanager", 1),
    ("runbooks?enabled=true&type=other", 1),
    (f"services?team={MARK}-team", 1),
]


def test_a_filter_narrows(world: World, program: Program) -> None:
    for query, found in FILTERS:
        assert len(data(program.get(query))["items"]) == found, query


def test_a_program_loads_an_evaluation_set_and_adds_to_it(world: World, program: Program) -> None:
    cases = [{"item": name, "input": name, "expected": "y"} for name in ("a", "b")]
    body = {"team": world.team.slug, "title": "Nightly", "cases": cases}
    made = data(program.post("evaluation-sets/nightly", body), 201)
    assert (made["cases"], made["added"], made["last_scored"]) == (2, 2, None)
    cases[1]["item"] = "c"
    more = data(program.post("evaluation-sets/nightly", body))
    assert (more["cases"], more["added"], more["duplicates"]) == (3, 1, ["a"])
    refused = problem(program.post("evaluation-sets/nightly", body | {"cases": [cases[0], cases[0]]}))
    assert (refused["status"], "twice" in refused["detail"]) == (422, True)


# --- acts ------------------------------------------------------------------------------------------------------------
def test_a_program_leads_an_incident_through_its_life(world: World, program: Program) -> None:
    body = {"title": "Cost doubled", "service": world.service.slug, "severity": 2, "type": "cost_explosion"}
    number = data(program.post("incidents", body), 201)["number"]
    assert data(program.post(f"incidents/{number}/acknowledge"))["state"] == "acknowledged"
    assert data(program.post(f"incidents/{number}/note", {"text": "Prompt grew"}))["number"] == number
    assert data(program.post(f"incidents/{number}/severity", {"severity": 1, "reason": "r"}))["severity"] == 1
    assert data(program.post(f"incidents/{number}/mitigate", {"note": "cut"}))["state"] == "mitigated"
    assert data(program.post(f"incidents/{number}/resolve"))["state"] == "resolved"
    assert data(program.post(f"incidents/{number}/reopen", {"reason": "again"}))["state"] == "acknowledged"
    texts = " ".join(TimelineEntry.objects.filter(incident__number=number).values_list("text", flat=True))
    assert "Prompt grew" in texts
    assert "token test" in texts


def test_an_act_at_the_wrong_time_is_a_conflict(world: World, program: Program) -> None:
    program.post(f"incidents/{world.incident.number}/resolve")
    assert problem(program.post(f"incidents/{world.incident.number}/acknowledge"))["status"] == 409


def test_a_program_starts_and_stops_a_run(world: World, program: Program) -> None:
    program.post(f"runs/{world.run.uuid}/cancel", {"reason": "test"})
    started = data(program.post("runs", {"runbook": world.runbook.slug, "incident": world.incident.number}), 201)
    assert started["decision"] == "started"
    assert data(program.post(f"runs/{started['id']}/pause"))["state"] == "paused"
    assert data(program.post(f"runs/{started['id']}/resume", {"reason": "go"}))["state"] == "active"
    assert data(program.post(f"runs/{started['id']}/cancel"))["state"] in ("stopping", "cancelled")
    assert Run.objects.count() == 2


def test_a_program_answers_a_manual_step(world: World, program: Program) -> None:
    path = f"runs/{world.run.uuid}/steps/look"
    assert problem(program.post(f"{path}/answer?item=3", {"decision": "done"}))["status"] == 404
    told = data(program.post(f"{path}/answer", {"decision": "done", "note": "seen"}))
    assert told["steps"][0]["state"] == "settled"


def test_a_program_skips_a_step_with_a_reason(world: World, program: Program) -> None:
    path = f"runs/{world.run.uuid}/steps/look/skip"
    assert problem(program.post(path, {"reason": ""}))["status"] == 422
    assert data(program.post(path, {"reason": "not needed"}))["steps"][0]["verdict"] == "skipped"


def test_a_postmortem_is_saved_only_over_the_edition_that_was_read(world: World, program: Program) -> None:
    path = f"postmortems/{world.incident.number}"
    saved = data(program.call("PUT", path, {"body": "# New\n\nText.", "edition": 1}))
    assert saved["edition"] == 2
    assert problem(program.call("PUT", path, {"body": "# Other", "edition": 1}))["status"] == 409
    assert PostmortemEdition.objects.filter(postmortem__incident=world.incident).count() >= 1


def test_a_postmortem_is_as_long_by_the_api_as_on_the_page(world: World, program: Program) -> None:
    number, browser = world.incident.number, signed_in(world.member)
    longest = "Line\n" * (BODY_LENGTH // 5 - 1) + "Lines"
    typed = longest.replace("\n", "\r\n")
    assert browser.post(f"/postmortems/{number}/edit", {"body": typed, "edition": 1}).status_code == 302
    saved = data(program.call("PUT", f"postmortems/{number}", {"body": longest, "edition": 2}))
    assert (saved["edition"], saved["body"]) == (2, longest + "\n")
    too_long = longest + "x"
    assert problem(program.call("PUT", f"postmortems/{number}", {"body": too_long, "edition": 2}))["status"] == 422
    refused = browser.post(f"/postmortems/{number}/edit", {"body": too_long, "edition": 2})
    assert refused.status_code == 422
    assert too_long in refused.content.decode(), "what was typed is still there"


@pytest.mark.parametrize(
    ("form", "kind"), [("md", "text/markdown"), ("html", "text/html"), ("json", "application/json")]
)
def test_a_postmortem_is_exported(world: World, program: Program, form: str, kind: str) -> None:
    answer = program.get(f"postmortems/{world.incident.number}/export?format={form}")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith(kind)
    assert MARK in answer.content.decode()


def test_an_action_item_is_written_and_moved(world: World, program: Program) -> None:
    body = {
        "incident": world.incident.number,
        "title": "Alert on drift",
        "kind": "detect",
        "owner": world.member.username,
        "due_on": "2099-01-31",
    }
    made = data(program.post("action-items", body), 201)
    path = f"action-items/{made['id']}"
    assert data(program.call("PATCH", path, {"title": "Alert on input drift"}))["title"] == "Alert on input drift"
    assert data(program.call("PATCH", path, {"state": "committed"}))["state"] == "committed"
    assert problem(program.call("PATCH", path, {"state": "done", "title": "x"}))["status"] == 422
    stranger = make_user()
    assert problem(program.call("PATCH", path, {"owner": stranger.username}))["status"] == 422


def test_a_change_is_told_once(world: World, program: Program) -> None:
    body = {"kind": "model", "summary": "v14 serves", "service": world.service.slug, "external_id": "d-1"}
    assert data(program.post("changes", body), 201)["version"] == ""
    assert data(program.post("changes", {**body, "version": "v14"}))["version"] == "v14"
    assert Change.objects.filter(external_id="d-1").count() == 1


# --- who -------------------------------------------------------------------------------------------------------------
def operations() -> list[tuple[str, str]]:
    """Method and template of every operation."""
    return [
        (method, path)
        for bound in api._get_bound_routers()
        for path, view in bound.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    ]


FILLED = {
    "{uuid:": str(uuid.UUID(int=7)),
    "{int:": "4",
    "{slug:": "x",
    "{str:": "x",
}


def filled(path: str) -> str:
    """A path with something in every gap."""
    path = path.replace("{uuidstr:", "{uuid:")
    for opening, value in FILLED.items():
        while opening in path:
            start = path.index(opening)
            path = path[:start] + value + path[path.index("}", start) + 1 :]
    return f"/api/v1/{path}"


def test_nobody_gets_in_without_a_token(db: None) -> None:
    client = Client(raise_request_exception=False)
    for method, path in operations():
        for headers in ({}, {"Authorization": "Bearer bs_00000000_" + "x" * 43}, {"Authorization": "Basic eDp5"}):
            answer = client.generic(method, filled(path), "{}", content_type="application/json", headers=headers)
            assert problem(answer)["status"] == 401, path  # type: ignore[arg-type]


def test_a_dead_token_gets_in_nowhere(world: World) -> None:
    programs = [Program(world.member) for _ in range(2)]
    people.revoke_token(world.member.api_tokens.first(), actor=ENGINE)  # type: ignore[arg-type]
    people.set_active(world.member, active=False, actor=ENGINE)
    assert {problem(p.get("incidents"))["status"] for p in programs} == {401}


@pytest.mark.parametrize("where", ["?token={}", "?access_token={}", "?authorization=Bearer+{}"])
def test_a_token_in_the_address_is_not_taken(world: World, program: Program, where: str) -> None:
    answer = Client().get("/api/v1/incidents" + where.format(program.secret))
    assert problem(answer)["status"] == 401  # type: ignore[arg-type]
    assert program.secret not in answer.content.decode()


@pytest.mark.parametrize("scope", list(SCOPES))
def test_a_scope_lets_through_only_its_own_acts(world: World, scope: str) -> None:
    program = Program(world.member, [scope])
    number = world.incident.number
    calls = {
        "read": ("GET", "incidents", None),
        "incidents:write": ("POST", f"incidents/{number}/note", {"text": "x"}),
        "runs:write": ("POST", f"runs/{world.run.uuid}/pause", None),
        "postmortems:write": ("PUT", f"postmortems/{number}", {"body": "x", "edition": 1}),
    }
    for needed, (method, path, body) in calls.items():
        answer = program.call(method, path, body)
        if needed != scope:
            assert problem(answer)["status"] == 403
            assert needed in problem(answer)["fix"]


@pytest.mark.parametrize("act", ["approve", "reject"])
def test_no_token_approves(world: World, program: Program, act: str) -> None:
    for body in ({"digest": "d" * 64, "note": ""}, {"digest": "d" * 64, "reason": "r"}, {}, None):
        for run in (world.run.uuid, uuid.uuid4()):
            assert problem(program.post(f"runs/{run}/steps/look/{act}", body))["status"] == 403


def test_a_person_s_browser_needs_the_csrf_token(world: World) -> None:
    client = signed_in(world.member)
    client.handler.enforce_csrf_checks = True
    path = f"/api/v1/incidents/{world.incident.number}/note"
    refused = client.post(path, {"text": "x"}, content_type="application/json")
    assert problem(refused)["status"] == 403  # type: ignore[arg-type]
    token = client.cookies.get("csrftoken")
    client.get("/login/link/x")
    token = client.cookies.get("csrftoken") or token
    if token is None:
        client.get("/password")
        token = client.cookies["csrftoken"]
    taken = client.post(path, {"text": "x"}, content_type="application/json", headers={"X-CSRFToken": token.value})
    assert taken.status_code == 200
    assert client.get("/api/v1/incidents").status_code == 200


# --- R1: unknown fields ----------------------------------------------------------------------------------------------
EXTRAS = ["state", "team_id", "is_staff", "approved_by", "lease_token", "created_at", "number", "__class__", "id"]


def test_an_unknown_field_is_refused(world: World, program: Program) -> None:
    bodies = {
        "incidents": {"title": "x", "team": world.team.slug},
        f"incidents/{world.incident.number}/note": {"text": "x"},
        "runs": {"runbook": world.runbook.slug},
        f"runs/{world.run.uuid}/steps/look/answer": {"decision": "done"},
        "changes": {"kind": "code", "summary": "x", "team": world.team.slug},
    }
    before = (Incident.objects.count(), Run.objects.count(), TimelineEntry.objects.count())
    for extra in EXTRAS:
        for path, body in bodies.items():
            told = problem(program.post(path, {**body, extra: "x"}))
            assert told["status"] == 422
            assert told["fields"] == {extra: "unknown field"}
    assert before == (Incident.objects.count(), Run.objects.count(), TimelineEntry.objects.count())


# --- R2, R3: queries -------------------------------------------------------------------------------------------------
QUERIES = [
    "ordering=password",
    "_connector=OR",
    "team__users__password__startswith=a",
    "pk=1",
    "limit=1000000000",
    "limit=201",
    "limit=0",
    "limit=-1",
    "limit=x",
    "limit=1e999",
    "limit=5&limit=6",
    "cursor=1",
    "cursor=eyJ.x.y",
    "cursor=" + "a" * 500,
    "x=%00",
    "page_size=10",
]


@pytest.mark.parametrize("name", LISTS)
def test_a_query_that_is_not_declared_is_refused(light: Program, name: str) -> None:
    for query in QUERIES:
        assert problem(light.get(f"{name}?{query}"))["status"] == 400, query


def test_a_cursor_of_another_list_is_refused(world: World, program: Program) -> None:
    make_incident(world.team)
    cursor = data(program.get("incidents?limit=1"))["next"]
    assert problem(program.get(f"alerts?cursor={cursor}"))["status"] == 400


BODIES: list[str | bytes] = [
    "",
    "{",
    "[]",
    '"x"',
    "null",
    '{"text": NaN}',
    '{"text": "a", "text": "b"}',
    '{"text": "\\u0000"}',
    '{"text": "\\ud800"}',
    '{"text": 1e999}',
    "[" * 100_000,
    '{"n": ' + "9" * 5000 + "}",
    b"\xff\xfe",
    '{"text":"x"}'.encode("utf-16"),
]


def test_a_body_that_is_not_acceptable_json_is_refused(light: Program, team: Team) -> None:
    number = make_incident(team).number
    for body in BODIES:
        answer = light.call("POST", f"incidents/{number}/note", body)
        # What is left may be taken down, cleaned of signs that a database cannot keep; never a 500.
        if answer.status_code != 200:
            assert problem(answer)["status"] in (400, 422), body[:40]
    assert not any("\x00" in text for text in TimelineEntry.objects.values_list("text", flat=True))


@pytest.mark.parametrize(
    "path", ["nosuch", "incidents/x", "incidents/4/nosuch", "incidents/" + "9" * 5000, "%00", "../x"]
)
def test_an_unknown_address_is_a_problem(light: Program, path: str) -> None:
    assert problem(light.get(path))["status"] in (400, 404)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "DELETE", "PUT"])
def test_an_odd_method_is_refused(light: Program, method: str) -> None:
    answer = light.call(method, "incidents")
    assert problem(answer)["status"] == 405
    assert answer["Allow"]


def test_an_odd_accept_is_refused(light: Program) -> None:
    assert problem(light.get("incidents", Accept="text/evil"))["status"] == 406


def test_a_method_override_is_ignored(light: Program) -> None:
    answer = light.get("incidents", **{"X-HTTP-Method-Override": "DELETE"})
    assert answer.status_code == 200


def test_a_large_number_finds_nothing(light: Program) -> None:
    assert problem(light.get(f"incidents/{2**63}"))["status"] == 404
    assert problem(light.get(f"incidents?severity={2**70}"))["status"] == 400


# --- R4: hosts -------------------------------------------------------------------------------------------------------
def test_a_foreign_host_is_refused(world: World, program: Program) -> None:
    assert problem(program.get("incidents", Host="evil.test"))["status"] == 400
    told = data(program.get(f"incidents/{world.incident.number}", **{"X-Forwarded-Host": "evil.test"}))
    assert told["url"].startswith("http://127.0.0.1:8000/incidents/")


# --- the rest --------------------------------------------------------------------------------------------------------
def test_a_stranger_finds_nothing_of_another_team(world: World) -> None:
    other = make_world("other-team")
    for item in ActionItem.objects.filter(team=other.team):
        item.title = "plain"
        item.save()
    stranger = Program(make_user(team=make_team()))
    for name in LISTS:
        told = stranger.get(name).content.decode()
        assert MARK not in told, name
        assert "other-team" not in told, name
    assert Team.objects.count() == 3
