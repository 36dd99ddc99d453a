"""Moving a run on: which steps may start, what a verdict does, when a phase and a run end.

`advance` is called after every settle, decision, answer and timer, and by the auditor; calling it twice changes
nothing. What comes next is planned without any table (planning.py); here it is made to happen, in one transaction. The
numbers in comments (R1, S3 …) are the transitions of docs/guide/engine.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from catalog.actors import ENGINE, Actor
from common import clock, statements
from incidents.models import Evidence
from runbooks import (
    aftermath,
    asking,
    children,
    diagnosis,
    items,
    locks,
    opening,
    picture,
    planning,
    reading,
    stopping,
    transitions,
    verdicts,
)
from runbooks.definitions import Definition
from runbooks.fields import written
from runbooks.models import DiagnosisSnapshot, Run, StepRun
from runbooks.picture import Rows


def advance(run_id: int) -> None:
    """Move a run on as far as it can go now, in one transaction."""
    with transaction.atomic():
        run = transitions.lock_run(run_id)
        move_on(run, now=clock.now())


def move_on(run: Run, *, now: datetime, steps: list[StepRun] | None = None) -> None:
    """The same for a run that the caller has locked; `steps` are its rows, if they were read under that lock."""
    before = _place(run)
    # Each round opens steps or ends a phase; 200 steps in 5 phases bound the rounds.
    for _ in range(500):
        if steps is None:
            steps = transitions.steps_of(run)
        planned = picture.of(run, steps)
        rows = {(row.step, row.item): row for row in steps}
        changed = False
        for move in planning.plan(planned):
            if _adds_rows(move, run):
                steps = None
            changed |= _make(move, run, rows, now=now)
            if (run.state, run.phase) != (planned.state, planned.phase):
                # The rest was planned for what is no more.
                break
        if not changed:
            break
    if run.is_open and _place(run) != before:
        statements.update(Run, _place(run), pk=run.pk)


def _place(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in stopping.PLACE}


def _adds_rows(move: planning.Move, run: Run) -> bool:
    """Whether rows must be read again after it. All else changes rows at hand, and nobody else does under the lock."""
    match move:
        case planning.Open(step=step):
            return reading.definition_of(run.revision, step.id).foreach is not None
        case planning.Conclude():
            return True
        case _:
            return False


def _make(move: planning.Move, run: Run, rows: Rows, *, now: datetime) -> bool:
    """Make one move of the plan; False when nothing came of it."""
    match move:
        case planning.Activate():
            return _activate(run, now=now)
        case planning.Open(step=step):
            return _open(run, rows[step.id, step.item], list(rows.values()), now=now)
        case planning.TakeResult(step=step):
            return _take_result(run, rows[step.id, step.item], step, rows, now=now)
        case planning.CancelChild(step=step):
            return _cancel_child(rows[step.id, step.item], now=now)
        case planning.Freeze():
            freeze_diagnosis(run, now=now)
        case planning.EndPhase(verdict=verdict, following=following):
            _end_phase(run, verdict, following, now=now)
        case planning.LeaveOut(step=step, reason=reason):
            summary = (
                "Not taken back by itself. A person can: Undo… in the row of the action." if reason == "offered" else ""
            )
            return settle(
                run,
                rows[step.id, step.item],
                was=("pending",),
                verdict="skipped",
                reason=reason,
                summary=summary,
                now=now,
                steps=list(rows.values()),
            )
        case _:
            return stopping.make(move, run, rows, now=now)
    return True


def _activate(run: Run, *, now: datetime) -> bool:
    """R2: a queued run takes its key once the holder has ended; oldest first."""
    older = Run.objects.filter(
        runbook=run.runbook_id, concurrency_key=run.concurrency_key, state="queued", pk__lt=run.pk
    ).exists()
    if older:
        return False
    try:
        with transaction.atomic():
            text = "the run before it has ended"
            changed = transitions.go_run(run, "R2", was=("queued",), now=now, text=text, state="active", started_at=now)
    except IntegrityError:
        return False
    if changed:
        transitions.note(run, kind="run", text=f"Runbook {run.runbook.slug} starts now: the run before it has ended.")
    return changed


def _open(run: Run, step: StepRun, steps: list[StepRun], *, now: datetime) -> bool:
    """S1 to S5: the step waits where it belongs, or has its verdict at once."""
    at_once = opening.open_step(run, step, steps, now=now)
    if at_once is not None:
        transition = "S1" if at_once.verdict == "skipped" else "S2"
        settle(run, step, was=("pending",), now=now, transition=transition, steps=steps, **at_once.__dict__)
    elif step.state == "blocked" and step.blocked_on == "child":
        child = children.child_of(step)
        assert child is not None, "it was started just now"
        move_on(child, now=now)
    return True


def _take_result(run: Run, step: StepRun, planned: planning.StepState, rows: Rows, *, now: datetime) -> bool:
    """S9: what the child came to; in a run that is ending, one that was cut off with it has no say (S18)."""
    child = children.child_of(step)
    assert child is not None, "the picture was made of it"
    if run.state == "stopping" and child.state != "finished":
        return stopping.make(planning.Cancel(step=planned), run, rows, now=now)
    return settle(run, step, was=("blocked",), now=now, steps=list(rows.values()), **children.come_to(child, step))


def _cancel_child(step: StepRun, *, now: datetime) -> bool:
    """R4 of a child whose parent is ending; False once it is ending itself, and is waited for."""
    child = _open_child(step)
    if child is not None:
        _cancel(child, reason="the run that it is part of is ending", now=now)
    return child is not None


def _open_child(step: StepRun) -> Run | None:
    """The run that a step waits for, locked; None once that is ending or has ended."""
    child = children.child_of(step)
    assert child is not None, "started when the step began to wait"
    # Its parent's lock is held: down the family, never up.
    child = transitions.lock_run(child.pk)
    return child if child.state in ("queued", "active", "paused") else None


def _cancel(child: Run, *, reason: str, now: datetime) -> None:
    stopping.begin(child, reason=reason, now=now, ends="cancelled")
    move_on(child, now=now)


def cut_off_child(run: Run, step: StepRun, *, now: datetime) -> None:
    """The time is over that a step gives to the run it waits for: that run is cancelled, and its end waited for.

    One that has ended, or has begun to, is in time: what it comes to counts, however late this timer or its news is.
    """
    transitions.note_on(step, was=("blocked",), due_at=None)
    child = _open_child(step)
    if child is not None:
        given = written(reading.step_of(run, step).timeout)
        transitions.note_on(step, was=("blocked",), reason=children.CUT_OFF)
        text = f"{step.name} has lasted {given}: runbook {child.runbook.slug} is cancelled."
        transitions.note(run, kind="run", text=text, data={"step": step.step, "reason": children.CUT_OFF})
        _cancel(child, reason=f"step {step.step} gives it {given}", now=now)
    move_on(run, now=now)


def _end_phase(run: Run, verdict: str, following: str, *, now: datetime) -> None:
    """Store the phase's verdict and go to the next one, or begin to stop after the last (R4)."""
    run.phase_verdicts = run.phase_verdicts | {run.phase: verdict}
    if following:
        run.phase = following
    if not following:
        stopping.begin(run, reason="", now=now)


