"""The five figures of what users feel: who may set them, what they take, and what checks fill in by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.actors import ENGINE
from catalog.models import Team
from common.errors import Forbidden, Invalid
from incidents import impact, lifecycle
from incidents.evidence import store
from incidents.models import Evidence, ImpactFigure, Incident, TimelineEntry
from tests.factories import make_actor

pytestmark = pytest.mark.django_db


@pytest.fixture
def incident(team: Team) -> Incident:
    return lifecycle.declare(team=team, title="Answers got worse", severity=2, actor=ENGINE)


def shown(incident: Incident) -> dict[str, tuple[str, str]]:
    """What the page says of each figure."""
    found = impact.figures(incident, impact.findings_of(incident))
    return {figure.name: (figure.words, figure.basis) for figure in found}


def test_nothing_is_known_at_first(incident: Incident) -> None:
    assert shown(incident) == dict.fromkeys(impact.NAMES, ("unknown", "unknown"))


def test_a_person_sets_an_estimate_with_a_reason(incident: Incident, team: Team) -> None:
    rita = make_actor(team, username="rita")
    impact.set_figure(incident, "users", basis="estimate", value="1,200", reason="half of the Germans", actor=rita)
    assert shown(incident)["users"] == ("1,200", "estimate")
    entry = TimelineEntry.objects.filter(incident=incident, kind="impact").get()
    assert entry.text == "rita set the impact: users 1,200 (estimate): half of the Germans."
    with pytest.raises(Invalid, match="reason"):
        impact.set_figure(incident, "users", basis="estimate", value="1300", actor=rita)


def test_unknown_says_who_was_asked(incident: Incident, team: Team) -> None:
    rita = make_actor(team, username="rita")
    with pytest.raises(Invalid, match="who was asked"):
        impact.set_figure(incident, "tenants", basis="unknown", actor=rita)
    said = impact.set_figure(incident, "tenants", basis="unknown", asked="support", value="acme", actor=rita)
    assert (said.words, said.asked) == ("unknown", "support")
    assert "asked support" in TimelineEntry.objects.get(incident=incident, kind="impact").text


def test_a_check_fills_in_what_it_measured_until_a_person_says_otherwise(incident: Incident, team: Team) -> None:
    fields: dict[str, Any] = {"incident": incident, "kind": "check", "verdict": "fail", "summary": "Worse."}
    store(provider="eval.compare", result={"regressed": ["language=de"]}, **fields)
    store(provider="metric.compare", params={"signal": "error_rate"}, unit="ratio", result={"now": 0.125}, **fields)
    store(
        provider="metric.compare", params={"signal": "cost"}, unit="USD/h", result={"now": 90, "before": 50}, **fields
    )
    assert [shown(incident)[name] for name in ("slices", "traffic", "cost")] == [
        ("language=de", "measured"),
        ("12.5 %", "measured"),
        ("40 USD", "measured"),
    ]
    impact.set_figure(
        incident, "slices", basis="measured", value="language=de, tier=free", evidence=1, actor=make_actor(team)
    )
    assert shown(incident)["slices"] == ("language=de, tier=free", "measured")
    assert TimelineEntry.objects.get(incident=incident, kind="impact").evidence == [1]


def test_what_was_not_a_problem_is_no_impact(incident: Incident) -> None:
    store(incident=incident, kind="check", verdict="pass", provider="metric.compare", summary="Fine.",
          params={"signal": "error_rate"}, unit="ratio", result={"now": 0.01})  # fmt: skip
    assert shown(incident)["traffic"] == ("unknown", "unknown")
    assert impact.measured(Evidence.objects.all()) == {}


def test_evidence_must_be_of_this_incident(incident: Incident, team: Team) -> None:
    with pytest.raises(Invalid, match="no evidence E7"):
        impact.set_figure(incident, "users", basis="measured", value="3", evidence=7, actor=make_actor(team))
    assert not ImpactFigure.objects.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("users", "many"), ("users", "-1"), ("users", "1.5"), ("users", "1e9"), ("users", "9" * 20), ("users", True),
        ("users", ""), ("traffic", "101"), ("traffic", "nan"), ("traffic", None), ("slices", " , "), ("tenants", []),
        ("cost", "240"), ("cost", "EUR"), ("cost", "-3 EUR"), ("cost", {"micros": 1.5, "currency": "EUR"}),
        ("cost", {"micros": 1, "currency": "euro"}), ("cost", "1" * 30 + " EUR"),
    ],
)  # fmt: skip
def test_it_refuses_what_is_no_such_figure(name: str, value: object) -> None:
    with pytest.raises(Invalid, match=r"this is not"):
        impact.parsed(name, value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("users", 1200, "1,200"), ("users", "0", "0"), ("traffic", "12.5 %", "12.5 %"), ("traffic", 100, "100 %"),
        ("slices", "a, b ,a", "a, b"), ("tenants", ["acme", " "], "acme"), ("cost", "1,240.50 eur", "1,240.50 EUR"),
        ("cost", "240 USD/h", "240 USD"), ("cost", {"micros": 5_000_000, "currency": "EUR"}, "5 EUR"),
    ],
)  # fmt: skip
def test_it_says_a_figure_as_people_do(name: str, value: object, said: str) -> None:
    assert impact.words(name, impact.parsed(name, value)) == said


def test_a_viewer_may_not(incident: Incident, team: Team) -> None:
    with pytest.raises(Forbidden):
        impact.set_figure(incident, "users", basis="unknown", asked="x", actor=make_actor(team, roles=["viewer"]))
