"""The OpenAPI document tells every answer, and no answer or attack is one that it does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.core.cache import cache
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ninja import Schema

from evaluations import sets
from evaluations.models import EvaluationSet
from incidents import impact
from tests.factories_web import Program, World, make_world, problem, signed_in
from tests.web.addresses import BODIES, Call, operations
from web.api import api, postmortem_schemas, schemas, shapes

DOCUMENT: dict[str, Any] = json.loads(json.dumps(api.get_openapi_schema(path_params={}), default=str))
OPERATIONS = {call.name: call for call in operations()}


@pytest.fixture
def world(db: None) -> World:
    """A team with one thing of every kind."""
    cache.clear()
    return make_world()


def told(call: Call) -> dict[str, Any]:
    """What the document says about an operation."""
    path = "/api/v1/" + call.name.partition(" ")[2]
    operation: dict[str, Any] = DOCUMENT["paths"][path][call.method.lower()]
    return operation


# --- the document ----------------------------------------------------------------------------------------------------
def test_every_operation_tells_its_answers_and_its_errors() -> None:
    for call in OPERATIONS.values():
        answers = told(call)["responses"]
        good = {status: answer for status, answer in answers.items() if status < "300"}
        assert good, call.name
        assert all(kind["schema"] for answer in good.values() for kind in answer["content"].values()), call.name
        wanted = {"400", "401", "403", "404", "405", "406", "503"} | ({"409", "422"} if call.method != "GET" else set())
        assert wanted <= set(answers), call.name
        assert all("application/problem+json" in answers[status]["content"] for status in wanted)


def test_the_document_says_what_no_token_may() -> None:
    people_only = {call.name for call in OPERATIONS.values() if {"token": []} not in told(call)["security"]}
    assert people_only == {f"POST runs/{{run_id}}/steps/{{step}}/{act}" for act in ("approve", "reject")}


def test_every_reference_of_the_document_leads_somewhere() -> None:
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)):
        assert name in DOCUMENT["components"]["schemas"]


def test_every_shape_has_exactly_the_fields_that_are_told(world: World) -> None:
    entry = world.incident.timeline.first()
    assert entry is not None
    rows: list[tuple[Callable[[Any], dict[str, Any]], Any, type[Schema]]] = [
        (shapes.delivery, world.delivery, schemas.Delivery),
        (shapes.alert, world.alert, schemas.Alert),
        (shapes.incident, world.incident, schemas.Incident),
        (shapes.entry, entry, schemas.Entry),
        (shapes.impact_figure, impact.Figure("users"), schemas.ImpactFigure),
        (shapes.service, world.service, schemas.Service),
        (shapes.evaluation_set, sets.counted(EvaluationSet.objects.all()).get(), schemas.EvaluationSet),
        (shapes.change, world.change, schemas.Change),
        (shapes.runbook, world.runbook, schemas.Runbook),
        (shapes.runbook_with_text, world.runbook, schemas.RunbookText),
        (shapes.run_line, world.run, schemas.RunLine),
        (shapes.run, world.run, schemas.Run),
        (shapes.postmortem, world.postmortem, postmortem_schemas.Postmortem),
        (shapes.postmortem_line, world.postmortem, postmortem_schemas.PostmortemLine),
        (shapes.action_item, world.item, postmortem_schemas.ActionItem),
    ]
    for shape, row, schema in rows:
        assert set(shape(row)) == set(schema.model_fields), schema.__name__


def test_a_waiting_approval_tells_its_digest(world: World) -> None:
    world.approval.state = "open"
    world.approval.save()
    step = json.loads(Program(world.member).get(f"runs/{world.run.uuid}").content)["steps"][0]
    assert step["approval"]["digest"] == "d" * 64
    assert step["approval"]["from"] == ["role:oncall"]


# --- hostile callers -------------------------------------------------------------------------------------------------
TEXTS = [
    "",
    "\x00",
    "\ud800",
    "é" * 300,
    "a" * 20_000,
    "' OR 1=1 --",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "{% x %}",
    "-1",
    "9" * 40,
    "1e999",
    "NaN",
    "null",
    "\u202e",
    "a\r\nX-Evil: 1",
    "2026-13-45",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31",
    "2026-11-21T03:00:00",
]
# For each operation and door.
EXAMPLES = 8
NUMBERS = [0, -1, 1, 2**31, 2**63, 2**70, -(2**70), 1.5, 1e300]
leaves = st.sampled_from([*TEXTS, *NUMBERS, None, True, False])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3)
)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its reference."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


@st.composite
def queries(draw: st.DrawFn, call: Call) -> str:
    """A query of known words with sane and insane values, and now and then an unknown word."""
    names = [p["name"] for p in told(call).get("parameters", []) if p["in"] == "query"]
    chosen = draw(st.lists(st.sampled_from([*names, "ordering", "team__users__password__startswith"]), max_size=3))
    texts = st.sampled_from([*TEXTS, "5", "true", "open", "x"])
    return urlencode([(name, draw(texts)) for name in chosen], errors="surrogatepass")


@st.composite
def bodies(draw: st.DrawFn, call: Call, sane: dict[str, Any]) -> str:
    """A body that the schema nearly allows: some fields sane, some hostile, some unknown; or no object at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(["", "[]", "null", "{", "[" * 5000, '{"a": NaN}', '{"a": 1, "a": 2}', "\ud800"]))
    content = told(call)["requestBody"]["content"]["application/json"]["schema"]
    schema = resolved(next((part for part in content.get("anyOf", [content]) if "$ref" in part), content))
    body = dict(sane)
    for name in draw(st.lists(st.sampled_from([*schema["properties"], "state", "team_id", "__class__"]), max_size=3)):
        body[name] = draw(values)
    for name in draw(st.lists(st.sampled_from([*body, ""]), max_size=1)):
        body.pop(name, None)
    return json.dumps(body)


