"""The verbs of an incident, their table, and who may use them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from catalog.actors import ENGINE, Actor
from catalog.models import Team
from common.errors import Conflict, Forbidden, Invalid, NotFound
from incidents import lifecycle
from incidents.models import Incident, Postmortem
from tests.conftest import Clock
from tests.factories import make_actor, make_service, make_team

VERBS: dict[str, Callable[[Incident, Actor], Any]] = {
    "acknowledge": lambda incident, actor: lifecycle.acknowledge(incident, actor=actor),
    "mitigate": lambda incident, actor: lifecycle.mitigate(incident, actor=actor),
    "resolve": lambda incident, actor: lifecycle.resolve(incident, actor=actor),
    "reopen": lambda incident, actor: lifecycle.reopen(incident, actor=actor, reason="It is back"),
    "close": lambda incident, actor: lifecycle.close(incident, actor=actor, reason="A test"),
}
REACH: dict[str, list[str]] = {
    "open": [],
    "acknowledged": ["acknowledge"],
    "mitigated": ["mitigate"],
    "resolved": ["resolve"],
    "closed": ["resolve", "close"],
}


def make_open(team: Team, **fields: Any) -> Incident:
    """A declared incident."""
    return lifecycle.declare(team=team, title=fields.pop("title", "Slow"), severity=3, actor=ENGINE, **fields)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", REACH)
def test_it_moves_only_as_the_table_says(team: Team, state: str, verb: str) -> None:
    incident = make_open(team)
    for step in REACH[state]:
        VERBS[step](incident, ENGINE)
    entries = incident.last_seq
    if state in lifecycle.TRANSITIONS[verb]:
        VERBS[verb](incident, ENGINE)
        assert incident.state != state
        assert incident.timeline.filter(seq__gt=entries, kind="state", pinned=True).count() == 1
    else:
        with pytest.raises(Conflict, match=f"{incident.key} cannot be"):
            VERBS[verb](incident, ENGINE)
        assert Incident.objects.get().last_seq == entries
    assert Incident.objects.get().state == incident.state


def test_it_says_who_acknowledged_first_and_makes_him_lead(team: Team, moved_clock: Clock) -> None:
    kim, lee = make_actor(team, username="kim"), make_actor(team, username="lee")
    incident = make_open(team)
    moved_clock.forward(minutes=9)
    lifecycle.acknowledge(incident, actor=kim)
    assert (incident.commander, incident.acknowledged_at) == (kim.user, moved_clock())
    with pytest.raises(Conflict, match=r"kim acknowledged it at 03:09 UTC"):
        lifecycle.acknowledge(Incident.objects.get(), actor=lee)
    lifecycle.take_over(incident, actor=lee)
    assert incident.commander == lee.user
    assert incident.timeline.last().text == "lee took over the incident from kim."  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        lifecycle.take_over(incident, actor=lee)


def test_it_starts_the_postmortems_clock_at_mitigation(team: Team) -> None:
    incident = make_open(team)
    lifecycle.mitigate(incident, actor=make_actor(team), note="rolled back")
    assert Postmortem.objects.get().clock_started_at == incident.mitigated_at
    lifecycle.resolve(incident, actor=ENGINE)
    assert Postmortem.objects.count() == 1


def test_it_refuses_to_resolve_while_a_gate_waits(team: Team) -> None:
    incident, actor = make_open(team), make_actor(team)
    gate = lifecycle.open_gate(incident, key="run:1", title="Is the canary off?", blocks="resolve")
    assert lifecycle.open_gate(incident, key="run:1", title="Is the canary off?", blocks="resolve") == gate
    with pytest.raises(Conflict, match="Is the canary off"):
        lifecycle.resolve(incident, actor=actor)
    lifecycle.answer_gate(gate, answer="Yes", actor=actor)
    with pytest.raises(Conflict, match="answered it"):
        lifecycle.answer_gate(gate, answer="No", actor=actor)
    lifecycle.resolve(incident, actor=actor)
    assert incident.timeline.filter(kind="gate").count() == 2


def test_it_closes_with_a_published_postmortem_or_a_reason(team: Team) -> None:
    incident, actor = make_open(team), make_actor(team)
    lifecycle.resolve(incident, actor=actor)
    with pytest.raises(Conflict, match="no published postmortem"):
        lifecycle.close(incident, actor=actor)
    Postmortem.objects.update(state="published")
    lifecycle.close(incident, actor=actor)
    assert incident.closed_at


def test_it_reopens_beside_a_newer_incident_of_the_same_alerts(team: Team) -> None:
    service = make_service(team)
    old = make_open(team, service=service)
    lifecycle.resolve(old, actor=ENGINE)
    new = make_open(team, service=service)
    lifecycle.reopen(old, actor=ENGINE, reason="Still there")
    assert (old.state, old.resolved_at, old.group_key) == ("open", None, f"reopened:{old.number}")
    assert new.group_key == f"service:{service.slug}"


def test_it_lets_nobody_act_without_leave(team: Team) -> None:
    incident = make_open(team)
    viewer, stranger = make_actor(team, ["viewer"]), make_actor(make_team("elsewhere"))
    for verb in VERBS.values():
        with pytest.raises(Forbidden):
            verb(incident, viewer)
        with pytest.raises(NotFound):
            verb(incident, stranger)
    with pytest.raises(NotFound):
        lifecycle.declare(team=team, title="x", severity=1, actor=stranger)
    assert Incident.objects.get().last_seq == incident.last_seq


def test_it_refuses_what_makes_no_sense(team: Team, moved_clock: Clock) -> None:
    incident, actor = make_open(team), make_actor(team)
    later = moved_clock() + timedelta(minutes=1)
    foreign = make_service(make_team("elsewhere"))
    refused: list[Callable[[], Any]] = [
        lambda: lifecycle.declare(team=team, title=" ", severity=1, actor=actor),
        lambda: lifecycle.declare(team=team, title="x", severity=9, actor=actor),
        lambda: lifecycle.declare(team=team, title="x", severity=1, actor=actor, incident_type="weird"),
        lambda: lifecycle.declare(team=team, title="x", severity=1, actor=actor, started_at=later),
        lambda: lifecycle.declare(team=team, title="x", severity=1, actor=actor, service=foreign),
        lambda: lifecycle.bind_service(incident, service=foreign, actor=actor),
        lambda: lifecycle.add_note(incident, text=" ", actor=actor),
        lambda: lifecycle.add_note(incident, text="x", actor=actor, at=later),
        lambda: lifecycle.set_times(incident, actor=actor, reason="", started_at=moved_clock()),
        lambda: lifecycle.set_times(incident, actor=actor, reason="r", started_at=later),
        lambda: lifecycle.reopen(incident, actor=actor, reason=""),
    ]
    for verb in refused:
        with pytest.raises(Invalid):
            verb()
    assert Incident.objects.count() == 1


def test_it_tells_what_was_changed_by_hand(team: Team, moved_clock: Clock) -> None:
    incident, kim = make_open(team), make_actor(team, username="kim")
    lifecycle.set_severity(incident, severity=1, actor=kim, reason="All users")
    lifecycle.set_times(incident, actor=kim, reason="Logs", started_at=moved_clock() - timedelta(hours=1))
    lifecycle.bind_service(incident, service=make_service(team, "rag-chat"), actor=kim)
    entry = lifecycle.add_note(incident, text="**Seen** in eu", actor=kim, at=moved_clock() - timedelta(minutes=5))
    texts = list(incident.timeline.filter(actor="kim").values_list("text", flat=True))
    assert texts == [
        "kim raised the severity from SEV3 to SEV1 (critical). All users.",
        "kim set the start to 2026-11-21 02:00 UTC (was 2026-11-21 03:00 UTC): Logs.",
        "kim bound the incident to the service rag-chat.",
        "**Seen** in eu",
    ]
    assert entry.at < entry.recorded_at
    with pytest.raises(Conflict, match="already is SEV1"):
        lifecycle.set_severity(incident, severity=1, actor=kim)


def test_it_numbers_incidents_without_gaps_and_keeps_keys_unique(team: Team) -> None:
    service = make_service(team)
    first, second = make_open(team, service=service), make_open(team, service=service)
    assert second.number == first.number + 1
    assert (first.group_key, second.group_key) == (f"service:{service.slug}", f"declared:{second.number}")
    with pytest.raises(Conflict, match=f"{first.key} is already open"):
        make_open(team, group_key=f"service:{service.slug}")
