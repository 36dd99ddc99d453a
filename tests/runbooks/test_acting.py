"""Act now: one action outside a runbook, with a reason, the same approval, ledger and lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.models import Connection, ModelVersion, Team
from common import clock
from common.errors import Conflict, DomainError, Forbidden, Invalid
from incidents import lifecycle
from incidents.models import Incident, Message, TimelineEntry
from runbooks import acting, runs, schema
from runbooks.actions import ACTIONS
from runbooks.models import ApprovalRequest, Effect, Lock, Revision, Run, Runbook
from tests.factories import make_actor, make_incident, make_service
from tests.factories_postmortems import make_address
from tests.factories_runbooks import approve, make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db

DIAGNOSIS = """
  check:
    - {id: early, check: world.ask, pass_if: value > 0}
  triage:
    - {id: person, name: Ready?, manual: Ready?}
  remediate:
    - {id: late, name: Is it over?, check: world.ask, pass_if: value > 0}
"""
CAUSES = """\
hypotheses:
  worse: {title: The version is worse, prior: 3, evidence: {early: {pass: 4}}}
"""


@pytest.fixture
def flag(team: Team, tmp_path: Path, settings: Any) -> Path:
    """The flag of rag-chat, which reads v43."""
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"data_dir": tmp_path})
    path = tmp_path / "flags.json"
    path.write_text('{"model": {"value": "v43", "version": 1}}')
    Connection.objects.create(
        team=team, slug="flags", connector="file_flag", config={"path": "flags.json"}, created_at=clock.now()
    )
    return path


@pytest.fixture
def served(team: Team, flag: Path) -> Incident:
    """An incident of a service that can be rolled back from v43 to v42."""
    service = make_service(team, "rag-chat", rollback={"connection": "flags", "flag": "model"})
    for version, state in (("v42", "kept"), ("v43", "serving")):
        ModelVersion.objects.create(service=service, version=version, state=state, served_from=clock.now())
    return make_incident(team, service)


def act(incident: Incident, action: str = "model.rollback", reason: str = "It answers nonsense.", **given: str) -> Run:
    return acting.act(
        incident, action=action, given=given or {"to": "v42"}, reason=reason, actor=make_actor(incident.team)
    )


@pytest.mark.parametrize("action", [action.name for action in ACTIONS])
def test_it_makes_a_definition_without_errors_of_every_action(action: str) -> None:
    text = acting.text_of(ACTIONS.get(action), sorted(ACTIONS.get(action).params.model_fields))
    assert [found for found in schema.check(text, file="x") if found.severity == "error"] == []


def test_it_asks_for_the_same_approval_and_applies_once(served: Incident, flag: Path) -> None:
    run = act(served)
    pump()
    assert states(run) == {"act": "blocked approval"}
    asked = ApprovalRequest.objects.get()
    assert asked.preview["after"] == {"flag": "model", "value": "v42"}
    assert asked.message == "It answers nonsense."
    approve(run, "act", make_actor(served.team))
    pump()
    assert '"v42"' in flag.read_text()
    assert list(Effect.objects.values_list("state", "times_sent")) == [("confirmed", 1)]
    assert (step(run, "act").lock_name, Lock.objects.count()) == ("service:rag-chat", 0)
    assert TimelineEntry.objects.filter(text__contains="acts now: Roll the model back (to v42)").exists()


def test_it_counts_the_one_who_acts_as_the_one_who_asks(served: Incident) -> None:
    served.team.four_eyes = True
    served.team.save()
    actor = make_actor(served.team)
    run = acting.act(served, action="model.rollback", given={"to": "v42"}, reason="Now.", actor=actor)
    pump()
    assert ApprovalRequest.objects.get().four_eyes
    assert run.requester_id == actor.user_id


def test_it_tells_without_approval_at_low_risk(served: Incident) -> None:
    make_address("http://127.0.0.1:9/", team=served.team)
    run = act(served, "notify.send", text="We look at it: {{ inputs.x }}")
    pump()
    assert states(run) == {"act": "pass"}
    assert "We look at it: {{ inputs.x }}" in Message.objects.get(kind="runbook_message").body


def test_it_is_one_act_for_two_taps_and_refuses_another_beside_it(served: Incident) -> None:
    first = act(served)
    assert act(served, reason="Tapped again.") == first
    with pytest.raises(Conflict, match="is open on"):
        act(served, to="previous")
    runs.cancel(first, actor=make_actor(served.team))
    assert act(served, to="previous") != first


@pytest.mark.parametrize(
    ("action", "given", "reason", "field"),
    [
        ("model.rollback", {"to": "v42"}, "  \n", "reason"),
        ("model.nothing", {}, "Now.", "action"),
        ("model.rollback", {"to": ""}, "Now.", "to"),
        ("model.rollback", {"to": "x" * 121}, "Now.", "to"),
        ("model.rollback", {"to": 7}, "Now.", "to"),
        ("model.rollback", {"to": "v42", "act_reason": "x"}, "Now.", "act_reason"),
        ("notify.send", {}, "Now.", "text"),
    ],
)
def test_it_names_the_field_that_is_wrong(
    served: Incident, action: str, given: dict[str, object], reason: str, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        acting.act(served, action=action, given=given, reason=reason, actor=make_actor(served.team))
    fields = caught.value.extra["fields"]
    assert isinstance(fields, dict)
    assert field in fields
    assert Run.objects.count() == 0


@pytest.mark.parametrize("roles", [["viewer"], ["author"]])
def test_it_is_for_those_who_may_run(served: Incident, roles: list[str]) -> None:
    actor = make_actor(served.team, roles, "looker")
    for verb in (acting.act, acting.preview):
        more = {"reason": "Now."} if verb is acting.act else {}
        with pytest.raises(Forbidden):
            verb(served, action="model.rollback", given={"to": "v42"}, actor=actor, **more)


def test_it_does_nothing_on_an_incident_that_is_over(served: Incident) -> None:
    lifecycle.resolve(served, actor=make_actor(served.team), note="Over.")
    served.refresh_from_db()
    with pytest.raises(Conflict, match="is resolved"):
        act(served)


def test_it_shows_what_would_change_and_changes_nothing(served: Incident, flag: Path) -> None:
    shown = acting.preview(served, action="model.rollback", given={"to": "v42"}, actor=make_actor(served.team))
    assert shown.sentence.startswith("Roll back rag-chat: v43 → v42")
    assert '"v43"' in flag.read_text()
    flag.unlink()
    with pytest.raises(Conflict, match="cannot be read"):
        acting.preview(served, action="model.rollback", given={"to": "v42"}, actor=make_actor(served.team))


def test_it_offers_first_what_the_service_can_take(team: Team, served: Incident) -> None:
    assert [offer.action.name for offer in acting.offers(served) if not offer.lacks] == [
        "model.rollback",
        "notify.send",
    ]
    assert acting.offer(served, "model.rollback").choices["to"] == [
        ("previous", "previous (v42)"),
        ("v42", "v42 (kept)"),
    ]
    bare = make_incident(team, make_service(team, "bare"))
    assert "names no flag" in next(o.lacks for o in acting.offers(bare) if o.action.name == "model.rollback")
    with pytest.raises(DomainError, match="names no flag"):
        act(bare)


def test_it_is_no_runbook_that_anybody_lists(served: Incident) -> None:
    act(served)
    assert Runbook.objects.filter(slug="act_now_model_rollback").exists()
    assert not Runbook.objects.written().filter(slug="act_now_model_rollback").exists()
    assert Revision.objects.get(runbook__slug="act_now_model_rollback").source == "act"


def test_the_diagnosis_goes_on_and_says_what_it_found_after_the_act(team: Team, served: Incident, world: World) -> None:
    actor = make_actor(team)
    looking = start(make_runbook(team, DIAGNOSIS, head=CAUSES), actor, team, served)
    pump()
    assert states(looking)["person"] == "blocked human"
    act(served)
    pump()
    approve(Run.objects.latest("pk"), "act", actor)
    pump()
    assert not TimelineEntry.objects.filter(data__has_key="after_act").exists()
    runs.answer(step(looking, "person"), actor=actor, decision="done")
    pump()
    said = list(TimelineEntry.objects.filter(data__has_key="after_act").values_list("text", flat=True))
    assert len(said) == 2
    assert "no check has answered since; likely cause The version is worse" in said[0]
    assert "Is it over? Ruled out" in said[1]
    assert "Rolled back rag-chat: v43 → v42" in said[1]


def test_it_is_news_to_whoever_is_asked_about_the_same_incident(team: Team, served: Incident, world: World) -> None:
    steps = """
  remediate:
    - {id: sw, action: world.set, risk: medium, approval: {from: [role:oncall]}}
"""
    other = start(make_runbook(team, steps), make_actor(team), team, served)
    pump()
    first = ApprovalRequest.objects.get(step_run__run=other)
    approve(act_and_wait(served), "act", make_actor(team))
    pump()
    first.refresh_from_db()
    asked = ApprovalRequest.objects.get(step_run__run=other, state="open")
    assert first.state == "superseded"
    assert "Rolled back rag-chat" in asked.new_fact


def act_and_wait(incident: Incident) -> Run:
    run = act(incident)
    pump()
    return run
