"""Postmortems: the clock, the draft from evidence, editions, review, exports."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from catalog.actors import ENGINE
from catalog.models import Team
from common.errors import Conflict, Forbidden, Invalid, NotFound
from incidents import (
    action_items,
    citations,
    lifecycle,
    outbox,
    postmortem_export,
    postmortem_lint,
    postmortems,
    timeline,
)
from incidents.models import Message, Postmortem, TimelineEntry
from incidents.ownership import owner_of
from incidents.postmortem_draft import compile_draft
from incidents.postmortem_facts import gather
from incidents.postmortem_moments import KEY_MOMENTS
from tests.conftest import Clock
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_postmortems import Story, make_address, make_check
from tests.fakes import web

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
    incident = make_incident(team)
    postmortems.draft(incident, actor=ENGINE)
    incident.mitigated_at = moved_clock.forward(hours=5)
    incident.save()
    assert postmortems.start_clock(incident, now=moved_clock()).due_at == moved_clock() + timedelta(hours=48)


def test_it_tells_at_24_44_and_48_hours_once_each(team: Team, moved_clock: Clock) -> None:
    user = make_user(team=team)
    make_address("https://a.test/own", user=user)
    make_address("https://a.test/team", team=team)
    incident = make_incident(team, make_service(team, default_owner=user))
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
    postmortems.start_clock(make_incident(team), now=moved_clock())
    postmortems.check_clocks(moved_clock.forward(hours=70))
    assert list(Message.objects.values_list("kind", flat=True)) == ["postmortem_48"]


def test_it_runs_no_clock_for_drills(team: Team, moved_clock: Clock) -> None:
    postmortems.start_clock(make_incident(team, is_drill=True), now=moved_clock())
    assert postmortems.check_clocks(moved_clock.forward(hours=50)) == []


def test_it_stops_the_clock_at_review(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=story.actor)
    postmortems.set_state(made, "in_review", actor=story.actor, reason="enough")
    assert postmortems.check_clocks(moved_clock.forward(hours=50)) == []


# --- the draft ------------------------------------------------------------------------------------------------------


def test_it_supports_every_sentence(moved_clock: Clock) -> None:
    made = postmortems.draft(Story().incident, actor=ENGINE)
    assert postmortems.unsupported_sentences(made.body) == []


def test_it_supports_every_sentence_of_an_empty_incident(team: Team) -> None:
    made = postmortems.draft(make_incident(team), actor=ENGINE)
    assert postmortems.unsupported_sentences(made.body) == []


def test_it_holds_its_own_language_rules(moved_clock: Clock) -> None:
    made = postmortems.draft(Story().incident, actor=ENGINE)
    assert postmortem_lint.blocking(postmortem_lint.findings(made.body)) == []


def test_it_names_roles_and_no_people(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=ENGINE)
    without_owners = "\n".join(line for line in made.body.split("\n") if "| P" not in line)
    assert "Dana" not in without_owners
    assert "The on-call approved the rollback" in made.body


def test_it_derives_the_durations(moved_clock: Clock) -> None:
    body = postmortems.draft(Story().incident, actor=ENGINE).body
    assert "| Time to detect | 9 min | [T1] |" in body
    assert "| Time to acknowledge | 2 min | [T2] |" in body
    assert re.search(r"\| Time to mitigate \| 50 min \| \[T\d+\] \|", body)
    assert re.search(r"\| Mitigated \| 2026-11-21 03:41 UTC \(\+50 min\) \| \[T\d+\] \|", body)


def test_it_asks_where_a_moment_is_missing(team: Team) -> None:
    body = postmortems.draft(make_incident(team), actor=ENGINE).body
    assert "| Mitigated | unknown | **Incident commander:** what should “mitigated” say, and what shows it? |" in body


def test_it_lists_what_was_checked_and_found(moved_clock: Clock) -> None:
    story = Story()
    found = citations.section(postmortems.draft(story.incident, actor=ENGINE).body, "What was checked") or ""
    effect = "Accuracy fell from 0.91 to 0.78: −0.13 [−0.16, −0.1], n = 900"
    assert f"### Problem found\n\n- {effect} [E{story.effect.number}]." in found
    assert f"### Can't tell\n\n- No labels in the last hour [E{story.open.number}]." in found
    assert f"### Ruled out\n\n- Latency stayed at 210 ms [E{story.quiet.number}]." in found


def test_it_fills_the_five_whys(moved_clock: Clock) -> None:
    story = Story()
    made = postmortems.draft(story.incident, actor=ENGINE)
    effect, cause, prevention, detection, condition = made.whys
    assert (effect["statement"], effect["evidence"]) == ("Accuracy fell from 0.91 to 0.78.", [story.effect.number])
    assert cause["statement"] == "The checks point to “Bad model version v43” (score +4)."
    assert cause["evidence"] == [story.effect.number, story.change.number, story.quiet.number]
    assert [line["side"] for line in cause["lines"]] == ["for", "for", "against"]
    assert prevention["statement"] == "golden shows the loss, worst on language=en."
    assert prevention["question"] == "was v43 compared with v42 before it served, and what did that show?"
    assert prevention["evidence"] == [story.versions.number]
    assert (detection["statement"], detection["entries"]) == ("It was detected 9 min after it began.", [1])
    assert (condition["ask_role"], condition["evidence"]) == ("Model owner", [])


def test_it_asks_instead_of_guessing_a_cause(team: Team) -> None:
    made = postmortems.draft(make_incident(team), actor=ENGINE)
    assert [level["ask_role"] for level in made.whys] == ["Service owner"] * 5
    assert [one.code for one in postmortem_lint.findings(made.body, names=[])] == ["PM09"]


def test_it_begins_before_anybody_saw_it(moved_clock: Clock) -> None:
    story = Story()
    lines = (citations.section(postmortems.draft(story.incident, actor=ENGINE).body, "Timeline") or "").split("\n- ")
    assert lines[1] == f"**2026-11-21 02:39:00** (T-12:00) Changed (model): Deploy v43 [E{story.change.number}]."
    assert lines[2] == "**02:51:00** (T+0:00) The impact began [T1]."
    assert lines[3].startswith("**03:00:00** (T+9:00) Alert AccuracyLow fired: 0.78; Limit 0.88 [T1]")


def test_it_tells_each_measurement_in_full_only_where_it_belongs(moved_clock: Clock) -> None:
    story = Story()
    body = postmortems.draft(story.incident, actor=ENGINE).body
    assert [body.count(row.summary.rstrip(".")) for row in (story.versions, story.change, story.back)] == [1, 1, 1]
    assert body.count(story.effect.summary.rstrip(".")) == 2
    assert f"Accuracy fell from 0.91 to 0.78 [E{story.effect.number}]." in (citations.section(body, "Summary") or "")
    assert "\n\n\n" not in body


def test_it_tells_who_decided_what_was_done_and_whether_it_helped(moved_clock: Clock) -> None:
    story = Story()
    body = postmortems.draft(story.incident, actor=ENGINE).body
    response = citations.section(body, "Response") or ""
    assert re.search(
        r"Rolled back the model from v43 to v42; it took 6 min 52 s from approval \[T\d+\]\. "
        r"Proposed at 03:00:00, overridden at 03:00:00 by the on-call \[T\d+\] \[T\d+\]\.",
        response,
    )
    assert re.search(r"\| flag chat-model \| v43 \| v42 \| \[T\d+\] \|", body)
    verified = citations.section(body, "Verification") or ""
    assert verified.strip() == f"- No problem: {story.back.summary[:-1]} [E{story.back.number}]."


def test_it_says_when_nobody_could_be_told(team: Team, moved_clock: Clock) -> None:
    incident = lifecycle.declare(team=team, title="Slow", severity=2, actor=ENGINE)
    body = postmortems.draft(incident, actor=ENGINE).body
    assert "- Once there was nobody to tell, because nobody had an address [T2]." in body


def test_it_says_how_soon_somebody_was_told(team: Team, moved_clock: Clock) -> None:
    with web.serve(lambda asked: web.Reply()) as sink:
        make_address(sink.url, team=team)
        incident = lifecycle.declare(team=team, title="Slow", severity=2, actor=ENGINE)
        moved_clock.forward(seconds=7)
        outbox.deliver(Message.objects.get().pk)
    body = postmortems.draft(incident, actor=ENGINE).body
    assert "- The first message was delivered 7 s after the detection [T3]." in body


def test_it_says_when_no_cause_was_sure(team: Team) -> None:
    incident = make_incident(team)
    row = make_check(incident, "Errors rose to 7 %.")
    lines = [{"step": "a", "verdict": "fail", "points": 1, "evidence": row.number}]
    ranked = [{"id": "x", "title": "Upstream slow", "confidence": 0.41, "score": 1, "lines": lines}]
    timeline.record(incident, kind="diagnosis", actor=ENGINE, text="No cause.", data={"top": "", "ranked": ranked})
    made = postmortems.draft(incident, actor=ENGINE)
    assert made.whys[1]["statement"] == "No cause was sure enough, the nearest was “Upstream slow” (score +1)."


def test_it_cites_only_what_exists(moved_clock: Clock) -> None:
    story = Story()
    body = postmortems.draft(story.incident, actor=ENGINE).body
    story.incident.refresh_from_db()
    known = {f"E{n}" for n in range(1, story.incident.last_evidence + 1)}
    known |= {f"T{n}" for n in range(1, story.incident.last_seq + 1)}
    assert set(citations.references(body)) <= known


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gone=st.sets(st.integers(min_value=0, max_value=3), min_size=1))
def test_it_says_nothing_of_evidence_that_is_gone(gone: set[int], db: None) -> None:
    story = Story()
    facts = gather(story.incident)
    numbers = [sorted(facts.evidence)[index] for index in gone]
    sentences = [facts.evidence[number].summary.rstrip(".") for number in numbers]
    for number in numbers:
        del facts.evidence[number]
    made = compile_draft(facts)
    assert not set(citations.references(made.body)) & {f"E{number}" for number in numbers}
    assert not [sentence for sentence in sentences if sentence in made.body]
    assert not [level for level in made.whys if set(level["evidence"]) & set(numbers)]
    assert citations.unsupported_sentences(made.body) == []


def test_it_folds_a_long_timeline(team: Team, moved_clock: Clock) -> None:
    incident = make_incident(team)
    timeline.record(incident, kind="alert", actor=ENGINE, text="Alert fired.")
    for number in range(60):
        moved_clock.forward(minutes=11 if number in (3, 40) else 1)
        make_check(incident, f"Step {number} is fine.", verdict="pass")
    timeline.record(incident, kind="note", actor=ENGINE, text="Pinned words.", pinned=True)
    body = postmortems.draft(incident, actor=ENGINE).body
    shown = [line for line in (citations.section(body, "Timeline") or "").split("\n") if line.startswith("- **")]
    asked = [line for line in shown if "what happened here" in line]
    assert len(shown) - len(asked) == KEY_MOMENTS
    assert any("Pinned words" in line for line in shown)
    assert 1 <= len(asked) <= 5
    assert "[T61] [E60]" in (citations.section(body, "Appendix: other") or "")
    assert "Step 59 is fine [E60]" in body


def test_it_shows_foreign_text_as_text(team: Team) -> None:
    title = "# x [a](javascript:1) [E7] | `b` <script> *c*\n- d"
    body = postmortems.draft(make_incident(team, title=title), actor=ENGINE).body
    assert citations.references(body.split("\n")[0]) == []
    page = postmortem_export.html(Postmortem.objects.get())
    assert "<script" not in page
    assert "# x [a](javascript:1) [E7] | `b` &lt;script&gt; *c* - d</h1>" in page


def test_it_leaves_out_what_was_superseded(team: Team) -> None:
    incident = make_incident(team)
    wrong = timeline.record(incident, kind="note", actor=ENGINE, text="It was v44.")
    timeline.record(incident, kind="note", actor=ENGINE, text="It was v43.", supersedes=wrong.seq)
    body = postmortems.draft(incident, actor=ENGINE).body
    assert "v44" not in body
    assert "v43" in body


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
    assert body.split("\n")[line - 1] == f"- **{role}:** {question}"
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
    assert again.edition == 3
    assert again.editions.get(number=2).body == "Mine [T1].\n"


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