def _after_settle(run: Run, step: StepRun, steps: list[StepRun] | None, *, now: datetime) -> None:
    """What a verdict does: the diagnosis is ranked anew, and the step's policy says whether the run goes on."""
    locks.release(step)
    if any(step.step in cause.evidence for cause in reading.spec_of(run).causes):
        rank_again(run, list(run.steps.all()) if steps is None else steps, after=step.step, now=now)
    definition = reading.step_of(run, step)
    policy = definition.policy(step.verdict)
    if policy == "stop":
        stopping.begin(run, reason=f"step {step.step}: {step.reason or step.verdict}", now=now)


def settle(
    run: Run,
    step: StepRun,
    *,
    was: tuple[str, ...],
    verdict: str,
    now: datetime,
    transition: str = "S9",
    reason: str = "",
    summary: str = "",
    actor: Actor = ENGINE,
    asked: bool = False,
    evidence: Evidence | None = None,
    steps: list[StepRun] | None = None,
    also: tuple[statements.Write, ...] = (),
    **values: Any,
) -> bool:
    """Give a step its verdict, unless its policy is to ask a person first (S16); False when it was not ours any more.

    `asked` is set when a person has answered, so that the same question is not put again. `evidence` is what the
    verdict rests on, where it was stored just now; `steps` are the run's rows, this one among them, if they were read
    under the run's lock; `also` is written with it.
    """
    if evidence is not None:
        values["evidence_id"] = evidence.pk
    definition = reading.step_of(run, step)
    asks = verdict in ("fail", "inconclusive", "error") and definition.policy(verdict) == "ask"
    # A run that is ending asks nobody any more, and a dry run never does.
    if asks and not asked and run.state != "stopping" and not run.is_plan:
        said = {"verdict": verdict, "reason": reason, "summary": summary}
        return asking.ask(run, step, was=was, now=now, also=also, **said, **values)
    moved = transitions.go(
        run,
        step,
        transition,
        was=was,
        now=now,
        actor=actor,
        text=reason,
        also=also,
        state="settled",
        blocked_on="",
        verdict=verdict,
        reason=reason[:60],
        summary=summary,
        settled_at=now,
        due_at=None,
        lease_until=None,
        pending_note="",
        **values,
    )
    if not moved:
        return False
    _tell_timeline(run, step, definition, evidence, actor=actor, now=now)
    _after_settle(run, step, steps, now=now)
    return True


