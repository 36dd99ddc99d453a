"""Action items: proposed by rule, saved only whole, moved by people, reminded of."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from catalog.actors import ENGINE, Actor
from catalog.models import Team
from common.errors import Conflict, Forbidden, Invalid
from incidents import action_items
from incidents.models import ActionItem, Incident, Message, TimelineEntry
from tests.conftest import Clock
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_postmortems import Story, make_address, make_check

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor(team: Team, moved_clock: Clock) -> Actor:
    return make_actor(team)


def add(incident: Incident, actor: Actor, **fields: Any) -> ActionItem:
    values = {"title": "Alert on null rates", "kind": "detect", "owner": actor.user, "due_on": date(2026, 12, 1)}
    return action_items.add(incident, actor=actor, **(values | fields))


def test_it_proposes_by_rule(moved_clock: Clock) -> None:
    story = Story()
    made = action_items.propose(story.incident, now=moved_clock())
    assert {item.rule for item in made} == {
        *("late_detection", "inconclusive_step", "override", "slow_rollback", "no_evaluation_case"),
    }
    assert {item.owner for item in made} == {story.user}
    assert {item.due_on for item in made} == {moved_clock().date() + timedelta(days=30)}
    assert all(item.closing_check and action_items.title_fault(item.title) is None for item in made)
    assert {item.rule: item.evidence for item in made}["inconclusive_step"] == [story.open.number]


def test_it_proposes_each_once(moved_clock: Clock) -> None:
    story = Story()
    (first, *_) = action_items.propose(story.incident, now=moved_clock())
    action_items.decline(first, reason="Accepted risk.", actor=story.actor)
    assert action_items.propose(story.incident, now=moved_clock()) == []


def test_it_proposes_nothing_without_a_reason(team: Team, actor: Actor, moved_clock: Clock) -> None:
    incident = make_incident(team, make_service(team), incident_type="latency_spike")
    make_check(incident, "Latency is fine.", verdict="pass")
    assert action_items.propose(incident, now=moved_clock()) == []


def test_it_forgives_a_step_that_answered_later(team: Team, actor: Actor, moved_clock: Clock) -> None:
    incident = make_incident(team)
    make_check(incident, "No data.", verdict="inconclusive", step="labels")
    make_check(incident, "Labels agree.", verdict="pass", step="labels")
    assert action_items.propose(incident, now=moved_clock()) == []


def test_it_proposes_nothing_to_nobody(team: Team, moved_clock: Clock) -> None:
    assert action_items.propose(make_incident(team, incident_type="accuracy_drop"), now=moved_clock()) == []


@pytest.mark.parametrize(("severity", "days"), [(1, 15), (2, 30), (3, 60), (4, 90)])
def test_it_takes_the_date_from_the_severity(
    team: Team, actor: Actor, moved_clock: Clock, severity: int, days: int
) -> None:
    incident = make_incident(team, severity=severity, incident_type="accuracy_drop")
    (item,) = action_items.propose(incident, now=moved_clock())
    assert item.due_on == moved_clock().date() + timedelta(days=days)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"owner": None}, "owner"),
        ({"due_on": None}, "due_on"),
        ({"due_on": date(2026, 11, 1)}, "due_on"),
        ({"title": "Improve the alerts"}, "title"),
        ({"title": "Investigate the drop"}, "title"),
        ({"title": "The alert on null rates"}, "title"),
        ({"title": "Alert"}, "title"),
        ({"title": ""}, "title"),
        ({"kind": "magic"}, "kind"),
        ({"priority": 7}, "priority"),
    ],
)
def test_it_saves_no_half_item(team: Team, actor: Actor, fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(Invalid) as caught:
        add(make_incident(team), actor, **fields)
    assert list(caught.value.extra["fields"]) == [wrong]  # type: ignore[call-overload]
    assert not ActionItem.objects.exists()


def test_it_takes_owners_of_the_team_only(team: Team, actor: Actor) -> None:
    with pytest.raises(Invalid):
        add(make_incident(team), actor, owner=make_user())


def test_it_keeps_a_moved_date_on_the_timeline(team: Team, actor: Actor) -> None:
    item = add(make_incident(team), actor)
    action_items.edit(item, title=item.title, kind="detect", owner=actor.user, due_on=date(2026, 12, 24), actor=actor)
    entry = TimelineEntry.objects.filter(incident=item.incident).last()
    assert entry is not None
    assert "due moved from 2026-12-01 to 2026-12-24" in entry.text


def test_it_cannot_be_edited_into_half_an_item(team: Team, actor: Actor) -> None:
    item = add(make_incident(team), actor)
    with pytest.raises(Invalid):
        action_items.edit(item, title=item.title, kind="detect", owner=None, due_on=None, actor=actor)
    assert ActionItem.objects.get().owner == actor.user


def test_it_moves_by_verbs(team: Team, actor: Actor) -> None:
    item = add(make_incident(team), actor)
    assert action_items.commit(item, actor=actor).state == "committed"
    assert action_items.begin(item, actor=actor).state == "in_progress"
    assert action_items.complete(item, actor=actor).state == "done"
    assert action_items.verify(item, actor=actor).state == "verified"
    assert ActionItem.objects.get().done_at
    with pytest.raises(Conflict, match="verified already"):
        action_items.decline(item, reason="Changed our minds.", actor=actor)


def test_it_is_declined_with_a_reason_only(team: Team, actor: Actor) -> None:
    item = add(make_incident(team), actor)
    with pytest.raises(Invalid):
        action_items.decline(item, reason=" ", actor=actor)
    assert action_items.decline(item, reason="Accepted risk.", actor=actor).state == "declined"


def test_it_asks_for_permission(team: Team, actor: Actor) -> None:
    incident = make_incident(team)
    responder, viewer = make_actor(team, ["responder"]), make_actor(team, ["viewer"])
    item = add(incident, responder)
    with pytest.raises(Forbidden):
        add(incident, viewer)
    with pytest.raises(Forbidden):
        action_items.commit(item, actor=responder)
    with pytest.raises(Forbidden):
        action_items.complete(item, actor=viewer)


def test_it_lists_what_is_overdue(team: Team, actor: Actor, moved_clock: Clock) -> None:
    late = add(make_incident(team), actor)
    add(make_incident(team), actor, due_on=date(2027, 1, 1))
    add(make_incident(team, is_drill=True), actor)
    moved_clock.forward(days=11)
    assert list(ActionItem.objects.filter(action_items.due_before(moved_clock().date()))) == [late]


def test_it_reminds_before_and_then_weekly(team: Team, actor: Actor, moved_clock: Clock) -> None:
    make_address("https://a.test/own", user=actor.user)
    make_address("https://a.test/team", team=team)
    item = add(make_incident(team), actor)
    told = []
    for day in range(30):
        if action_items.remind(moved_clock()):
            told.append(day)
        assert action_items.remind(moved_clock()) == []
        moved_clock.forward(days=1)
    assert told == [9, 16, 23]
    assert Message.objects.filter(incident=item.incident, kind="action_item_due").count() == 1 + 2 + 2
    action_items.complete(item, actor=ENGINE)
    assert action_items.remind(moved_clock.forward(days=30)) == []
