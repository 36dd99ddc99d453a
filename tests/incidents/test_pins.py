"""Stars on a timeline, and correcting when a note's event was."""

from __future__ import annotations

from datetime import timedelta

import pytest

from catalog.actors import ENGINE, Actor
from catalog.models import Team
from common import clock
from common.errors import Conflict, Forbidden, Invalid, NotFound
from incidents import lifecycle, notes, pins, postmortem_facts, timeline
from incidents.models import Incident, Pin
from tests.factories import make_actor

pytestmark = pytest.mark.django_db


@pytest.fixture
def incident(team: Team) -> Incident:
    return lifecycle.declare(team=team, title="Answers got worse", severity=2, actor=ENGINE)


@pytest.fixture
def rita(team: Team) -> Actor:
    return make_actor(team, username="rita")


def keys(incident: Incident) -> list[int]:
    """The numbers of the entries with a star."""
    said = pins.overruled(incident)
    return [entry.seq for entry in incident.timeline.all() if pins.is_key(entry, said)]


def test_a_person_sets_a_star_and_takes_one_away(incident: Incident, rita: Actor) -> None:
    note = lifecycle.add_note(incident, text="look here", actor=rita)
    opened, told = keys(incident), incident.last_seq
    before = Incident.objects.get(pk=incident.pk).version
    assert pins.pin(incident, note.seq, pinned=True, actor=rita)
    assert pins.pin(incident, opened[0], pinned=False, actor=rita)
    assert keys(incident) == [note.seq]
    incident.refresh_from_db()
    assert (incident.version, incident.last_seq) == (before + 2, told)
    assert timeline.broken_links(incident) == []


def test_a_draft_takes_the_stars_of_people(incident: Incident, rita: Actor) -> None:
    note = lifecycle.add_note(incident, text="look here", actor=rita)
    pins.pin(incident, note.seq, pinned=True, actor=rita)
    pins.pin(incident, 1, pinned=False, actor=rita)
    told = postmortem_facts.gather(incident).entries
    assert [entry.seq for entry in told if entry.pinned] == [note.seq]


def test_the_same_again_changes_nothing(incident: Incident, rita: Actor) -> None:
    note = lifecycle.add_note(incident, text="look here", actor=rita)
    assert [pins.pin(incident, note.seq, pinned=True, actor=rita) for _ in range(3)] == [True, False, False]
    assert Pin.objects.get().by == "rita"


def test_a_star_needs_an_entry_and_leave(incident: Incident, rita: Actor, team: Team) -> None:
    with pytest.raises(NotFound, match="no entry 99"):
        pins.pin(incident, 99, pinned=True, actor=rita)
    with pytest.raises(Forbidden):
        pins.pin(incident, 1, pinned=False, actor=make_actor(team, roles=["viewer"]))


def test_the_time_of_a_note_is_corrected_by_a_new_entry(incident: Incident, rita: Actor, team: Team) -> None:
    note = lifecycle.add_note(incident, text="switched the flag", actor=rita)
    pins.pin(incident, note.seq, pinned=True, actor=rita)
    earlier = clock.now() - timedelta(minutes=9)
    sam = make_actor(team, username="sam")
    found = notes.correct_time(incident, note.seq, at=earlier, reason="the audit log says so", actor=sam)
    assert (found.text, found.at, found.supersedes, found.actor) == (note.text, earlier, note.seq, "sam")
    assert found.data == {"written_by": "rita", "at_was": note.at.isoformat(), "reason": "the audit log says so"}
    assert found.seq in keys(incident)
    assert timeline.broken_links(Incident.objects.get(pk=incident.pk)) == []


def test_only_the_last_word_of_a_note_is_corrected(incident: Incident, rita: Actor) -> None:
    note = lifecycle.add_note(incident, text="switched the flag", actor=rita)
    now = clock.now()
    notes.correct_time(incident, note.seq, at=now - timedelta(hours=1), reason="r", actor=rita)
    with pytest.raises(Conflict, match="corrected already"):
        notes.correct_time(incident, note.seq, at=now - timedelta(hours=2), reason="r", actor=rita)
    with pytest.raises(Conflict, match="Only the time of a note"):
        notes.correct_time(incident, 1, at=now, reason="r", actor=rita)
    with pytest.raises(Invalid, match="future"):
        notes.correct_time(incident, note.seq, at=now + timedelta(hours=1), reason="r", actor=rita)
    with pytest.raises(Invalid, match="reason"):
        notes.correct_time(incident, note.seq, at=now, reason=" ", actor=rita)
