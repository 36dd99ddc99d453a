"""The run's page: every field of a step, verbs only where legal and with their consequence, effects in doubt."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client

from catalog.models import Team, User
from incidents.models import Evidence, Incident
from runbooks import runs
from runbooks.actions.base import Ambiguous
from runbooks.models import Attempt, Effect, Run
from tests.factories import make_actor, make_incident, make_service, make_user
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.factories_web import signed_in, text_of
from tests.fakes.world import World
from web.pages.runs.rows import emphasised

pytestmark = pytest.mark.django_db

CHAIN = """
  check:
    - {id: a, name: Is a worse?, check: world.ask, fail_if: value > 0}
    - {id: b, name: Is b worse?, check: world.ask, if: "steps.a.verdict == 'fail'", fail_if: value > 0}
    - {id: c, name: Is c worse?, check: world.ask, if: "steps.a.verdict == 'pass'", fail_if: value > 0}
    - {id: ready, name: Are you ready?, manual: Look at it., fields: {wrong: {type: integer, min: 0, max: 10}}}
    - {id: later, name: And now?, check: world.ask, pass_if: value > 0}
"""
ONE = """
  remediate:
    - {{id: act, name: Switch it, action: world.{effect}, lock: "service:rag-chat", with: {{to: b}}, attempts: 1{more}}}
