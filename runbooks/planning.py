"""What a run does next, from what is known of it: pure functions, state in, moves out.

Nothing here reads a clock, a database or an expression. `engine.move_on` takes the picture of a run, asks `plan` for
the moves, makes them in its transaction and asks again, until there is nothing to do but wait. So the same run can be
driven by a test without any table. The numbers (R4, S18 …) are the transitions of docs/guide/engine.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from runbooks.fields import PHASES
from runbooks.verdicts import outcome, worst

# What a stopping run goes through once nothing of the five phases is open any more.
UNDO, FINALLY = "undo", "finally"
ENDINGS = (UNDO, FINALLY)
TERMINAL = ("settled", "cancelled")
# Effects that may have happened: nobody knows until somebody looks.
DOUBTFUL = ("sent", "unknown")
# Ways to end after which what was changed is taken back, where the runbook says that it may go by itself.
UNDONE = ("not_resolved", "aborted")


@dataclass(frozen=True)
class StepState:
    """One row of a run as the plan sees it; `effect` is the ledger's word for what it changes, empty if nothing."""

    id: str
    item: int = 0
    kind: str = "check"
    phase: str = "check"
    state: str = "pending"
    verdict: str = ""
    # Ids of the steps whose results it reads, and whether it reads the diagnosis.
    mentions: frozenset[str] = frozenset()
    reads_diagnosis: bool = False
    effect: str = ""
    # It is a run of its own that has not ended.
    child_open: bool = False
    # It was a run of its own, which has ended: what it came to is not taken down yet.
    child_ended: bool = False
    # Of a step that takes an action back: whether it goes by itself, and the how-manieth effect of the run it undoes
    # (0: that effect did not happen).
    auto: bool = False
    undoes: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether this step has come to its end."""
        return self.state in TERMINAL


@dataclass(frozen=True)
class RunState:
    """A run as the plan sees it; `steps` in the order of the runbook, with undo and finally last."""

    state: str
    phase: str = PHASES[0]
    ends_as: str = ""
    stopped_early: bool = False
    outcome: str = ""
    frozen: bool = False
    # Its runbook cannot be read any more: all that is left is to end it.
    unreadable: bool = False
    steps: tuple[StepState, ...] = field(default=())


@dataclass(frozen=True)
class Activate:
    """R2: take the key if the run before it has ended."""


@dataclass(frozen=True)
class Open:
    """S1 to S5: evaluate and render the step, and put it where it waits."""

    step: StepState


@dataclass(frozen=True)
class Freeze:
    """What the decision to act is based on is settled."""


@dataclass(frozen=True)
class EndPhase:
    """The phase has this verdict; the next one begins, or the run begins to stop after the last (R4)."""

    verdict: str
    following: str


@dataclass(frozen=True)
class Cancel:
    """S18, S19: it ends without a verdict."""

    step: StepState


@dataclass(frozen=True)
class CancelChild:
    """The run that this step started is cancelled too, and waited for."""

    step: StepState


@dataclass(frozen=True)
class TakeResult:
    """S9: the run that this step started has ended, and says what the step came to."""

    step: StepState


@dataclass(frozen=True)
class GiveUp:
    """S20: nobody said whether it happened; the question goes to the incident."""

    step: StepState


@dataclass(frozen=True)
class Conclude:
    """The outcome is known; from here only undo and finally are left."""

    outcome: str


@dataclass(frozen=True)
class LeaveOut:
    """S1: a step that takes something back and is not carried out by itself."""

    step: StepState
    reason: str


@dataclass(frozen=True)
class GoOn:
    """The next of the endings begins."""

    phase: str


@dataclass(frozen=True)
class End:
    """R5: the run has ended."""


Move = (
    Activate | Open | Freeze | EndPhase | Cancel | CancelChild | TakeResult | GiveUp | Conclude | LeaveOut | GoOn | End
)


def plan(run: RunState) -> list[Move]:
    """The moves that can be made now, in this order; none when the run waits or has ended. Changes nothing."""
    if run.state == "queued":
        return _end_before_it_began(run) if run.ends_as else [Activate()]
    ended: list[Move] = [TakeResult(step) for step in run.steps if step.child_ended and not step.is_terminal]
    if ended and run.state in ("active", "paused", "stopping"):
        return ended
    if run.state == "active":
        return _go_on(run)
    if run.state == "stopping":
        return _stop(run)
    return []


def may_open(step: StepState, current: list[StepState]) -> bool:
    """Whether everything it waits for has ended.

    Neighbouring checks run together unless one mentions another or the diagnosis; every other step waits for all
    before it in the phase, whatever their verdicts, and all after it wait for it.
    """
    for other in current:
        if other.id == step.id:
            return True
        if other.is_terminal:
            continue
        together = step.kind == "check" and other.kind == "check" and not step.reads_diagnosis
        if not together or other.id in step.mentions:
            return False
    return True


def _go_on(run: RunState) -> list[Move]:
    """The phase at work: open what may open, or end it."""
    # Checks of a phase gone by that are asked again (repeating.ask_again): what comes next waits for their answers.
    gone_by = PHASES[: PHASES.index(run.phase)]
    again = [step for step in run.steps if step.phase in gone_by and not step.is_terminal]
    acting = "remediate" in (run.phase, *gone_by)
    moves: list[Move] = [Freeze()] if acting and not again and not run.frozen else []
    current = again or [step for step in run.steps if step.phase == run.phase]
    if all(step.is_terminal for step in current):
        found = [step.verdict for step in current if step.state == "settled"]
        following = PHASES.index(run.phase) + 1
        return [*moves, EndPhase(worst(found), PHASES[following] if following < len(PHASES) else "")]
    return [*moves, *(Open(step) for step in current if step.state == "pending" and may_open(step, current))]


def _end_before_it_began(run: RunState) -> list[Move]:
    """A queued run has done nothing: there is nothing to take back and nothing to tidy up."""
    return [*(Cancel(step) for step in run.steps if not step.is_terminal), End()]


def _stop(run: RunState) -> list[Move]:
    """Wind down, take back, tidy up, end: each only when nothing of the one before is open."""
    if run.phase == UNDO and not run.unreadable:
        return _take_back(run)
    if run.phase == FINALLY and not run.unreadable:
        open_steps = [step for step in run.steps if step.phase == FINALLY and not step.is_terminal]
        return _one_by_one(open_steps) if open_steps else [End()]
    moves: list[Move] = []
    waits = False
    for step in run.steps:
        if step.is_terminal or (step.phase in ENDINGS and not run.unreadable):
            continue
        if step.child_open:
            waits = True
            moves.append(CancelChild(step))
        elif step.state == "leased" and step.effect == "sent":
            # It may be changing the world right now: its result is waited for, up to its timeout.
            waits = True
        elif step.effect in DOUBTFUL:
            moves.append(GiveUp(step))
        else:
            moves.append(Cancel(step))
    if moves or waits:
        return moves
    # How to take back and to tidy up stands in what cannot be read: people do it.
    return [End()] if run.phase in ENDINGS else [Conclude(_outcome(run))]


def _outcome(run: RunState) -> str:
    """How it ended, of what was settled; a run that was cancelled or ran out of time has none."""
    if run.ends_as != "finished":
        return ""
    # Also when the phase was left early; what was cancelled has no say.
    found = [step.verdict for step in run.steps if step.phase == "verify" and step.state == "settled"]
    confirmed = sum(step.effect == "confirmed" for step in run.steps if step.phase not in ENDINGS)
    return outcome(verify=worst(found), stopped_early=run.stopped_early, confirmed_effects=confirmed)


def _take_back(run: RunState) -> list[Move]:
    """Undo what may go by itself, the last effect first, one at a time; the rest is offered to people."""
    rows = [step for step in run.steps if step.phase == UNDO and not step.is_terminal]
    wanted = run.ends_as != "finished" or run.outcome in UNDONE
    left_out = [
        LeaveOut(step, "offered" if step.undoes else "not_applied")
        for step in rows
        if step.state == "pending" and not (wanted and step.auto and step.undoes)
    ]
    if left_out:
        return list(left_out)
    return _one_by_one(sorted(rows, key=lambda step: -step.undoes)) if rows else [GoOn(FINALLY)]


def _one_by_one(steps: list[StepState]) -> list[Move]:
    """The first of them, if none is at work."""
    at_work = any(step.state != "pending" for step in steps)
    return [] if at_work else [Open(steps[0])]


def is_winding_down(run_state: str, phase: str) -> bool:
    """Whether a step of this phase is only waited for or given up: its run is stopping, and it is no ending."""
    return run_state == "stopping" and phase not in ENDINGS
