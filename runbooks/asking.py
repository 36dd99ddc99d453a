"""Parking a verdict until a person says what it means (S16)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from runbooks import locks, opening, reading, transitions
from runbooks.models import Run, StepRun
from runbooks.verdicts import WORDS


def ask(
    run: Run,
    step: StepRun,
    *,
    was: tuple[str, ...],
    verdict: str,
    now: datetime,
    reason: str = "",
    summary: str = "",
    **values: Any,
) -> bool:
    """Keep the verdict as proposed, let go of the lock, and tell the owner; bounded by the run's deadline."""
    moved = transitions.go(
        run,
        step,
        "S16",
        was=was,
        now=now,
        text=f"{verdict}: {reason}",
        state="blocked",
        blocked_on="ask",
        proposed_verdict=verdict,
        reason=reason[:60],
        summary=summary,
        due_at=None,
        lease_until=None,
        pending_note="",
        **values,
    )
    if not moved:
        return False
    locks.release(step)
    owner = reading.spec_of(run).owner
    transitions.note(
        run,
        kind="run",
        text=f"{step.name} {WORDS[verdict]}: {summary or reason}. "
        f"It waits for {owner}: accept, override, again or stop.",
        pinned=True,
        data={"step": step.step, "verdict": verdict, "reason": reason},
    )
    opening.tell_waiting(run, step, asked=[owner], due=run.deadline_at, now=now)
    return True
