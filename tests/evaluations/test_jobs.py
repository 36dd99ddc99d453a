"""Evaluations against a simulated service on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from catalog.actors import ENGINE
from catalog.models import Team
from common import clock, http
from common.errors import Invalid
from drills.server import DrillServer
from drills.world import serve
from evaluations import compare, jobs, scoring, sets
from evaluations.models import Evaluation, Score
from tests.conftest import Clock
from tests.factories import make_connection, make_service
from tests.factories_evaluations import make_job as ask
from tests.factories_evaluations import make_set, make_world
from tests.fakes.web import Reply
from tests.fakes.web import serve as serve_web


@pytest.fixture(scope="module")
def drill() -> Iterator[DrillServer]:
    running = serve(make_world("model_regression")[0], 0)
    yield running
    running.close()


@pytest.fixture
def allowed(drill: DrillServer) -> Iterator[DrillServer]:
    http.allow(drill.url)
    yield drill
    http.forget(drill.url)


def some_items(drill: DrillServer, step: int = 6) -> str:
    return "\n".join(drill.world.evaluation_items().splitlines()[::step])


def test_it_scores_every_case_of_a_version(team: Team, allowed: DrillServer) -> None:
    evaluation = ask(team, allowed.url, text=some_items(allowed, 30))

    jobs.work(evaluation.pk)

    evaluation.refresh_from_db()
    assert (evaluation.state, evaluation.scored, evaluation.total, evaluation.error) == ("done", 30, 30, "")
    assert Score.objects.filter(evaluation=evaluation, score=1.0).count() > 20
    assert evaluation.finished_at is not None


def test_it_is_asked_for_once_per_key(team: Team, allowed: DrillServer) -> None:
    first = ask(team, allowed.url, key="step-1")

    assert ask(team, allowed.url, key="step-1") == first
    assert Evaluation.objects.count() == 1


def test_it_finds_the_regressed_slice(team: Team, allowed: DrillServer) -> None:
    old, new = (ask(team, allowed.url, version=version, text=some_items(allowed, 4)) for version in ("v42", "v43"))
    for evaluation in (old, new):
        jobs.work(evaluation.pk)
        evaluation.refresh_from_db()

    found = compare.compare(old, new)

    assert found["verdict"] == "fail"
    assert found["regressed"][0] == f"query_type={allowed.world._plan.weak_slice}"
    assert found["n"]["paired"] == 225
    assert found["table"][0]["slice"] == "all"


def test_it_goes_on_where_a_dead_worker_stopped(team: Team, allowed: DrillServer, moved_clock: Clock) -> None:
    evaluation = ask(team, allowed.url, text=some_items(allowed, 60))
    case = evaluation.evaluation_set.cases.first()
    assert case is not None
    Score.objects.create(evaluation=evaluation, item=case.item, score=0.0, answer="kept")
    Evaluation.objects.update(state="running", attempts=1, lease_until=clock.now() + timedelta(seconds=60))

    jobs.work(evaluation.pk)
    assert Score.objects.count() == 1
    moved_clock.forward(minutes=2)
    assert jobs.resume_lost(clock.now()) == [evaluation.pk]
    jobs.work(evaluation.pk)

    evaluation.refresh_from_db()
    assert (evaluation.state, evaluation.attempts, evaluation.scored) == ("done", 2, 15)
    assert Score.objects.get(item=case.item).answer == "kept"


def test_it_fails_with_the_reason_after_three_attempts(team: Team, moved_clock: Clock) -> None:
    http.allow("http://127.0.0.1:9")
    evaluation = ask(team, "http://127.0.0.1:9")
    states = []
    for _ in range(4):
        jobs.work(evaluation.pk)
        evaluation.refresh_from_db()
        states.append((evaluation.state, evaluation.attempts))
        moved_clock.forward(minutes=1)

    http.forget("http://127.0.0.1:9")
    assert states == [("queued", 1), ("queued", 2), ("failed", 3), ("failed", 3)]
    assert evaluation.error
    assert jobs.resume_lost(clock.now()) == []


@pytest.mark.parametrize(
    ("answered", "kept"),
    [(r'"a\u0000b"', "a\ufffdb"), ("NaN", None), (r'{"p": [Infinity], "t": "\ud800"}', {"p": [None], "t": "?"})],
)
def test_it_keeps_of_an_answer_what_every_database_can_hold(team: Team, answered: str, kept: Any) -> None:
    with serve_web(lambda _: Reply(b'{"answer": %s}' % answered.encode())) as web:
        evaluation = ask(team, web.url)
        jobs.work(evaluation.pk)
    evaluation.refresh_from_db()
    assert (evaluation.state, evaluation.scored) == ("done", 3)
    assert [score.answer for score in Score.objects.all()] == [kept] * 3


def test_it_fails_with_the_reason_when_an_answer_is_nested_beyond_reading(team: Team) -> None:
    nested = b'{"answer": %s}' % (b"[" * 600 + b"]" * 600)
    with serve_web(lambda _: Reply(nested)) as web:
        evaluation = ask(team, web.url)
        jobs.work(evaluation.pk)
    evaluation.refresh_from_db()
    assert (evaluation.state, evaluation.attempts) == ("queued", 1)
    assert "nested too deeply" in evaluation.error


@pytest.mark.parametrize(("configured", "held"), [(40, 40), (2, 15), (300, 300)])
def test_it_holds_a_job_as_long_as_a_step_but_never_less_than_an_item_takes(
    team: Team, settings: Any, configured: int, held: int
) -> None:
    settings.BACKSTOP = settings.BACKSTOP.model_copy(update={"lease_seconds": configured})
    evaluation = ask(team, "http://127.0.0.1:9")
    scoring._take(evaluation.pk)
    evaluation.refresh_from_db()
    assert evaluation.lease_until is not None
    assert held - 5 < (evaluation.lease_until - clock.now()).total_seconds() <= held


def test_it_fails_when_the_third_worker_dies(team: Team, allowed: DrillServer, moved_clock: Clock) -> None:
    evaluation = ask(team, allowed.url)
    Evaluation.objects.update(state="running", attempts=3, lease_until=clock.now())
    moved_clock.forward(minutes=1)

    assert jobs.resume_lost(clock.now()) == []
    evaluation.refresh_from_db()
    assert evaluation.state == "failed"


def test_it_refuses_a_connection_of_another_kind(team: Team) -> None:
    with pytest.raises(Invalid, match="http_json"):
        jobs.ask(
            key="x",
            evaluation_set=make_set(team),
            service=make_service(team),
            connection=make_connection(team),
            path="/",
            version="v1",
            now=clock.now(),
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"item": "a"}',
        '{"item": "a", "input": 1, "expected": 1}\n{"item": "a", "input": 2, "expected": 2}',
    ],
)
def test_it_refuses_sets_that_cannot_be_read(team: Team, text: str) -> None:
    with pytest.raises(Invalid):
        sets.load(team, slug="s", text=text, actor=ENGINE)


def test_it_adds_cases_once_and_remembers_where_they_come_from(team: Team) -> None:
    found = make_set(team, items=2)
    new = [sets.NewCase("i1", "x", "y"), sets.NewCase("i9", "x", "y")]

    first = sets.add_cases(found, cases=new, origin="INC-42")
    again = sets.add_cases(found, cases=new, origin="INC-42")

    assert (first.added, first.duplicates, again.added) == (1, ["i1"], 0)
    assert found.cases.get(item="i9").origin == "INC-42"
    assert found.cases.get(item="i1").origin == ""


def test_it_compares_result_files_and_counts_what_it_dropped() -> None:
    old = [{"item": str(n), "score": 1, "attributes": {"lang": "de" if n < 60 else "en"}} for n in range(200)]
    new = [row | {"score": 0 if int(str(row["item"])) < 20 else 1} for row in old][:190]
    new[-1]["score"] = None

    found = compare.compare_rows(old, new)

    assert found["verdict"] == "fail"
    assert found["n"] == {"paired": 189, "dropped": 11, "old": 200, "new": 190, "tested": 2}
    assert found["regressed"] == ["lang=de"]
    assert (found["b"], found["c"]) == (20, 0)


def test_it_cannot_tell_from_too_few_items() -> None:
    rows = [{"item": str(n), "score": 1} for n in range(20)]

    assert compare.compare_rows(rows, rows)["verdict"] == "inconclusive"
    assert compare.compare_rows(rows, rows)["reason"] == "too_small"