def after_lost_worker(run: Run, step: StepRun, *, again: str | None, now: datetime) -> None:
    """Once more by the transition `again`, told on the timeline; without one its tries are used up: verdict error."""
    if again is None:
        settle(
            run,
            step,
            was=("leased",),
            verdict="error",
            reason="worker_lost",
            summary=f"Its worker was lost {step.attempts} times.",
            now=now,
            transition="S12",
        )
        move_on(run, now=now)
    elif transitions.go_ready(run, step, again, was=("leased",), now=now, text="its worker was lost"):
        transitions.note(
            run, kind="engine", text=f"{step.name} resumed at {now:%H:%M:%S} UTC after its worker was lost."
        )


def _tell_timeline(
    run: Run, step: StepRun, definition: Definition, evidence: Evidence | None, *, actor: Actor, now: datetime
) -> None:
    """A settled step on the incident's timeline: every one, and as a key moment when its `pin` says so.

    `on_problem` means fail, inconclusive or error. An action that was applied is told by its effect.
    """
    if run.incident_id is None or (step.kind == "action" and step.verdict == "pass"):
        return
    problem = step.verdict in ("fail", "inconclusive", "error")
    if evidence is None and step.evidence_id:
        evidence = Evidence.objects.filter(pk=step.evidence_id).first()
    words = verdicts.WORDS if step.kind == "check" else verdicts.ACT_WORDS
    transitions.note(
        run,
        kind="answer" if step.kind == "manual" else "check",
        text=f"{step.name} {words[step.verdict]}: {step.summary or step.reason}".strip(),
        actor=actor,
        evidence=evidence,
        pinned=definition.pin == "always" or (definition.pin == "on_problem" and problem),
        data={"step": step.step, "verdict": step.verdict, "reason": step.reason, "phase": step.phase},
        now=now,
    )


def rank_again(run: Run, steps: list[StepRun], *, after: str, now: datetime) -> None:
    """Rank the hypotheses by what is known now; after the freeze the snapshot is kept but decides nothing."""
    ranked = diagnosis.rank(reading.spec_of(run).causes, items.verdicts_of(steps), reading.evidence_keys(run, steps))
    statements.insert(
        DiagnosisSnapshot(
            run=run,
            at=now,
            after_step=after,
            top=ranked["top"],
            confidence=ranked["confidence"],
            ranked=ranked["ranked"],
            frozen=run.diagnosis_frozen,
        )
    )
    if not run.diagnosis_frozen:
        run.diagnosis = ranked
        statements.update(Run, {"diagnosis": ranked}, pk=run.pk)


def freeze_diagnosis(run: Run, *, now: datetime) -> None:
    """What the decision to act is based on; told on the timeline with every line of points."""
    causes = reading.spec_of(run).causes
    if not causes:
        return
    if not run.diagnosis:
        rank_again(run, list(run.steps.all()), after="", now=now)
    run.diagnosis_frozen = True
    statements.update(Run, {"diagnosis_frozen": True}, pk=run.pk)
    if run.incident is None:
        return
    ranked = run.diagnosis["ranked"]
    if run.diagnosis["top"] != "unknown":
        best = ranked[0]
        cited = ", ".join(line["evidence"] for line in best["lines"] if line["points"] > 0 and line["evidence"])
        text = f"Likely cause: {best['title']} (score {best['score']:+.0f}; for it: {cited or 'no evidence'})."
    else:
        names = ", ".join(f"{row['title']} (score {row['score']:+.0f})" for row in ranked[:3])
        text = f"No cause reached {diagnosis.CONFIDENCE:.0%} with enough evidence. Best three: {names}."
    numbers = {line["evidence"] for row in ranked[:1] for line in row["lines"]}
    mine = Evidence.objects.filter(run_id=run.pk).only("number", "sha256")
    rows = [row for row in mine if row.key in numbers]
    from_rows = rows[0] if len(rows) == 1 else None
    transitions.note(
        run,
        kind="diagnosis",
        text=text,
        pinned=True,
        evidence=from_rows,
        data=run.diagnosis | {"cites": sorted(numbers)},
    )
    aftermath.tell(run, now=now)
