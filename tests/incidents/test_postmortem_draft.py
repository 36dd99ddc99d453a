"""The draft of a postmortem: what it says, where, and that nothing in it is without evidence."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.actors import ENGINE
from catalog.models import Team
from incidents import (
    citations,
    lifecycle,
    notices,
    outbox,
    postmortem_export,
    postmortem_lint,
    postmortems,
    timeline,
)
from incidents.models import Message, Postmortem
from incidents.postmortem_draft import compile_draft
from incidents.postmortem_facts import gather
from incidents.postmortem_moments import KEY_MOMENTS
from tests.conftest import Clock
from tests.factories import make_incident
from tests.factories_postmortems import Story, make_address, make_check
from tests.fakes import web

pytestmark = pytest.mark.django_db


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
    assert re.search(r"\| Mitigated \| 2026-11-21 03:41 UTC \(\+50 min\) \| set by the on-call \[T\d+\] \|", body)


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
    assert re.search(
        r"\| Model and version: flag chat-model \| v42 \| \*\*v43\*\* \| \*\*v42\*\* \| \[T\d+\] \[E3\] \|", body
    )
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


def test_it_counts_messages_where_several_were_tried_as_one(team: Team, moved_clock: Clock) -> None:
    make_address("http://127.0.0.1:9/", team=team)
    incident = lifecycle.declare(team=team, title="Slow", severity=2, actor=ENGINE)
    for key in ("a", "b"):
        notices.tell(team=team, kind="opened", key=key, subject=key, body="B", link="/", incident=incident)
    moved_clock.forward(hours=1)
    outbox.deliver_together(list(Message.objects.all()), moved_clock())
    body = postmortems.draft(incident, actor=ENGINE).body
    assert "- 3 of 3 messages could not be delivered [T5]." in body


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
    assert "[T61] [E60]" in (citations.section(body, "Other entries") or "")
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
