"""Postmortems: the clock, editions, review, exports."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from catalog.actors import ENGINE
from catalog.models import Team
from common.errors import Conflict, Forbidden, Invalid, NotFound
from incidents import (
    action_items,
    citations,
    lifecycle,
    postmortem_export,
    postmortems,
)
from incidents.models import Message, Postmortem, TimelineEntry
from incidents.ownership import owner_of
from tests.conftest import Clock
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_postmortems import Story, make_address, make_check

pytestmark = pytest.mark.django_db


# --- the clock ------------------------------------------------------------------------------------------------------


def test_it_starts_the_clock_once(team: Team, moved_clock: Clock) -> None:
    incident = make_incident(team)
    first = postmortems.start_clock(incident, now=moved_clock())
    again = postmortems.start_clock(incident, now=moved_clock.forward(hours=1))
    assert (again.pk, again.due_at) == (first.pk, first.due_at)
    assert first.due_at - first.clock_started_at == timedelta(hours=48)
    assert TimelineEntry.objects.filter(incident=incident, kind="postmortem").count() == 1


def test_it_finds_an_owner(team: Team, moved_clock: Clock) -> None:
    admin = make_user(team=team, roles=["admin"])
    commander = make_user(team=team, roles=["responder"])
    lead = make_user(team=team, roles=["viewer"])
    service = make_service(team)
    incident = make_incident(team, service)
    assert owner_of(incident) == admin
    incident.commander = commander
    assert owner_of(incident) == commander
    team.default_owner = lead
    assert owner_of(incident) == lead
    service.default_owner = admin
    assert owner_of(incident) == admin


def test_it_gives_an_early_draft_its_48_hours_from_mitigation(team: Team, moved_clock: Clock) -> None:
    make_address("https://a.test/team", team=team)
    incident = lifecycle.declare(team=team, title="x", severity=2, actor=ENGINE)
    early = postmortems.draft(incident, actor=ENGINE)
    assert (early.state, early.due) == ("draft", None)
    assert postmortems.check_clocks(moved_clock.forward(hours=60)) == []
    lifecycle.mitigate(incident, actor=ENGINE)
    assert Postmortem.objects.get().due_at == moved_clock() + timedelta(hours=48)
    assert [row.told_hours for row in postmortems.check_clocks(moved_clock.forward(hours=24))] == [[24]]


def test_it_starts_the_clock_anew_after_a_reopening(team: Team, moved_clock: Clock) -> None:
    make_address("https://a.test/team", team=team)
    incident = lifecycle.declare(team=team, title="x", severity=2, actor=ENGINE)
    lifecycle.resolve(incident, actor=ENGINE)
    postmortems.check_clocks(moved_clock.forward(hours=25))
    lifecycle.reopen(incident, actor=ENGINE, reason="It is back.")
    assert Postmortem.objects.get().due is None
    assert postmortems.check_clocks(moved_clock.forward(hours=40)) == []
    lifecycle.mitigate(incident, actor=ENGINE)
    assert Postmortem.objects.get().due_at == moved_clock() + timedelta(hours=48)
    for _ in range(60):
        postmortems.check_clocks(moved_clock.forward(hours=1))
    kinds = sorted(Message.objects.filter(kind__startswith="postmortem").values_list("kind", flat=True))
    assert kinds == ["postmortem_24", "postmortem_24", "postmortem_44", "postmortem_48"]
    told = TimelineEntry.objects.filter(incident=incident, kind="postmortem").order_by("seq")
    assert [entry.data["change"] for entry in told] == ["clock_started", "clock_stopped", "clock_started"]


def test_it_leaves_a_published_postmortem_its_date(team: Team, moved_clock: Clock) -> None:
    incident = lifecycle.declare(team=team, title="x", severity=2, actor=ENGINE)
    lifecycle.resolve(incident, actor=ENGINE)
    Postmortem.objects.update(state="published")
    due_at = Postmortem.objects.get().due_at
    moved_clock.forward(hours=1)
    lifecycle.reopen(incident, actor=ENGINE, reason="It is back.")
    lifecycle.mitigate(incident, actor=ENGINE)
    assert Postmortem.objects.get().due == due_at


def test_it_tells_at_24_44_and_48_hours_once_each(team: Team, moved_clock: Clock) -> None:
    user = make_user(team=team)
    make_address("https://a.test/own", user=user)
    make_address("https://a.test/team", team=team)
    incident = make_incident(team, make_service(team, default_owner=user), mitigated_at=moved_clock())
    postmortems.start_clock(incident, now=moved_clock())
    told = []
    for _ in range(60):
        moved_clock.forward(hours=1)
        told += [row.told_hours[-1] for row in postmortems.check_clocks(moved_clock())]
        assert postmortems.check_clocks(moved_clock()) == []
    assert told == [24, 44, 48]
    kinds = sorted(Message.objects.values_list("kind", flat=True))
    assert kinds == ["postmortem_24", "postmortem_44", "postmortem_48", "postmortem_48"]


def test_it_tells_only_the_latest_hour_after_a_standstill(team: Team, moved_clock: Clock) -> None:
    make_address("https://a.test/team", team=team)
    postmortems.start_clock(make_incident(team, mitigated_at=moved_clock()), now=moved_clock())
    postmortems.check_clocks(moved_clock.forward(hours=70))
    assert list(Message.objects.values_list("kind", flat=True)) == ["postmortem_48"]


def test_it_runs_no_clock_for_drills(team: Team, moved_clock: Clock) -> None:
    postmortems.start_clock(make_incident(team, is_drill=True, mitigated_at=moved_clock()), now=moved_clock())
    assert postmortems.check_clocks(moved_clock.forward(hours=50)) == []


def test_it_stops_the_clock_at_review(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    postmortems.set_state(made, "in_review", actor=story.actor, reason="enough")
    assert postmortems.check_clocks(moved_clock.forward(hours=50)) == []


# --- editions and review --------------------------------------------------------------------------------------------


def test_it_stores_editions(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    assert (made.state, made.edition, made.drafted_at) == ("draft", 1, moved_clock())
    saved = postmortems.save(made, body="Mine [T1].\r\n", edition=1, actor=story.actor)
    assert (saved.edition, saved.body) == (2, "Mine [T1].\n")
    assert list(saved.editions.values_list("number", "author")) == [(2, "Dana Doe"), (1, "engine")]


def test_it_keeps_secrets_and_broken_characters_out(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    pasted = "Called with Bearer abcdefgh12345678, \x00 and \ud800 [T1]."
    assert postmortems.save(made, body=pasted, edition=1, actor=story.actor).body == (
        "Called with Bearer [secret], \ufffd and ? [T1].\n"
    )


def test_it_counts_the_questions_that_are_open(moved_clock: Clock) -> None:
    body = postmortems.draft(Story().incident, actor=ENGINE).body
    asked = citations.open_questions(body)
    assert {role for _, role, _ in asked} <= set(citations.ROLES)
    line, role, question = asked[0]
    assert f"**{role}:** {question}" in body.split("\n")[line - 1]
    answered = body.replace(f"**{role}:** {question}", f"**{role}:** {question} 412 of 9,000 users [T1].")
    assert len(citations.open_questions(answered)) == len(asked) - 1


def test_it_refuses_to_save_over_newer_words(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    postmortems.save(made, body="First [T1].", edition=1, actor=story.actor)
    with pytest.raises(Conflict) as caught:
        postmortems.save(made, body="Second [T1].", edition=1, actor=story.actor)
    assert (caught.value.extra["current"], caught.value.extra["edition"]) == ("First [T1].\n", 2)
    assert Postmortem.objects.get().body == "First [T1].\n"


def test_it_makes_no_edition_of_the_same_text(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    assert postmortems.save(made, body=made.body, edition=1, actor=story.actor).edition == 1


def test_it_never_drafts_over_edited_words_unseen(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    postmortems.save(made, body="Mine [T1].", edition=1, actor=story.actor)
    with pytest.raises(Conflict, match="edited by hand"):
        postmortems.draft(story.incident, actor=story.actor)
    again = postmortems.draft(story.incident, actor=story.actor, regenerate=True)
    assert (again.edition, again.body) == (2, "Mine [T1].\n")


def test_it_drafts_again_with_what_is_new(moved_clock: Clock) -> None:
    story = Story()
    postmortems.draft(story.incident, actor=story.actor)
    row = make_check(story.incident, "A late finding of 12.")
    made = postmortems.draft(story.incident, actor=story.actor)
    assert made.edition == 2
    assert f"[E{row.number}]" in made.body


def test_it_lets_only_those_edit_who_may(team: Team) -> None:
    story = Story(team)
    made = postmortems.draft(story.incident, actor=ENGINE)
    with pytest.raises(Forbidden):
        postmortems.save(made, body="x", edition=1, actor=make_actor(team, ["viewer"]))
    with pytest.raises(NotFound):
        postmortems.draft(story.incident, actor=make_actor(make_incident().team))
    with pytest.raises(Forbidden):
        postmortems.set_state(made, "in_review", actor=make_actor(team, ["author"]))


def test_it_keeps_blame_out_of_review(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    made = postmortems.save(made, body="The engineer failed to look [T1].", edition=1, actor=story.actor)
    with pytest.raises(Conflict, match="1 finding") as caught:
        postmortems.set_state(made, "in_review", actor=story.actor)
    assert caught.value.extra["findings"]
    moved = postmortems.set_state(made, "in_review", actor=story.actor, reason="Quoted from the customer.")
    assert moved.state == "in_review"


def test_it_goes_from_draft_to_closed(team: Team, settings: Settings) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"two_person": "on"})
    story = Story(team)
    made = postmortems.draft(story.incident, actor=story.actor)
    made = postmortems.set_state(made, "in_review", actor=story.actor)
    with pytest.raises(Conflict, match="own postmortem"):
        postmortems.set_state(made, "approved", actor=story.actor)
    other = make_actor(team)
    made = postmortems.set_state(made, "approved", actor=other)
    made = postmortems.set_state(made, "published", actor=other)
    assert made.published_at
    with pytest.raises(Conflict, match="still open"):
        postmortems.set_state(made, "closed", actor=other)
    for item in story.incident.action_items.all():
        action_items.decline(item, reason="Accepted risk.", actor=other)
    made = postmortems.set_state(made, "closed", actor=other)
    with pytest.raises(Conflict, match="closed"):
        postmortems.save(made, body="x", edition=made.edition, actor=other)


def test_it_notes_an_approval_by_the_owner(team: Team, settings: Settings) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"two_person": "off"})
    story = Story(team)
    made = postmortems.draft(story.incident, actor=story.actor)
    made = postmortems.set_state(made, "in_review", actor=story.actor)
    postmortems.set_state(made, "approved", actor=story.actor)
    entry = TimelineEntry.objects.filter(incident=story.incident).last()
    assert entry is not None
    assert entry.data["override"] == "Approved by its owner (one-person mode)."


def test_it_refuses_a_jump(team: Team) -> None:
    made = postmortems.start_clock(make_incident(team), now=make_incident(team).started_at)
    with pytest.raises(Conflict, match="it goes to: draft"):
        postmortems.set_state(made, "published", actor=ENGINE)


def test_it_is_given_to_members_only(team: Team) -> None:
    made = postmortems.start_clock(make_incident(team), now=make_incident(team).started_at)
    with pytest.raises(Invalid):
        postmortems.assign(made, owner=make_user(), actor=ENGINE)
    owner = make_user(team=team)
    assert postmortems.assign(made, owner=owner, actor=ENGINE).owner == owner


# --- exports and the command ----------------------------------------------------------------------------------------


def test_it_exports(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    assert postmortem_export.markdown(made).endswith(f"<!-- {story.incident.key}, edition 1, draft -->\n")
    page = postmortem_export.html(made)
    assert '<link rel="stylesheet" href="/static/print.css">' in page
    assert "<script" not in page
    assert " style=" not in page
    exported = json.loads(json.dumps(postmortem_export.data(made)))
    assert exported["whys"][0]["level"] == 1
    assert len(exported["evidence"]) == 6
    assert exported["action_items"][0]["due_on"]


def test_it_drafts_and_exports_from_the_command_line(moved_clock: Clock) -> None:
    story, out = Story(), StringIO()
    call_command("postmortem", "draft", story.incident.key, stdout=out)
    call_command("postmortem", "export", str(story.incident.number), "--format", "json", stdout=out)
    assert "edition 1" in out.getvalue()
    assert json.loads(out.getvalue().partition("\n")[2])["incident"] == story.incident.key


def test_it_exports_a_page_that_needs_no_server(moved_clock: Clock) -> None:
    story, out = Story(), StringIO()
    postmortems.draft(story.incident, actor=story.actor)
    call_command("postmortem", "export", str(story.incident.number), "--format", "html", stdout=out)
    assert "<style>" in out.getvalue()
    assert "/static/" not in out.getvalue()


def test_it_says_that_it_makes_no_pdf(moved_clock: Clock) -> None:
    story, said = Story(), StringIO()
    postmortems.draft(story.incident, actor=story.actor)
    with pytest.raises(SystemExit) as caught:
        call_command("postmortem", "export", str(story.incident.number), "--format", "pdf", stderr=said)
    assert caught.value.code == 2
    assert "export as html and print it" in said.getvalue()


def test_its_own_export_passes_the_lint(moved_clock: Clock, tmp_path: Path) -> None:
    story, file, out = Story(), tmp_path / "draft.md", StringIO()
    file.write_text(postmortem_export.markdown(postmortems.draft(story.incident, actor=story.actor)))
    call_command("postmortem", "lint", str(file), stdout=out)
    assert out.getvalue().endswith("to consider\n")
    assert "PM10" not in out.getvalue()


def test_it_asks_whether_it_is_over_while_one_check_could_not_tell(moved_clock: Clock) -> None:
    story = Story()
    make_check(story.incident, "Accuracy is too noisy.", verdict="inconclusive", phase="verify")
    make_check(story.incident, "Errors are quiet.", verdict="pass", phase="verify")
    verified = citations.section(postmortems.draft(story.incident, actor=ENGINE).body, "Verification") or ""
    assert "which measurement shows that it is over" in verified


def test_it_lints_a_file(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text("## Summary\n\nErrors rose to 7 % [E1].\n")
    bad.write_text("The on-call should have looked [E1].\n")
    out = StringIO()
    call_command("postmortem", "lint", str(good), stdout=out)
    with pytest.raises(SystemExit) as caught:
        call_command("postmortem", "lint", str(bad), "--json", stdout=(found := StringIO()))
    assert caught.value.code == 1
    (row,) = json.loads(found.getvalue())["findings"]
    assert (row["line"], row["column"], row["code"]) == (1, 13, "PM02")


def test_it_names_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        call_command("postmortem", "lint", str(tmp_path / "no.md"), stderr=StringIO())
    assert caught.value.code == 2