"""


@pytest.fixture
def incident(team: Team) -> Incident:
    service = make_service(team, "rag-chat", dashboard_url="https://grafana.example.com/d/x?orgId=1")
    return make_incident(team, service)


@pytest.fixture
def person(team: Team) -> User:
    return make_user("riley", team=team)


@pytest.fixture
def client(person: User) -> Client:
    return signed_in(person)


def shown(client: Client, run: Run) -> str:
    """What the page says, tags and repeated blanks taken out."""
    answer = client.get(f"/runs/{run.uuid}")
    assert answer.status_code == 200, answer.content[:500]
    return text_of(answer)  # type: ignore[arg-type]


def chain(team: Team, incident: Incident) -> Run:
    run = start(make_runbook(team, CHAIN), make_actor(team), team, incident)
    pump()
    return run


def doubted(team: Team, incident: Incident, world: World, effect: str, more: str = "") -> Run:
    world.actions = [Ambiguous("The answer was lost.")]
    run = start(make_runbook(team, ONE.format(effect=effect, more=more)), make_actor(team), team, incident)
    pump()
    assert states(run)["act"] == "unknown"
    return run


def post(client: Client, run: Run, verb: str, name: str = "act", **form: str) -> int:
    return client.post(f"/runs/{run.uuid}/steps/{name}/0/{verb}", form).status_code


def test_it_says_why_a_step_was_skipped_and_what_repeats_with_one(
    client: Client, team: Team, incident: Incident, world: World
) -> None:
    text = shown(client, chain(team, incident))
    assert "Not needed: steps.a.verdict == 'pass' is false." in text
    assert "2 later steps that read it run again: Is b worse?; Is c worse?" in text
    assert "The runbook's rule: fail_if value > 0" in text


def test_it_says_that_a_worker_died(client: Client, team: Team, incident: Incident, world: World) -> None:
    run = chain(team, incident)
    first = Attempt.objects.get(step_run__step="a")
    Attempt.objects.create(
        step_run=first.step_run, number=2, fence=2, worker="w2", started_at=first.started_at, outcome="done"
    )
    Attempt.objects.filter(pk=first.pk).update(outcome="lost")
    assert f"resumed {first.started_at:%H:%M:%S} after worker died" in shown(client, run)


def test_it_keeps_the_history_of_an_override(client: Client, team: Team, incident: Incident, world: World) -> None:
    steps = "  check:\n    - {id: a, check: world.ask, fail_if: value > 0, on_verdict: {fail: ask}}\n"
    run = start(make_runbook(team, steps), make_actor(team), team, incident)
    pump()
    assert post(client, run, "answer", "a", decision="override", verdict="pass", note="The probe is broken.") == 302
    text = shown(client, run)
    assert "Overridden by riley." in text
    assert "counts a as «Ruled out» instead of «Problem found»: The probe is broken." in text


def test_it_names_the_lock_and_who_waits_for_it(client: Client, team: Team, incident: Incident, world: World) -> None:
    holds = doubted(team, incident, world, "set")
    waits = start(make_runbook(team, ONE.format(effect="set", more="")), make_actor(team), team, incident)
    pump()
    assert "service:rag-chat since" in shown(client, holds)
    assert f"/runs/{waits.uuid}" in client.get(f"/runs/{holds.uuid}").content.decode()
    assert "Switch it waits for the lock service:rag-chat , held since" in shown(client, waits)


def test_it_names_the_run_that_a_queued_one_waits_for(
    client: Client, team: Team, incident: Incident, world: World
) -> None:
    head = "inputs: {service: {type: string}}\nconcurrency: {key: '{{ inputs.service }}', when_busy: queue}\n"
    runbook = make_runbook(team, CHAIN, head=head)
    first, second = (start(runbook, make_actor(team), team, incident, service="rag-chat") for _ in range(2))
    assert f'<a href="/runs/{first.uuid}">' in client.get(f"/runs/{second.uuid}").content.decode()
    assert "is at work on rag-chat ; this one starts when it ends" in shown(client, second)
    assert "1 run queued behind it" in shown(client, first)


def test_it_says_where_each_input_came_from(client: Client, team: Team, incident: Incident, world: World) -> None:
    head = "inputs:\n  service: {type: string}\n  margin: {type: number, default: 0.02}\n"
    run = start(make_runbook(team, CHAIN, head=head), make_actor(team), team, incident, service="rag-chat")
    text = shown(client, run)
    assert "service rag-chat given by hand" in text
    assert "margin 0.02 the runbook's default" in text


def test_it_links_what_newer_revisions_changed(client: Client, team: Team, incident: Incident, world: World) -> None:
    runbook = make_runbook(team, CHAIN, slug="old_book")
    run = start(runbook, make_actor(team), team, incident)
    make_runbook(team, CHAIN.replace("Is b worse?", "Is b really worse?"), slug="old_book")
    page = client.get(f"/runs/{run.uuid}").content.decode()
    assert "/runbooks/old_book/compare?from=1&amp;to=2" in page


def test_it_shows_no_verb_to_those_who_may_not(team: Team, incident: Incident, world: World) -> None:
    run = chain(team, incident)
    looker = signed_in(make_user("looker", roles=["viewer"], team=team))
    text = shown(looker, run)
    assert "Run again" not in text
    assert "Skip this step" not in text
    assert "Cancel the run" not in text
    assert post(looker, run, "rerun", "a") == 403


def test_it_offers_three_answers_to_an_effect_in_doubt_with_what_each_does(
    client: Client, team: Team, incident: Incident, world: World
) -> None:
    run = doubted(team, incident, world, "set")
    text = shown(client, run)
    seen = Effect.objects.get().seen_at
    assert seen is not None
    assert f"We may have done this: Switch it , sent {seen:%H:%M}" in text
    assert f"value: off (read {seen:%H:%M:%S}" in text
    assert "It happened Counts as done; the run goes on." in text
    assert "It did not The step starts over and is sent anew" in text
    assert "Send again Sent at once with the same key" in text


@pytest.mark.parametrize(
    ("decision", "sent", "ends"), [("happened", 1, "pass"), ("did_not_happen", 2, "pass"), ("send_again", 2, "pass")]
)
def test_it_takes_each_of_them(
    client: Client, team: Team, incident: Incident, world: World, decision: str, sent: int, ends: str
) -> None:
    run = doubted(team, incident, world, "set")
    assert post(client, run, "answer", decision=decision) == 302
    pump()
    assert (states(run)["act"], len(world.calls)) == (ends, sent)


def test_it_wants_a_note_before_it_sends_twice(client: Client, team: Team, incident: Incident, world: World) -> None:
    run = doubted(team, incident, world, "once")
    assert "It may happen twice." in shown(client, run)
    assert post(client, run, "answer", decision="send_again") == 422
    assert states(run)["act"] == "unknown"
    assert post(client, run, "answer", decision="send_again", note="Twice is fine.") == 302


def test_it_reads_the_state_again_on_demand(client: Client, team: Team, incident: Incident, world: World) -> None:
    run = doubted(team, incident, world, "set")
    before = Effect.objects.get().seen_at
    assert client.get(f"/runs/{run.uuid}/steps/act/0/read").status_code == 405
    assert post(client, run, "read") == 302
    after = Effect.objects.get().seen_at
    assert after is not None
    assert before is not None
    assert after > before
    runs.answer(step(run, "act"), actor=make_actor(team), decision="happened")
    assert post(client, run, "read") == 409


@pytest.mark.parametrize(
    ("verb", "form", "status"),
    [
        ("answer", {"decision": "nonsense"}, 422),
        ("answer", {"decision": ""}, 302),
        ("answer", {"decision": "x" * 300}, 302),
        ("answer", {"decision": "override", "verdict": "pass", "note": "x"}, 422),
        ("skip", {"reason": "  "}, 422),
        ("skip", {"reason": "It may be skipped."}, 409),
        ("rerun", {}, 409),
    ],
)
def test_it_refuses_in_words_what_cannot_be(
    client: Client, team: Team, incident: Incident, world: World, verb: str, form: dict[str, str], status: int
) -> None:
    run = doubted(team, incident, world, "set")
    assert post(client, run, verb, **form) == status
    assert states(run)["act"] == "unknown"
    assert len(world.calls) == 1


@pytest.mark.parametrize("wrong", ["", "11", "-1", "seven", "9" * 40, "<b>1</b>"])
def test_it_shows_a_wrong_answer_at_its_field(
    client: Client, team: Team, incident: Incident, world: World, wrong: str
) -> None:
    run = chain(team, incident)
    form = {"decision": "done", "in-wrong": wrong}
    answer = client.post(f"/runs/{run.uuid}/steps/ready/0/answer", form)
    assert answer.status_code == 422
    assert 'class="wrong"' in answer.content.decode()
    assert states(run)["ready"] == "blocked human"


def test_it_shows_foreign_text_as_text(client: Client, team: Team, incident: Incident, world: World) -> None:
    run = chain(team, incident)
    run.steps.filter(step="a").update(
        name='"><img src=x onerror=alert(1)>\u202e' + "W" * 200, summary="<script>1 %</script> [−1, 2]"
    )
    page = client.get(f"/runs/{run.uuid}").content.decode()
    assert "<img src=x" not in page
    assert "<script>1" not in page


def test_it_holds_a_fixed_number_of_queries(
    client: Client, team: Team, incident: Incident, world: World, django_assert_max_num_queries: Any
) -> None:
    many = "  check:\n" + "".join(f"    - {{id: s{n}, check: world.ask, fail_if: value > 0}}\n" for n in range(60))
    run = start(make_runbook(team, many), make_actor(team), team, incident)
    pump()
    assert Evidence.objects.filter(run_id=run.pk).count() == 60
    with django_assert_max_num_queries(45):
        assert client.get(f"/runs/{run.uuid}").status_code == 200


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ("Fell by −0.103 [−0.14, −0.07], n = 300.", '<b>−0.103</b> <span class="interval-text">[−0.14, −0.07]</span>'),
        ("Deploy v43 of week 47 explains 66.5 %.", "v43 of week 47 explains <b>66.5 %</b>."),
        ("The value is 1.0.", "The value is <b>1.0</b>."),
        ("Nothing to see on v42.", "Nothing to see on v42."),
        ("<b>1</b>", "&lt;b&gt;<b>1</b>&lt;/b&gt;"),
        ("", ""),
    ],
)
def test_it_makes_the_number_stand_out(text: str, shows: str) -> None:
    assert shows in emphasised(text)


def test_it_offers_to_take_an_effect_back_filled_in(
    client: Client, team: Team, incident: Incident, world: World
) -> None:
    more = ", undo: {action: world.set, with: {to: '{{ steps.act.result.before.value }}'}}"
    run = start(make_runbook(team, ONE.format(effect="set", more=more)), make_actor(team), team, incident)
    pump()
    page = client.get(f"/runs/{run.uuid}")
    (address,) = re.findall(r'href="(/incidents/\d+/act[^"]+)"', page.content.decode())
    assert "Undo…" in text_of(page)  # type: ignore[arg-type]
    form = client.get(html.unescape(address))
    assert re.search(r'name="in-to"[^>]*value="off"', form.content.decode())
    assert 'value="Undo: Switch it"' in form.content.decode()


def test_a_run_that_ended_goes_on_from_a_step(client: Client, team: Team, incident: Incident, world: World) -> None:
    world.checks = [1.0, 0.0]
    run = chain(team, incident)
    runs.cancel(run, actor=make_actor(team))
    assert "Go on from here…" in shown(client, run)
    address = f"/runs/{run.uuid}/steps/ready/0/go-on"
    assert "Is a worse?" in text_of(client.get(address))  # type: ignore[arg-type]
    answer = client.post(address)
    new = Run.objects.exclude(pk=run.pk).get()
    assert answer.headers["Location"] == f"/runs/{new.uuid}"
    assert states(new) == {"a": "fail", "b": "pass", "c": "skipped", "ready": "blocked human", "later": "pending"}


def test_it_shows_each_element_of_a_step(client: Client, team: Team) -> None:
    actor = make_actor(team)
    steps = (
        "  check:\n    - id: each\n      name: Is the region well?\n      foreach: inputs.regions\n"
        "      check: result.test\n      with: {value: '{{ item.share }}'}\n      pass_if: value < 0.5\n"
    )
    runbook = make_runbook(team, steps, head="inputs:\n  regions: {type: list}\n")
    run = start(runbook, actor, team, regions=[{"name": "eu-west", "share": 0.1}, {"name": "us", "share": 0.9}])
    pump()
    assert actor.user is not None
    client.force_login(actor.user)
    page = client.get(f"/runs/{run.uuid}").content.decode()
    assert "1 of 2: eu-west" in page
    assert "2 of 2: us" in page
    assert page.count("<bdi>Is the region well?</bdi></strong>") == 2
    told = client.get(f"/api/v1/runs/{run.uuid}").json()["steps"]
    assert [(row["item"], row["item_value"]["name"], row["verdict"]) for row in told] == [
        (0, "eu-west", "pass"),
        (1, "us", "fail"),
    ]


def test_a_run_and_the_run_that_it_is_part_of_link_to_each_other(client: Client, team: Team) -> None:
    actor = make_actor(team)
    make_runbook(
        team,
        "  check:\n    - {id: look, manual: Look.}\n",
        slug="inner",
        head="inputs:\n  place: {type: string}\noutputs:\n  where: inputs.place\n",
    )
    outer = make_runbook(team, "  check:\n    - {id: call, runbook: inner, with: {place: eu-west}}\n", slug="outer")
    run = start(outer, actor, team)
    child = Run.objects.get(parent_step__run=run)
    runs.answer(step(child, "look"), actor=actor, decision="done")
    assert actor.user is not None
    client.force_login(actor.user)
    page = client.get(f"/runs/{run.uuid}").content.decode()
    assert f'href="/runs/{child.uuid}">Run of inner@1</a> gave' in page
    assert "Skip this step" not in page
    page = client.get(f"/runs/{child.uuid}").content.decode()
    assert f'href="/runs/{run.uuid}#call-0">part of outer:' in page
    assert "eu-west" in page.partition('id="outputs"')[2]
    told = client.get(f"/api/v1/runs/{child.uuid}").json()
    assert (told["parent"], told["outputs"]) == (
        {"run": str(run.uuid), "step": "call", "item": 0},
        {"where": "eu-west"},
    )
    assert client.get(f"/api/v1/runs/{run.uuid}").json()["steps"][0]["runs"] == [str(child.uuid)]
