"""eval.compare: versions scored as jobs, and attached result files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest

from catalog import versions
from catalog.models import Service
from evaluations import jobs
from evaluations.models import Case, Evaluation, EvaluationSet
from incidents import evidence
from runbooks.checks.base import CheckError, Finding, Pending
from runbooks.checks.eval_compare import EvalCompare, EvalCompareParams
from tests.factories import make_service
from tests.factories_checks import NOW, make_context, make_json_connection, make_versions
from tests.fakes.web import Asked, Reply, Web, serve

pytestmark = pytest.mark.django_db
CHECK = EvalCompare()


def _answer(asked: Asked) -> Reply:
    """v42 is always right; v43 is wrong on every case of the type `law`."""
    body = json.loads(asked.body)
    wrong = body["version"] == "v43" and body["input"]["type"] == "law"
    return Reply(json.dumps({"answer": "wrong" if wrong else "right"}).encode())


@pytest.fixture
def model() -> Iterator[Web]:
    """A model endpoint."""
    with serve(_answer) as web:
        yield web


def scored_service(model: Web) -> Service:
    """A service with two versions and an evaluation set of 120 cases, a quarter of them `law`."""
    service = make_service(slug="rag-chat")
    make_versions(service, ("v42", "kept"), ("v43", "serving"))
    make_json_connection(service.team, model.url, "model")
    chosen = EvaluationSet.objects.create(team=service.team, slug="golden", title="Golden", created_at=NOW)
    Case.objects.bulk_create(
        Case(
            evaluation_set=chosen,
            item=f"case-{index}",
            input={"type": "law" if index % 4 == 0 else "other"},
            expected="right",
            attributes={"type": "law" if index % 4 == 0 else "other"},
        )
        for index in range(120)
    )
    service.evaluation = {"connection": "model", "path": "/eval", "set": "golden"}
    service.save()
    return service


def run_jobs() -> None:
    """Work on all evaluations that were asked for."""
    for evaluation in Evaluation.objects.filter(state="queued"):
        jobs.work(evaluation.pk)


def test_it_waits_for_the_jobs_and_finds_the_regression(model: Web) -> None:
    context = make_context(scored_service(model))
    waiting = CHECK.run(EvalCompareParams(), context)
    assert isinstance(waiting, Pending)
    assert (waiting.poll_after, waiting.note) == (1.5, "Scoring on golden: v42: 0 of 120, v43: 0 of 120.")
    run_jobs()
    found = CHECK.run(EvalCompareParams(), context)
    assert isinstance(found, Finding)
    assert (found.verdict, found.samples, found.result["regressed"]) == ("fail", 120, ["type=law"])
    assert (found.result["b"], found.result["c"], found.result["delta"]) == (30, 0, pytest.approx(-0.25))
    assert found.summary.startswith("v43 scores 0.75 where v42 scored 1: −0.25 [−0.328, −0.172], p = 1.9e-09, n = 120")
    assert found.result["implicates"] == ["v43"]


def test_it_asks_once_and_keeps_its_versions(model: Web) -> None:
    service = scored_service(model)
    context = make_context(service)
    CHECK.run(EvalCompareParams(), context)
    versions.promote(service, "v42", at=NOW)
    CHECK.run(EvalCompareParams(), context)
    assert sorted(Evaluation.objects.values_list("version", flat=True)) == ["v42", "v43"]


def test_it_says_why_a_job_failed(model: Web) -> None:
    context = make_context(scored_service(model))
    CHECK.run(EvalCompareParams(), context)
    Evaluation.objects.filter(version="v42").update(state="failed", error="out of memory")
    with pytest.raises(CheckError, match="Scoring v42 failed: out of memory"):
        CHECK.run(EvalCompareParams(), context)


def test_it_says_what_is_missing(model: Web) -> None:
    service = scored_service(model)
    with pytest.raises(CheckError, match=r"Known versions: v43 \(serving\), v42 \(kept\)"):
        CHECK.run(EvalCompareParams(old="v41"), make_context(service))
    with pytest.raises(CheckError, match="both v43"):
        CHECK.run(EvalCompareParams(old="v43"), make_context(service))
    service.evaluation = {}
    with pytest.raises(CheckError, match="does not say how versions are scored"):
        CHECK.run(EvalCompareParams(), make_context(service))


def _file(wrong: int, count: int = 200) -> str:
    rows = [json.dumps({"item": str(index), "score": 0 if index < wrong else 1}) for index in range(count)]
    return evidence.keep_bytes("\n".join(rows).encode(), "application/jsonl")


@pytest.mark.parametrize(
    ("old", "new", "count", "verdict", "reason"),
    [
        (0, 20, 200, "fail", ""),
        (3, 3, 200, "pass", ""),
        (0, 3, 200, "inconclusive", "within_error"),
        (0, 20, 50, "inconclusive", "too_few_samples"),
    ],
)
def test_it_compares_result_files(old: int, new: int, count: int, verdict: str, reason: str) -> None:
    params = EvalCompareParams(old_file=_file(old, count), new_file=_file(new, count))
    found = CHECK.run(params, make_context())
    assert isinstance(found, Finding)
    assert (found.verdict, found.reason, found.samples) == (verdict, reason, count)


def test_it_refuses_a_file_that_is_none() -> None:
    broken = evidence.keep_bytes(b"not json", "text/plain")
    with pytest.raises(CheckError, match="Line 1"):
        CHECK.run(EvalCompareParams(old_file=broken, new_file=broken), make_context())
    with pytest.raises(CheckError, match="not kept here"):
        CHECK.run(EvalCompareParams(old_file="0" * 64, new_file="0" * 64), make_context())
    with pytest.raises(ValueError, match="both old_file"):
        EvalCompareParams(old_file="0" * 64)


def test_it_divides_the_error_by_the_looks() -> None:
    params = EvalCompareParams(old_file=_file(0), new_file=_file(8))
    once = CHECK.run(params, make_context())
    often = CHECK.run(params, make_context(looks=500, now=NOW + timedelta(seconds=1)))
    assert isinstance(once, Finding)
    assert isinstance(often, Finding)
    assert (once.verdict, often.verdict) == ("fail", "inconclusive")
