"""What people answer, and what happens when nobody does: forms, rules, timeouts, escalation, policies."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.models import Team
from common.errors import Invalid
from incidents.models import Incident
from runbooks import runs
from runbooks.checks.base import CheckError
from runbooks.models import Run
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
# The definition of a field, what fits, what is kept of it, and what does not fit.
FIELDS: list[tuple[str, object, object, object]] = [
    ("{type: string, pattern: '[a-z]+'}", "abc", "abc", "ABC"),
    ("{type: string, enum: [yes_it_is, no]}", "no", "no", "perhaps"),
    ("{type: string, min: 2, max: 3}", "ab", "ab", "abcd"),
    ("{type: integer, min: 0, max: 10}", "7", 7, "11"),
    ("{type: integer}", 7, 7, 7.5),
    ("{type: number, min: 0}", "0.25", 0.25, "-1"),
    ("{type: number}", 3, 3, "NaN"),
    ("{type: boolean}", "true", True, "True"),
    ("{type: duration, max: 3600}", "1h", 3600, "2h"),
    ("{type: duration}", "90s", 90, "90"),
    ("{type: datetime}", "2026-01-31T15:00:00+01:00", "2026-01-31T14:00:00+00:00", "2026-01-31"),
    ("{type: list, max: 2}", [1, 2], [1, 2], [1, 2, 3]),
    ("{type: map}", {"a": 1}, {"a": 1}, "a"),
]


def asked(team: Team, more: str = "", incident: Incident | None = None) -> Run:
    """A run that waits for a person."""
    return start(
        make_runbook(team, f"  check:\n    - {{id: a, manual: Look.{more}}}\n"), make_actor(team), team, incident
    )


@pytest.mark.parametrize(("field", "fits", "kept", "wrong"), FIELDS)
def test_a_form_takes_what_fits_its_fields_and_names_each_that_does_not(
    team: Team, field: str, fits: object, kept: object, wrong: object
) -> None:
    run = asked(team, f", fields: {{one: {field}, two: {{type: string, required: false}}}}")
    with pytest.raises(Invalid) as caught:
        runs.answer(step(run, "a"), actor=make_actor(team), fields={"one": wrong, "three": 1})
    assert set(caught.value.extra["fields"]) == {"one", "three"}  # type: ignore[call-overload]
    with pytest.raises(Invalid, match="one is required"):
        runs.answer(step(run, "a"), actor=make_actor(team), fields={})
    assert states(run) == {"a": "blocked human"}
    done = runs.answer(step(run, "a"), actor=make_actor(team), fields={"one": fits})
    assert (done.verdict, done.result) == ("pass", {"one": kept, "two": None})


@pytest.mark.parametrize(
    ("rules", "given", "verdict"),
    [
        ("pass_if: result.n > 5", 6, "pass"),
        ("pass_if: result.n > 5", 5, "fail"),
        ("fail_if: result.n > 5", 6, "fail"),
        ("fail_if: result.n > 5", 5, "pass"),
        ("fail_if: result.n > 5, pass_if: result.n < 2", 3, "inconclusive"),
        ("fail_if: result.n > 5, pass_if: result.n < 2", 1, "pass"),
    ],
)
def test_its_rules_judge_the_answer(team: Team, rules: str, given: int, verdict: str) -> None:
    run = asked(
        team, f", fields: {{n: {{type: integer}}}}, {rules}, on_verdict: {{fail: continue, inconclusive: continue}}"
    )
    assert runs.answer(step(run, "a"), actor=make_actor(team), fields={"n": given}).verdict == verdict


@pytest.mark.parametrize(
    ("policy", "comes_to"), [("stop", "inconclusive"), ("continue", "inconclusive"), ("ask", "blocked ask")]
)
def test_nobody_answers_in_time(team: Team, moved_clock: Any, policy: str, comes_to: str) -> None:
    run = asked(team, f", timeout: 20m, on_verdict: {{inconclusive: {policy}}}")
    moved_clock.forward(minutes=19)
    pump()
    assert states(run) == {"a": "blocked human"}
    moved_clock.forward(minutes=2)
    pump()
    run.refresh_from_db()
    assert states(run) == {"a": comes_to}
    assert step(run, "a").reason == "timeout"
    assert bool(run.stop_reason) is (policy == "stop")


KINDS = {
    "check": ("check: world.ask, pass_if: value > 5", "fail"),
    "broken check": ("check: world.ask, attempts: 1, pass_if: value > 5", "error"),
    "no data": ("check: world.ask, pass_if: value > 5", "inconclusive"),
    "manual": ("manual: Look., timeout: 1m", "inconclusive"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("decision", ["accept", "override", "again", "stop"])
def test_a_parked_verdict_is_accepted_overridden_asked_again_or_ends_the_run(
    team: Team, world: World, moved_clock: Any, kind: str, decision: str
) -> None:
    what, verdict = KINDS[kind]
    answers: dict[str, Any] = {
        "check": 1.0,
        "broken check": CheckError("away", "Nobody there.", permanent=True),
        "no data": None,
    }
    world.checks = [answers.get(kind)]
    steps = f"  check:\n    - {{id: a, {what}, on_verdict: {{{verdict}: ask}}}}\n    - {{id: b, wait: 1h}}\n"
    run = start(make_runbook(team, steps), make_actor(team), team)
    moved_clock.forward(minutes=2)
    pump()
    parked = step(run, "a")
    assert (parked.blocked_on, parked.proposed_verdict) == ("ask", verdict)
    more: dict[str, Any] = {"verdict": "pass", "note": "I looked."} if decision == "override" else {}
    runs.answer(parked, actor=make_actor(team), decision=decision, **more)
    expected = {
        "accept": (verdict, "sleeping"),
        "override": ("pass", "sleeping"),
        "again": ("blocked human" if kind == "manual" else "ready", "pending"),
        "stop": (verdict, "cancelled"),
    }[decision]
    assert (states(run)["a"], states(run)["b"]) == expected


@pytest.mark.parametrize(("asks", "waits"), [(40.0, 40), (7_200.0, 3_600), (None, 2)])
def test_it_waits_as_long_as_the_other_side_asks_and_never_over_an_hour(
    team: Team, world: World, moved_clock: Any, asks: float | None, waits: int
) -> None:
    world.checks = [CheckError("rate_limited", "Too many requests.", retry_after=asks)]
    run = start(
        make_runbook(team, "  check:\n    - {id: a, check: world.ask, pass_if: value > 0}\n"), make_actor(team), team
    )
    pump()
    due = step(run, "a").due_at
    assert due is not None
    assert 0.8 * waits <= (due - moved_clock()).total_seconds() <= 1.2 * waits


def test_escalation_asks_the_next_ones_once_each(team: Team, incident: Incident, moved_clock: Any) -> None:
    levels = "[{after: 5m, to: 'role:oncall'}, {after: 10m, to: 'team:default'}]"
    asked(team, f", timeout: 30m, escalate: {levels}", incident)
    for minutes in (4, 2, 1, 4, 5):
        moved_clock.forward(minutes=minutes)
        pump()
    told = [entry.text for entry in incident.timeline.filter(text__contains="is asked too").order_by("seq")]
    assert [("role:oncall" in text, "5 min" in text) for text in told] == [(True, True), (False, False)]
