"""eval.compare: two versions on the same cases."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

from pydantic import Field, model_validator

from catalog import versions
from catalog.models import Connection, Service
from common.errors import DomainError, Invalid, NotFound
from evaluations import compare, jobs
from evaluations.models import Evaluation, EvaluationSet
from incidents import evidence
from runbooks.checks.base import Check, CheckError, Context, Finding, Params, Pending
from runbooks.checks.comparing import confidence
from runbooks.checks.numbers import interval, number, signed

_POLL_SECONDS = 1.5
_SHA256 = r"^([0-9a-f]{64})?$"


class EvalCompareParams(Params):
    """Which versions, on which set; or two result files that were attached."""

    old: str = Field("previous", min_length=1, max_length=120)
    new: str = Field("serving", min_length=1, max_length=120)
    # By default the set that the service's file names.
    set: str = Field("", max_length=60)
    margin: float = Field(compare.MARGIN, ge=0, le=1)
    min_n: int = Field(compare.MIN_ITEMS, ge=1)
    looks: int = Field(1, ge=1, le=10_000)
    # sha256 of attached JSONL files ({"item", "score", "attributes"?} a line) instead of two versions.
    old_file: str = Field("", pattern=_SHA256)
    new_file: str = Field("", pattern=_SHA256)

    @model_validator(mode="after")
    def _both_files(self) -> EvalCompareParams:
        if bool(self.old_file) != bool(self.new_file):
            raise ValueError("give both old_file and new_file, or neither")
        return self


class EvalCompare(Check[EvalCompareParams]):
    """Two versions on the same cases: is the new one worse, overall and on which slices?

    `old` and `new` are version names, `previous` (the last kept one that served before) or `serving`. Both are scored
    on the evaluation set through the service's endpoint (its file says `evaluation: {connection, path, set}`), as jobs
    that outlive a worker; the step sleeps meanwhile. Or give two attached result files by `old_file` and `new_file`,
    the sha256 that `manage.py evaluation result FILE.jsonl` prints.

    Cases are paired: McNemar's test over the cases on which the two disagree, and the interval of the mean paired
    difference. **fail** only if the interval excludes zero and the loss reaches `margin`, or a slice of at least 30
    cases lost significantly after correction for the number of slices; **pass** only if a loss of the margin is ruled
    out; otherwise **inconclusive** (`too_few_samples` below `min_n` pairs, `within_error`).

    **value** is the difference new − old of the mean score. **samples** is the number of pairs. Age is not given.
    **result** keys: `delta`, `lo`, `hi`, `p_value`, `b` (old right, new wrong), `c` (old wrong, new right), `n`,
    `counts`, `old_version`, `new_version`, `old_score`, `new_score`, `regressed` (names of slices), `slices` (one row
    per slice with n, both scores, difference, adjusted p), `too_small` (slices under 30 cases), `table`, `evaluations`
    (ids of the jobs), `implicates` and `exonerates` (version names, for `change.rank`).
    """

    name: ClassVar[str] = "eval.compare"
    title: ClassVar[str] = "Compare two versions"
    gives_verdict: ClassVar[bool] = True
    gives_samples: ClassVar[bool] = True
    example: ClassVar[dict[str, Any]] = {"old": "previous", "new": "serving", "margin": 0.02}
    params = EvalCompareParams

    def run(self, params: EvalCompareParams, context: Context) -> Finding | Pending:
        """Compare, once both are scored."""
        conf = confidence(max(params.looks, context.looks))
        if params.old_file:
            found = compare.compare_rows(
                _rows(params.old_file), _rows(params.new_file), params.margin, min_n=params.min_n, conf=conf
            )
            return _finding(found, "the old file", "the new file", "result files", [])
        asked = _ask(params, context)
        for job in asked:
            if job.state == "failed":
                raise CheckError("runner_failed", f"Scoring {job.version} failed: {job.error}", permanent=True)
        if any(job.state != "done" for job in asked):
            progress = ", ".join(f"{job.version}: {job.scored} of {job.total}" for job in asked)
            return Pending(_POLL_SECONDS, f"Scoring on {asked[0].evaluation_set.slug}: {progress}.")
        old, new = asked
        found = compare.compare(old, new, params.margin, min_n=params.min_n, conf=conf)
        return _finding(found, old.version, new.version, old.evaluation_set.slug, [str(old.uuid), str(new.uuid)])


def keep_results(content: bytes) -> str:
    """Keep a result file for `old_file` or `new_file`; gives its sha256.

    Each line is {"item", "score", "attributes"?}. Invalid with the line that cannot be read.
    """
    try:
        rows = compare.read_rows(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Invalid("The file is not UTF-8 text.", fix="Save it as UTF-8.") from None
    if not rows:
        raise Invalid("The file holds no results.", fix='Give one JSON object per line: {"item", "score"}.')
    return evidence.keep_bytes(content, "application/jsonl")


def _rows(sha256: str) -> list[dict[str, Any]]:
    try:
        return compare.read_rows(evidence.read_bytes(sha256).decode("utf-8-sig", "replace"))
    except DomainError as error:
        raise CheckError(
            "bad_param", f"The result file {sha256[:12]}… cannot be read: {error}", permanent=True
        ) from None


def _ask(params: EvalCompareParams, context: Context) -> tuple[Evaluation, Evaluation]:
    """Both jobs; asking again finds the same ones, whatever serves meanwhile."""
    service = context.service
    if service is None:
        raise CheckError("no_service", "The run has no service, so no versions to compare.", permanent=True)
    started = _started(context, service)
    if started is not None:
        return started
    old, new = _version(service, params.old), _version(service, params.new)
    if old == new:
        raise CheckError("same_version", f"{params.old} and {params.new} are both {old}.", permanent=True)
    chosen, connection, path = _endpoint(params, service)
    first, second = (
        jobs.ask(
            key=_key(context, side),
            evaluation_set=chosen,
            service=service,
            connection=connection,
            path=path,
            version=version,
            now=context.now,
        )
        for side, version in (("old", old), ("new", new))
    )
    return first, second


def _started(context: Context, service: Service) -> tuple[Evaluation, Evaluation] | None:
    """The jobs of this step, if it asked before: a rollback in between must not turn `serving` into another version."""
    rows = {
        row.key: row
        for row in Evaluation.objects.select_related("evaluation_set").filter(
            service=service, key__in=[_key(context, "old"), _key(context, "new")]
        )
    }
    return (rows[_key(context, "old")], rows[_key(context, "new")]) if len(rows) == 2 else None


def _key(context: Context, side: str) -> str:
    return f"step:{hashlib.sha256(context.step_key.encode()).hexdigest()}:{side}"


def _version(service: Service, wanted: str) -> str:
    try:
        return versions.resolve(service, wanted).version
    except NotFound as error:
        raise CheckError("version_missing", f"{error.sentence} {error.fix}", permanent=True) from None


def _endpoint(params: EvalCompareParams, service: Service) -> tuple[EvaluationSet, Connection, str]:
    """The set, the connection and the path by which versions of this service are scored."""
    told = service.evaluation
    slug, wanted = told.get("connection"), params.set or told.get("set")
    if not slug or not wanted:
        raise CheckError(
            "no_source",
            f"{service.slug} does not say how versions are scored; add `evaluation: {{connection, path, set}}`.",
            permanent=True,
        )
    connection = Connection.objects.filter(team=service.team_id, slug=slug).first()
    chosen = EvaluationSet.objects.filter(team=service.team_id, slug=wanted).first()
    if connection is None or chosen is None:
        what = f"connection {slug!r}" if connection is None else f"evaluation set {wanted!r}"
        raise CheckError("no_source", f"There is no {what} in the team of {service.slug}.", permanent=True)
    return chosen, connection, str(told.get("path", ""))


def _finding(found: dict[str, Any], old: str, new: str, source: str, jobs_asked: list[str]) -> Finding:
    overall, n = found["table"][0], found["n"]["paired"]
    verdict, regressed = found["verdict"], list(found["regressed"])
    reason = "too_few_samples" if found["reason"] == "too_small" else found["reason"]
    if verdict == "inconclusive" and not reason:
        reason = "within_error"
    p = found["p"]
    summary = (
        f"{new} scores {number(overall['new'])} where {old} scored {number(overall['old'])}: "
        f"{signed(found['diff'])} {interval(found['lo'], found['hi'])}, p = {number(p)}, n = {n:,}"
        if n
        else f"{new} and {old} have no scored case in common"
    )
    if regressed:
        summary += f"; worse on {', '.join(regressed[:3])}"
    if verdict == "inconclusive" and n:
        summary += " (too few cases)" if reason == "too_few_samples" else " (neither shown nor ruled out)"
    return Finding(
        found["diff"],
        summary + ".",
        verdict=verdict,
        reason=reason,
        no_data=n == 0,
        samples=n,
        source=source,
        query=f"{old} against {new} on {source}",
        threshold={
            "value": found["threshold"]["margin"],
            "source": found["threshold"]["source"],
            "line": -found["threshold"]["margin"],
        },
        result={
            "delta": found["diff"],
            "lo": found["lo"],
            "hi": found["hi"],
            "p_value": p,
            "b": found["b"],
            "c": found["c"],
            "n": n,
            "counts": found["n"],
            "old_version": old,
            "new_version": new,
            "old_score": overall["old"],
            "new_score": overall["new"],
            "regressed": regressed,
            "slices": found["table"][1:51],
            "table": found["table"][:51],
            "too_small": found["too_small"],
            "evaluations": jobs_asked,
            "implicates": [new] if verdict == "fail" else [],
            "exonerates": [new] if verdict == "pass" else [],
            "statistic": {
                "name": "paired difference",
                "value": found["diff"],
                "lo": found["lo"],
                "hi": found["hi"],
                "p": p,
            },
        },
    )
