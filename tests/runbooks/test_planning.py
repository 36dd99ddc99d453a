"""The planning core is pure: a run is driven here without a table, through every order in which things happen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runbooks.fields import PHASES
from runbooks.planning import (
    Activate,
    Cancel,
    CancelChild,
    Conclude,
    End,
    EndPhase,
    Freeze,
    GiveUp,
    GoOn,
    LeaveOut,
    Open,
    RunState,
    StepState,
    TakeResult,
    plan,
)


def run_of(*steps: StepState, **more: Any) -> RunState:
    given: dict[str, Any] = {"state": "active", "frozen": True, "steps": steps} | more
    return RunState(**given)


def opened(run: RunState) -> list[str]:
    return [move.step.id for move in plan(run) if isinstance(move, Open)]


def ended(name: str, verdict: str = "pass", **more: Any) -> StepState:
    given: dict[str, Any] = {"state": "settled", "verdict": verdict} | more
    return StepState(name, **given)


def test_it_opens_neighbouring_checks_together_and_waits_for_what_is_mentioned() -> None:
    c = StepState("c", mentions=frozenset({"a"}))
    assert opened(run_of(StepState("a"), StepState("b"), c, StepState("d", kind="action"))) == ["a", "b"]
    assert opened(run_of(ended("a"), StepState("b", state="leased"), c, StepState("d", kind="action"))) == ["c"]


def test_it_waits_for_every_item_of_what_is_mentioned() -> None:
    c = StepState("c", mentions=frozenset({"a"}))
    assert opened(run_of(ended("a"), StepState("a", item=1, state="leased"), c)) == []
    assert opened(run_of(ended("a"), ended("a", item=1), c)) == ["c"]


def test_it_lets_a_reader_of_the_diagnosis_wait_for_all_before_it() -> None:
    late = StepState("late", reads_diagnosis=True)
    assert opened(run_of(StepState("a", state="leased"), late, StepState("b"))) == ["b"]


def test_it_ends_a_phase_with_the_worst_verdict() -> None:
    assert plan(run_of(ended("a"), ended("b", "inconclusive"))) == [EndPhase("inconclusive", "measure")]
    assert plan(run_of(ended("a", phase="verify"), phase="verify")) == [EndPhase("pass", "")]


def test_it_settles_the_diagnosis_before_anything_is_changed() -> None:
    act = StepState("act", kind="action", phase="remediate")
    assert plan(run_of(act, phase="remediate", frozen=False)) == [Freeze(), Open(act)]
    again = StepState("a", state="ready")
    assert plan(run_of(again, act, phase="remediate", frozen=False)) == []


def test_it_waits_for_what_was_sent_and_for_its_children() -> None:
    sent = StepState("sent", kind="action", phase="remediate", state="leased", effect="sent")
    child = StepState("child", kind="runbook", phase="remediate", state="blocked", child_open=True)
    doubt = StepState("doubt", kind="action", phase="remediate", state="unknown", effect="unknown")
    look = StepState("look", phase="verify")
    run = run_of(sent, child, doubt, look, state="stopping", phase="remediate", ends_as="cancelled")
    assert plan(run) == [CancelChild(child), GiveUp(doubt), Cancel(look)]
    assert plan(replace(run, steps=(sent,))) == []


def test_it_takes_back_the_last_first_and_one_at_a_time() -> None:
    first, last = (
        StepState(f"undo-{name}", kind="action", phase="undo", auto=True, undoes=rank)
        for name, rank in (("a", 1), ("b", 2))
    )
    run = run_of(first, last, state="stopping", phase="undo", ends_as="finished", outcome="not_resolved")
    assert plan(run) == [Open(last)]
    assert plan(replace(run, steps=(first, replace(last, state="leased")))) == []
    assert plan(replace(run, steps=(first, ended("undo-b", phase="undo")))) == [Open(first)]
    assert plan(replace(run, outcome="resolved")) == [LeaveOut(first, "offered"), LeaveOut(last, "offered")]
    assert plan(replace(run, steps=())) == [GoOn("finally")]


def test_it_ends_a_queued_run_without_finally() -> None:
    tell = StepState("tell", kind="action", phase="finally")
    assert plan(run_of(tell, state="queued")) == [Activate()]
    assert plan(run_of(tell, state="queued", ends_as="cancelled")) == [Cancel(tell), End()]


KINDS = st.sampled_from(["check", "action", "manual"])
VERDICTS = st.sampled_from(["pass", "fail", "inconclusive", "error", "skipped"])


@st.composite
def books(draw: st.DrawFn) -> RunState:
    """A run with up to eight steps in any phases, each reading some of those before it, and one step of finally."""
    phases = sorted(draw(st.lists(st.sampled_from(PHASES), min_size=1, max_size=8)), key=PHASES.index)
    steps = []
    for number, phase in enumerate(phases):
        mentions = draw(st.sets(st.sampled_from(range(number)), max_size=2)) if number else set()
        named = frozenset(f"s{other}" for other in mentions)
        steps.append(StepState(f"s{number}", kind=draw(KINDS), phase=phase, mentions=named))
    return run_of(*steps, StepState("tell", kind="action", phase="finally"), frozen=False)


def change(run: RunState, step: StepState, **more: Any) -> RunState:
    return replace(run, steps=tuple(replace(row, **more) if row.id == step.id else row for row in run.steps))


def made(run: RunState, move: Any) -> RunState:
    """What the engine would store for a move."""
    match move:
        case Open(step=step):
            assert all(row.is_terminal for row in run.steps if row.id in step.mentions), "it read what had not ended"
            return change(run, step, state="leased")
        case Freeze():
            return replace(run, frozen=True)
        case EndPhase(following=""):
            return replace(run, state="stopping", ends_as="finished")
        case EndPhase(following=following):
            return replace(run, phase=following)
        case Cancel(step=step):
            return change(run, step, state="cancelled")
        case Conclude(outcome=outcome):
            return replace(run, phase="undo", outcome=outcome)
        case GoOn(phase=phase):
            return replace(run, phase=phase)
        case End():
            return replace(run, state=run.ends_as)
    raise AssertionError(move)


@given(books(), st.data())
def test_every_run_comes_to_its_end_whatever_happens_in_which_order(run: RunState, data: st.DataObject) -> None:
    """Steps end in any order with any verdict, somebody may cancel at any moment: it never waits for nothing."""
    moves = 0
    while run.state in ("active", "stopping"):
        moves += 1
        assert moves < 200, "it does not end"
        for move in plan(run):
            before = (run.state, run.phase)
            run = made(run, move)
            if (run.state, run.phase) != before:
                break
        else:
            working = [row for row in run.steps if row.state == "leased"]
            assert working or plan(run), "it waits for nothing"
            if working:
                run = change(run, data.draw(st.sampled_from(working)), state="settled", verdict=data.draw(VERDICTS))
        if run.state == "active" and data.draw(st.integers(0, 20)) == 0:
            run = replace(run, state="stopping", ends_as="cancelled")
    assert all(row.is_terminal for row in run.steps)
    assert next(row for row in run.steps if row.id == "tell").state == "settled"
    assert bool(run.outcome) is (run.state == "finished")


def test_it_takes_down_what_a_run_of_its_own_came_to_also_while_paused_or_ending() -> None:
    call = StepState("call", kind="runbook", state="blocked", child_ended=True)
    for state in ("active", "paused", "stopping"):
        assert plan(run_of(call, StepState("after", kind="action"), state=state)) == [TakeResult(call)]
    going = replace(call, child_ended=False, child_open=True)
    assert plan(run_of(going, StepState("after", kind="action"))) == []
