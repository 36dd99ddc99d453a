"""Evaluation sets: loading them from JSONL and adding cases."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Team
from catalog.permissions import Permission
from common import clock
from common.errors import Invalid
from evaluations.models import Case, Evaluation, EvaluationSet

# Sets are compared item by item in memory; beyond this they belong into result files.
MAX_CASES = 20_000
MAX_CHARACTERS = 20 << 20
_FIELDS = {"item", "input", "expected", "attributes"}
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")


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


@dataclass(frozen=True)
class Loaded:
    """A set after loading: whether it was made by that, and what came into it."""

    evaluation_set: EvaluationSet
    is_new: bool
    added: int
    duplicates: list[str]

    def __str__(self) -> str:
        stayed = f", {len(self.duplicates):,} already there and left alone" if self.duplicates else ""
        return f"{self.evaluation_set.slug}: {self.added:,} added{stayed}."


def load(team: Team, *, slug: str, text: str, actor: Actor, title: str = "") -> Loaded:
    """Make the team's set of that name from JSONL, or add to it what it lacks (see `keep`).

    Each line is {"item", "input", "expected", "attributes"?}. Invalid names the first line that is not.
    """
    return keep(team, slug=slug, cases=read(text), actor=actor, title=title)


def keep(team: Team, *, slug: str, cases: Iterable[NewCase], actor: Actor, title: str = "") -> Loaded:
    """Make the team's set of that name, or add to it the cases it lacks; a title replaces the one before.

    The actor needs `configure` (the engine itself asks nobody). Invalid for a name that cannot be one.
    """
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, team)
    if not _SLUG.fullmatch(slug):
        raise Invalid(
            f"The set's name {slug[:60]!r} cannot be used.",
            fix="Use 1 to 60 small letters, digits, hyphens or underscores.",
            fields={"slug": "Small letters, digits, hyphens and underscores only."},
        )
    given = list(cases)
    named = Counter(case.item for case in given)
    if len(named) < len(given):
        raise Invalid(
            f"The item {named.most_common(1)[0][0]!r} is there twice.", fix="Give each case a name of its own."
        )
    with transaction.atomic():
        found, is_new = EvaluationSet.objects.get_or_create(
            team=team, slug=slug, defaults={"title": title[:120] or slug, "created_at": clock.now()}
        )
        if title and found.title != title[:120]:
            found.title = title[:120]
            found.save(update_fields=["title"])
        added = add_cases(found, cases=given)
    return Loaded(found, is_new, added.added, added.duplicates)


def counted(rows: QuerySet[EvaluationSet]) -> QuerySet[EvaluationSet]:
    """Sets with `case_count`, and `last_scored`: when a version was last scored on them."""
    ended = Evaluation.objects.filter(evaluation_set=OuterRef("pk"), state="done").order_by("-finished_at")
    return rows.annotate(case_count=Count("cases"), last_scored=Subquery(ended.values("finished_at")[:1]))


def read(text: str) -> list[NewCase]:
    """The cases of a JSONL text. Invalid with the line for anything that is not one, or for an item named twice."""
    if len(text) > MAX_CHARACTERS:
        raise Invalid("The set is larger than 20 MiB.", fix="Split it, or keep it as a result file.")
    cases: list[NewCase] = []
    seen: set[str] = set()
    # Not `splitlines`, which also ends lines at characters that JSON texts may hold.
    for number, line in enumerate(text.split("\n"), start=1):
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
        if not _is_storable(row):
            raise _wrong(number, "NaN, infinity, U+0000 and halves of characters cannot be kept")
    except (ValueError, RecursionError):
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


def _is_storable(value: Any) -> bool:
    """Whether every database keeps this JSON value as it is."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_is_storable(part) for pair in value.items() for part in pair)
    return not isinstance(value, list) or all(_is_storable(item) for item in value)


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
