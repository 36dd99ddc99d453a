"""Programs set impact figures and stars, and correct the time of a note."""

from __future__ import annotations

import json
from typing import Any

import pytest

from incidents.models import Incident
from tests.factories_web import Program, World, make_world, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def program(world: World) -> Program:
    return Program(world.member)


def said(answer: Any) -> Any:
    """The JSON of an answer that went well."""
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


def path(world: World, rest: str) -> str:
    return f"incidents/{world.incident.number}/{rest}"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("users", 1200, "1,200"),
        ("traffic", 12.5, "12.5 %"),
        ("slices", ["language=de"], "language=de"),
        ("tenants", "acme, globex", "acme, globex"),
        ("cost", {"micros": 240_000_000, "currency": "EUR"}, "240 EUR"),
    ],
)
def test_it_sets_a_figure(world: World, program: Program, name: str, value: object, words: str) -> None:
    body = {"basis": "estimate", "value": value, "reason": "by the logs"}
    assert said(program.call("PUT", path(world, f"impact/{name}"), body))["words"] == words
    rows = {row["name"]: row for row in said(program.get(path(world, "impact")))["items"]}
    assert list(rows) == ["users", "traffic", "slices", "tenants", "cost"]
    assert (rows[name]["basis"], rows[name]["words"], rows[name]["evidence"]) == ("estimate", words, None)


def test_it_cites_evidence(world: World, program: Program) -> None:
    body = {"basis": "measured", "value": 3, "evidence": 1}
    assert said(program.call("PUT", path(world, "impact/users"), body))["evidence"] == "E1"
    refused = program.call("PUT", path(world, "impact/users"), {"basis": "measured", "value": 3, "evidence": 99})
    assert problem(refused)["fields"] == {"evidence": "there is no such number"}


@pytest.mark.parametrize("body", [{"basis": "guess"}, {"basis": "estimate", "value": "many", "reason": "x"}])
def test_it_says_what_is_wrong(world: World, program: Program, body: dict[str, str]) -> None:
    assert program.call("PUT", path(world, "impact/users"), body).status_code == 422
    assert program.call("PUT", path(world, "impact/moons"), {"basis": "unknown", "asked": "x"}).status_code == 422


def test_it_sets_a_star_and_the_record_stays(world: World, program: Program) -> None:
    entry = said(program.call("PUT", path(world, "timeline/1/pin"), {"pinned": True}))
    assert (entry["pinned"], entry["key_moment"]) == (False, True)
    listed = said(program.get(path(world, "timeline")))["items"]
    assert (listed[0]["key_moment"], listed[0]["hash"]) == (True, entry["hash"])
    assert program.call("PUT", path(world, "timeline/99/pin"), {"pinned": True}).status_code == 404


def test_it_corrects_the_time_of_a_note(world: World, program: Program) -> None:
    body = {"at": "2026-01-02T03:04:00Z", "reason": "the log says so"}
    entry = said(program.call("PUT", path(world, "timeline/1/time"), body))
    assert (entry["at"], entry["supersedes"]) == ("2026-01-02T03:04:00Z", 1)
    without_zone = program.call("PUT", path(world, "timeline/1/time"), body | {"at": "2026-01-02T03:04:00"})
    assert problem(without_zone)["fields"] == {"at": "No zone."}
    assert Incident.objects.get(pk=world.incident.pk).last_seq == entry["seq"]
