"""Evaluation sets: loading them from JSONL and adding cases."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from catalog.models import Team
from common import clock
from common.errors import Invalid
from evaluations.models import Case, EvaluationSet

# Sets are compared item by item in memory; beyond this they belong into result files.
MAX_CASES = 20_000
MAX_CHARACTERS = 20 << 20
_FIELDS = {"item", "input", "expected", "attributes"}


@dataclass(frozen=True)
class NewCase:
    """One case to be added: a name that is unique in its set, the input, the expected answer, and slice attributes."""

    item: str
    input: Any
    expected: Any
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Added:
    """How many cases were new, and which items the set had already (those stay as they were)."""

    added: int
    duplicates: list[str]


def load(team: Team, *, slug: str, text: str, title: str = "") -> EvaluationSet:
    """Make the team's set of that name from JSONL, or add to it what it lacks.

    Each line is {"item", "input", "expected", "attributes"?}. Invalid names the first line that is not.
    """
    cases = read(text)
    with transaction.atomic():
        found, _ = EvaluationSet.objects.get_or_create(
            team=team, slug=slug, defaults={"title": title or slug, "created_at": clock.now()}
        )
        add_cases(found, cases=cases)
    return found


def read(text: str) -> list[NewCase]:
    """The cases of a JSONL text. Invalid with the line for anything that is not one, or for an item named twice."""
    if len(text) > MAX_CHARACTERS:
        raise Invalid("The set is larger than 20 MiB.", fix="Split it, or keep it as a result file.")
    cases: list[NewCase] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        case = _case(line, number)
        if case.item in seen:
            raise _wrong(number, f"the item {case.item!r} is there twice")
        seen.add(case.item)
        cases.append(case)
    if not cases:
        raise Invalid("The set holds no cases.", fix='Give one JSON object per line: {"item", "input", "expected"}.')
    return cases


def _case(line: str, number: int) -> NewCase:
    try:
        row = json.loads(line)
    except ValueError:
        raise _wrong(number, "this is not JSON") from None
    if not isinstance(row, dict):
        raise _wrong(number, "this is not a JSON object")
    if not {"item", "input", "expected"} <= row.keys() or row.keys() - _FIELDS:
        raise _wrong(number, "the fields are item, input, expected and (if any) attributes")
    item, attributes = row["item"], row.get("attributes") or {}
    if not isinstance(item, str | int) or not 0 < len(str(item)) <= 120:
        raise _wrong(number, "item is a name of at most 120 characters")
    if not isinstance(attributes, dict) or not all(isinstance(v, str | int | bool) for v in attributes.values()):
        raise _wrong(number, "attributes are names with short values")
    return NewCase(str(item), row["input"], row["expected"], {str(k): str(v) for k, v in attributes.items()})


def _wrong(number: int, why: str) -> Invalid:
    return Invalid(f"Line {number}: {why}.", fix="Correct that line and load the set again.", line=number)


def add_cases(evaluation_set: EvaluationSet, *, cases: Iterable[NewCase], origin: str = "") -> Added:
    """Add cases to a set, with where they come from ("INC-42"). Items that are there already are left alone.

    Idempotent: the same cases again add nothing. Invalid when the set would become too large.
    """
    wanted = {case.item: case for case in cases}
    with transaction.atomic():
        # Serialises two writers, so that the answer is true.
        EvaluationSet.objects.select_for_update().get(pk=evaluation_set.pk)
        have = set(evaluation_set.cases.values_list("item", flat=True))
        if len(have | wanted.keys()) > MAX_CASES:
            raise Invalid(f"A set holds at most {MAX_CASES} cases.", fix="Start another set.")
        new = [case for item, case in wanted.items() if item not in have]
        Case.objects.bulk_create(
            [
                Case(
                    evaluation_set=evaluation_set,
                    item=case.item,
                    input=case.input,
                    expected=case.expected,
                    attributes=case.attributes,
                    origin=origin[:40],
                )
                for case in new
            ],
            batch_size=500,
        )
    return Added(len(new), [item for item in wanted if item in have])