def attack(world: World, caller: Client | Program, call: Call, data: st.DataObject) -> None:
    """One hostile request: refused or served in a way that the document tells, and never an error of ours."""
    path = data.draw(st.sampled_from(call.paths(world)))
    if call.is_owned and data.draw(st.integers(0, 3)) == 0:
        parts = path.split("/")
        place = data.draw(st.integers(4, len(parts) - 1))
        parts[place] = quote(data.draw(st.sampled_from(TEXTS)), safe="", errors="surrogatepass")
        path = "/".join(parts)
    query = data.draw(queries(call)) if data.draw(st.booleans()) else ""
    where = f"{path}?{query}" if query else path
    body = data.draw(bodies(call, BODIES[call.name](world))).encode(errors="surrogatepass") if call.takes_body else b""
    client = caller.client if isinstance(caller, Program) else caller
    headers = {"Authorization": f"Bearer {caller.secret}"} if isinstance(caller, Program) else {}
    answer: Any = client.generic(call.method, where, body, content_type="application/json", headers=headers)
    assert answer.status_code < 500, f"{call.method} {where} {body[:500]!r}: {answer.status_code}"
    assert str(answer.status_code) in told(call)["responses"], f"{call.name} does not tell {answer.status_code}"
    if answer.status_code >= 400:
        problem(answer)


@pytest.mark.parametrize("door", ["token", "session"])
def test_no_hostile_request_is_more_than_refused(world: World, door: str) -> None:
    caller = Program(world.member) if door == "token" else signed_in(world.member)
    # The first failure tells enough: to look for a smaller one is minutes of requests.
    often = settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def bombard(call: Call) -> None:
        @often
        @given(data=st.data())
        def once(data: st.DataObject) -> None:
            attack(world, caller, call, data)

        once()

    for call in OPERATIONS.values():
        bombard(call)


def test_the_openapi_document_names_every_operation(db: None) -> None:
    told = json.loads(Client().get("/api/v1/openapi.json").content)
    named = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert len(named) == len(operations())
    assert Client().get("/api/v1/docs").status_code == 404
