"""The runbook language, `spec: 1`: from text to a RunbookSpec, or to a list of everything that is wrong with it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from common import yaml
from common.yaml import Document, FileFaults, Finding, Path
from runbooks.actions import ACTIONS
from runbooks.checks import CHECKS
from runbooks.faults import RunbookFaults, path_of, translate
from runbooks.lint import Linter, places
from runbooks.lint_children import Others, child_findings
from runbooks.lint_providers import Actions, Checks
from runbooks.spec import RunbookSpec, read_stored
from runbooks.steps import KINDS

__all__ = ["Finding", "RunbookFaults", "RunbookSpec", "check", "examine", "json_schema", "load", "parse"]

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"
# What stands in for a required field that is wrong, so that the rest of the file can still be examined.
_STAND_INS: dict[str, Any] = {
    "spec": 1,
    "id": "unreadable",
    "title": "unreadable",
    "incident_type": "other",
    "owner": "team:default",
    "phases": {},
}
# Fields of a step without which lint would say something wrong about it.
_TELLING = {"approval", "lock", "pass_if", "fail_if", "undo", "irreversible", "with", "risk", "watch", "id", *KINDS}


def parse(text: str, *, file: str, checks: Checks | None = None, actions: Actions | None = None) -> RunbookSpec:
    """The runbook in `text`. Raises RunbookFaults with every error (warnings do not stop it)."""
    spec, findings = examine(text, file=file, checks=checks, actions=actions)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors or spec is None:
        raise RunbookFaults(errors)
    return spec


def check(
    text: str,
    *,
    file: str,
    principals: set[str] | None = None,
    others: Others | None = None,
    providers: bool = True,
    checks: Checks | None = None,
    actions: Actions | None = None,
) -> list[Finding]:
    """Everything wrong with the runbook and every piece of advice, in file order. Never raises.

    `principals` are the known ones of the team; without them names of people are not checked. `others` are the runbooks
    beside this one; without them steps that run one are taken as right. `checks` and `actions` are those of the product
    unless given; with `providers=False` what they say is left out.
    """
    return examine(
        text, file=file, principals=principals, others=others, providers=providers, checks=checks, actions=actions
    )[1]


def examine(
    text: str,
    *,
    file: str,
    principals: set[str] | None = None,
    others: Others | None = None,
    providers: bool = True,
    checks: Checks | None = None,
    actions: Actions | None = None,
) -> tuple[RunbookSpec | None, list[Finding]]:
    """The runbook, if its shape is right, and all findings in file order. Never raises."""
    try:
        document = yaml.read(text, file=file)
    except FileFaults as faults:
        return None, faults.findings
    return examine_document(
        document, principals=principals, others=others, providers=providers, checks=checks, actions=actions
    )


def examine_document(
    document: Document,
    *,
    principals: set[str] | None = None,
    others: Others | None = None,
    providers: bool = True,
    checks: Checks | None = None,
    actions: Actions | None = None,
) -> tuple[RunbookSpec | None, list[Finding]]:
    """The same for a text that was read already, for those who need the places of its parts."""
    file = document.file
    if not isinstance(document.data, dict):
        message = "A runbook is a map of fields."
        return None, [Finding(file, *document.position(()), "RB083", "error", message, "Start with `spec: 1`.")]
    found: list[Finding] = []
    spec: RunbookSpec | None = None
    whole = True
    data = document.data
    # Parts that are wrong are set aside, at most a few times, so that the rest is examined in the same go.
    for attempt in range(4):
        try:
            spec = RunbookSpec.model_validate(data)
            break
        except ValidationError as error:
            whole = False
            wrong = error.errors(include_url=False)
            if attempt == 0:
                found += translate(wrong, document)
            data = _without([path_of(one["loc"]) for one in wrong], data)
    if spec is not None:
        found += Linter(
            spec,
            document,
            checks=checks if checks is not None else {check.name: check for check in CHECKS},
            actions=actions if actions is not None else {action.name: action for action in ACTIONS},
            principals=principals,
            providers=providers,
        ).run()
        if others is not None:
            found += child_findings(document, spec, places(spec), others)
    return (spec if whole else None), sorted(set(found))


def load(parsed: dict[str, Any]) -> RunbookSpec:
    """A runbook from a revision's `parsed` column, without checking it again."""
    return read_stored(parsed)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) for editors."""
    schema = RunbookSpec.model_json_schema(by_alias=True)
    return {"$schema": SCHEMA_ID, "title": "Runbook, spec 1", **{k: v for k, v in schema.items() if k != "title"}}


def _without(paths: list[Path], data: dict[str, Any]) -> dict[str, Any]:
    """A copy in which the parts at those paths are left out or replaced, keeping the places of all others."""
    copy = deepcopy(data)
    for path in paths:
        if not path:
            continue
        top = str(path[0])
        if top == "phases" and len(path) > 2:
            _set_aside_step(copy, path[:3], path[3:])
        elif top == "finally" and len(path) > 1:
            _set_aside_step(copy, path[:2], path[2:])
        elif top in ("inputs", "hypotheses", "outputs", "phases") and len(path) > 1 and isinstance(copy.get(top), dict):
            copy[top].pop(path[1], None)
        elif top in _STAND_INS:
            copy[top] = _STAND_INS[top]
        else:
            copy.pop(top, None)
    return copy


def _set_aside_step(copy: dict[str, Any], where: Path, inside: Path) -> None:
    holder: Any = copy
    for part in where[:-1]:
        holder = holder[part] if not isinstance(holder, dict) else holder.get(part)
        if holder is None:
            return
    index = where[-1]
    if not isinstance(holder, list) or not isinstance(index, int):
        return
    step = holder[index]
    if isinstance(step, dict) and inside and inside[0] not in _TELLING and inside[0] in step:
        step.pop(inside[0])
        return
    holder[index] = {"id": f"unreadable_{index}", "wait": "1s"}
