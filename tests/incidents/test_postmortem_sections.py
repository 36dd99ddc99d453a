"""Writing together: leases, autosave, versions, offers of new evidence, the checklist."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import Settings

from catalog.actors import Actor, person
from common.errors import Conflict, Forbidden, Invalid, NotFound
from incidents import postmortem_checks, postmortem_offers, postmortem_sections, postmortem_text, postmortems, timeline
from incidents.models import Postmortem, TimelineEntry
from tests.conftest import Clock
from tests.factories import make_user
from tests.factories_postmortems import Story, make_check

pytestmark = pytest.mark.django_db


class Desk:
    """A drafted postmortem and two people at it."""

    def __init__(self) -> None:
        self.story = Story()
        self.made = postmortems.draft(self.story.incident, actor=self.story.actor)
        self.dana = self.story.actor
        self.ali = person(make_user("ali", team=self.story.team))

    def text(self, key: str) -> str:
        """What the database has now."""
        return postmortem_text.parse(Postmortem.objects.get(pk=self.made.pk).body).text_of(key)

    def write(self, key: str, text: str, actor: Actor | None = None, window: str = "w1", was: str | None = None) -> str:
        """Save a section from what stands there now; gives the new fingerprint."""
        begun = postmortem_text.fingerprint(self.text(key)) if was is None else was
        who = actor or self.dana
        return postmortem_sections.write(self.made, key, text=text, was=begun, actor=who, window=window).fingerprint


@pytest.fixture
def desk(moved_clock: Clock) -> Desk:
    return Desk()


# --- one writer at a time -------------------------------------------------------------------------------------------


def test_a_section_has_one_writer(desk: Desk, moved_clock: Clock) -> None:
    postmortem_sections.take(desk.made, "summary", actor=desk.dana, window="w1")
    with pytest.raises(Conflict, match=r"Dana Doe is writing in this section since 03:00 UTC"):
        postmortem_sections.take(desk.made, "summary", actor=desk.ali, window="w2")
    with pytest.raises(Conflict, match="is writing"):
        desk.write("summary", "Ali's words [T1].", desk.ali, window="w2")
    assert postmortem_sections.take(desk.made, "impact", actor=desk.ali, window="w2").writer == desk.ali.user


def test_a_lease_lapses_unless_it_is_renewed(desk: Desk, moved_clock: Clock) -> None:
    postmortem_sections.take(desk.made, "summary", actor=desk.dana, window="w1")
    moved_clock.forward(seconds=20)
    postmortem_sections.renew(desk.made, "summary", actor=desk.dana, window="w1")
    moved_clock.forward(seconds=20)
    assert postmortem_sections.held(desk.made, now=moved_clock()) == ["summary"]
    moved_clock.forward(seconds=11)
    assert postmortem_sections.held(desk.made, now=moved_clock()) == []
    assert postmortem_sections.take(desk.made, "summary", actor=desk.ali, window="w2").writer == desk.ali.user
    with pytest.raises(Conflict, match=r"ali.* went on with this section"):
        postmortem_sections.renew(desk.made, "summary", actor=desk.dana, window="w1")


def test_taking_over_keeps_what_was_saved_as_a_version(desk: Desk, moved_clock: Clock) -> None:
    desk.write("summary", "Dana's words [T1].")
    assert not desk.made.editions.filter(number=2).exists()
    postmortem_sections.take(desk.made, "summary", actor=desk.ali, window="w2", over=True)
    assert "Dana's words" in desk.made.editions.get(number=2).body
    with pytest.raises(Conflict, match=r"ali.* is writing"):
        desk.write("summary", "More of Dana [T1].")


def test_a_crash_does_not_lock_one_out(desk: Desk) -> None:
    desk.write("summary", "Before the crash [T1].", window="dead")
    section = postmortem_sections.take(desk.made, "summary", actor=desk.dana, window="new")
    assert section.window == "new"
    with pytest.raises(Conflict, match="You went on with this section in another window"):
        postmortem_sections.renew(desk.made, "summary", actor=desk.dana, window="dead")


def test_leaving_frees_and_makes_a_version(desk: Desk) -> None:
    desk.write("summary", "Done [T1].")
    postmortem_sections.leave(desk.made, "summary", actor=desk.dana, window="w1")
    assert desk.made.editions.get(number=2).author == "Dana Doe"
    assert desk.made.sections.get(key="summary").writer is None
    last = TimelineEntry.objects.filter(incident=desk.story.incident).last()
    assert last is not None
    assert last.text == "Postmortem edited: Summary (edition 2)."


# --- saving ---------------------------------------------------------------------------------------------------------


def test_typing_saves_at_once_and_makes_few_versions(desk: Desk, moved_clock: Clock) -> None:
    entries = TimelineEntry.objects.count()
    for count in range(1, 8):
        desk.write("summary", "w " * count + "[T1].")
        moved_clock.forward(seconds=2)
    row = Postmortem.objects.get()
    assert (row.edition, row.saved_by) == (8, "Dana Doe")
    assert list(row.editions.values_list("number", flat=True)) == [1]
    moved_clock.forward(minutes=5)
    desk.write("summary", "After a while [T1].")
    assert list(Postmortem.objects.get().editions.values_list("number", flat=True)) == [9, 1]
    assert TimelineEntry.objects.count() == entries + 1


def test_two_people_in_two_sections_lose_nothing(desk: Desk) -> None:
    was = {key: postmortem_text.fingerprint(desk.text(key)) for key in ("summary", "impact")}
    desk.write("summary", "Dana's [T1].", desk.dana, "w1", was["summary"])
    desk.write("impact", "Ali's [T1].", desk.ali, "w2", was["impact"])
    assert (desk.text("summary"), desk.text("impact")) == ("Dana's [T1].", "Ali's [T1].")
    row = Postmortem.objects.get()
    assert "Dana's [T1]." in row.editions.get(number=2).body
    names = {author for author, _ in row.authors.values()}
    assert names == {"Dana Doe", desk.ali.label}


def test_old_words_meet_new_ones_as_a_conflict(desk: Desk) -> None:
    was = postmortem_text.fingerprint(desk.text("summary"))
    desk.write("summary", "First [T1].")
    with pytest.raises(Conflict) as caught:
        desk.write("summary", "Second [T1].", was=was)
    assert caught.value.extra["current"] == "First [T1]."
    assert caught.value.extra["fingerprint"] == postmortem_text.fingerprint("First [T1].")
    desk.write("summary", "First [T1].", was=was)
    assert desk.text("summary") == "First [T1]."


def test_a_section_stays_one_section(desk: Desk) -> None:
    before = [one.key for one in postmortem_text.parse(desk.made.body).sections]
    desk.write("summary", "One [T1].\n\n## Sneaked in\n\n# Big\r\n\nBearer abcdefgh12345678")
    body = Postmortem.objects.get().body
    assert [one.key for one in postmortem_text.parse(body).sections] == before
    assert desk.text("summary") == "One [T1].\n\n### Sneaked in\n\n### Big\n\nBearer [secret]"


def test_only_the_named_sections_exist(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.write("nonsense", "x", was="")
    viewer = person(make_user(team=desk.story.team, roles=["viewer"]))
    with pytest.raises(Forbidden):
        desk.write("summary", "x", viewer)


# --- new evidence ---------------------------------------------------------------------------------------------------


def test_new_evidence_follows_untouched_words_and_is_offered_beside_edited_ones(desk: Desk) -> None:
    first = postmortem_text.blocks(desk.text("checks"))[1].strip()
    desk.write("checks", desk.text("checks").replace(first, "- My own reading [E1]."))
    postmortem_sections.leave(desk.made, "checks", actor=desk.dana, window="w1")
    make_check(desk.story.incident, "A late finding of 12.")
    made = postmortems.draft(desk.story.incident, actor=desk.dana, regenerate=True)
    assert "My own reading" in made.body
    assert "A late finding of 12" in desk.text("checks")
    assert made.offers.count() == 0


def test_an_offer_is_taken_or_kept(desk: Desk, moved_clock: Clock) -> None:
    desk.write("detection", "My own telling of it [T1].")
    timeline.record(desk.story.incident, kind="message", actor=desk.dana, text="x", data={"recipients": []})
    made = postmortems.draft(desk.story.incident, actor=desk.dana, regenerate=True)
    offer = made.offers.get()
    assert (offer.section, "nobody to tell" in offer.text) == ("detection", True)
    assert desk.text("detection") == "My own telling of it [T1]."
    postmortem_sections.take(desk.made, "detection", actor=desk.ali, window="w2", over=True)
    with pytest.raises(Conflict, match="is writing"):
        postmortem_offers.answer(offer, take=True, actor=desk.dana)
    moved_clock.forward(seconds=40)
    postmortem_offers.answer(offer, take=True, actor=desk.dana)
    assert "nobody to tell" in desk.text("detection")
    with pytest.raises(Conflict, match="answered this already"):
        postmortem_offers.answer(offer, take=False, actor=desk.dana)


def test_what_was_kept_is_not_offered_again(desk: Desk) -> None:
    desk.write("detection", "My own telling of it [T1].")
    timeline.record(desk.story.incident, kind="message", actor=desk.dana, text="x", data={"recipients": []})
    offer = postmortems.draft(desk.story.incident, actor=desk.dana, regenerate=True).offers.get()
    postmortem_offers.answer(offer, take=False, actor=desk.dana)
    again = postmortems.draft(desk.story.incident, actor=desk.dana, regenerate=True)
    assert again.offers.filter(state="open").count() == 0
    assert desk.text("detection") == "My own telling of it [T1]."


def test_an_entry_joins_the_timeline_in_its_place(desk: Desk) -> None:
    noted = timeline.record(
        desk.story.incident, kind="postmortem", actor=desk.dana, text="Told late.",
        at=desk.story.incident.detected_at + timedelta(minutes=30),
    )  # fmt: skip
    postmortem_sections.add_moment(desk.made, noted.seq, actor=desk.dana)
    lines = desk.text("timeline").split("\n")
    at = next(number for number, line in enumerate(lines) if f"[T{noted.seq}]" in line)
    assert "Rolled back" in lines[at + 1]
    with pytest.raises(Conflict, match="already"):
        postmortem_sections.add_moment(desk.made, noted.seq, actor=desk.dana)


# --- who sees to what -----------------------------------------------------------------------------------------------


def test_the_checklist_keeps_what_blocks_apart(desk: Desk) -> None:
    desk.write("summary", "The on-call should have looked [T1]. See [E99].")
    row = Postmortem.objects.get()
    found = postmortem_checks.checks(row)
    assert [(one.code, one.section, one.line) for one in postmortem_checks.blocking(found)] == [
        ("PM02", "summary", 1),
        ("PM20", "summary", 1),
    ]
    assert {one.code for one in found if one.severity == "advises"} >= {"ask"}
    with pytest.raises(Conflict, match="2 findings to go"):
        postmortems.set_state(row, "in_review", actor=desk.dana)


def test_sections_and_checks_are_somebodys(desk: Desk) -> None:
    assert desk.ali.user is not None
    check = postmortem_checks.checks(Postmortem.objects.get())[0]
    postmortem_sections.see_to(desk.made, check.id, person=desk.ali.user, actor=desk.dana)
    postmortem_sections.answer_for(desk.made, "impact", owner=desk.ali.user, actor=desk.dana)
    row = Postmortem.objects.get()
    assert postmortem_checks.checks(row)[0].person == desk.ali.user.username
    assert row.sections.get(key="impact").owner == desk.ali.user
    with pytest.raises(Invalid):
        postmortem_sections.answer_for(desk.made, "impact", owner=make_user(), actor=desk.dana)
    postmortem_sections.see_to(desk.made, check.id, person=None, actor=desk.dana)
    assert Postmortem.objects.get().assigned == {}


def test_a_reviewer_is_not_the_owner(desk: Desk, settings: Settings) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"two_person": "on"})
    assert postmortems.review_by(desk.made, reviewer=desk.ali.user, actor=desk.dana).reviewer == desk.ali.user
    with pytest.raises(Invalid, match="does not review their own"):
        postmortems.review_by(desk.made, reviewer=desk.story.user, actor=desk.dana)
    assert postmortems.review_by(desk.made, reviewer=None, actor=desk.dana).reviewer is None
