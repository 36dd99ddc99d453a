"""Two revisions step by step."""

from __future__ import annotations

import pytest

from runbooks import compare

BOOK = """spec: 1
id: mine
title: Mine
incident_type: other
owner: team:default
phases:
  check:
    - {id: first, name: First?, check: metric.query, with: {signal: error_rate}, fail_if: value > 5}
    - {id: second, name: Second?, check: metric.query, with: {signal: latency}}
    - {id: third, name: Third?, manual: Look}
  verify:
    - {id: settle, wait: 12m}
"""
FIRST = "    - {id: first, name: First?, check: metric.query, with: {signal: error_rate}, fail_if: value > 5}\n"
SECOND = "    - {id: second, name: Second?, check: metric.query, with: {signal: latency}}\n"


def told(new: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(step.id, step.kinds) for step in compare.texts(BOOK, new).steps]


def test_the_same_text_differs_in_nothing() -> None:
    found = compare.texts(BOOK, "# a comment\n" + BOOK)
    assert (found.is_empty, found.same) == (True, 4)


def test_it_names_a_changed_field_with_before_and_after() -> None:
    (step,) = compare.texts(BOOK, BOOK.replace("signal: error_rate", "signal: faults")).steps
    assert (step.id, step.title, step.kinds) == ("first", "First?", ("changed",))
    assert [(f.name, f.before, f.after) for f in step.fields] == [("with.signal", "error_rate", "faults")]


def test_it_tells_added_and_removed_steps() -> None:
    new = BOOK.replace(SECOND, "").replace(
        "{id: settle, wait: 12m}", "{id: settle, wait: 12m}\n    - {id: last, manual: Ask}"
    )
    assert told(new) == [("second", ("removed",)), ("last", ("added",))]
    assert compare.texts(BOOK, new).same == 3


def test_a_step_that_moved_within_its_phase_is_the_only_one_that_moved() -> None:
    new = BOOK.replace(FIRST, "").replace("manual: Look}\n", "manual: Look}\n" + FIRST)
    (step,) = compare.texts(BOOK, new).steps
    assert (step.id, step.kinds, step.where) == ("first", ("moved",), "from check, place 1, to check, place 3")


def test_a_step_may_move_to_another_phase_and_change_at_once() -> None:
    new = BOOK.replace(SECOND, "").replace("  verify:\n", "  verify:\n" + SECOND.replace("latency", "cost"))
    (step,) = compare.texts(BOOK, new).steps
    assert (step.id, step.kinds) == ("second", ("moved", "changed"))
    assert step.where == "from check, place 2, to verify, place 1"


def test_another_id_alone_is_a_rename() -> None:
    (step,) = compare.texts(BOOK, BOOK.replace("id: third", "id: look")).steps
    assert (step.id, step.was, step.kinds) == ("look", "third", ("renamed",))


def test_it_tells_fields_of_the_runbook_itself() -> None:
    found = compare.texts(BOOK, BOOK.replace("title: Mine", "title: Ours").replace("owner: team:default\n", ""))
    assert [(f.name, f.before, f.after) for f in found.head] == [
        ("title", "Mine", "Ours"),
        ("owner", "team:default", None),
    ]


@pytest.mark.parametrize("text", ["", "{", "- a list", "phases: 5", "phases: {check: [1, {id: 5}]}", "id: \0"])
def test_a_text_that_is_no_runbook_is_compared_all_the_same(text: str) -> None:
    assert {step.kinds for step in compare.texts(BOOK, text).steps} == {("removed",)}
    assert {step.kinds for step in compare.texts(text, BOOK).steps} == {("added",)}
