"""Moving a run on: which steps may start, what a verdict does, when a phase and a run end.

`advance` is called after every settle, decision, answer and timer, and by the auditor; calling it twice changes
nothing. The numbers in comments (R1, S3 …) are the transitions of docs/guide/engine.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from catalog.actors import ENGINE, Actor
from common import clock
from incidents.models import Evidence
from runbooks import aftermath, asking, diagnosis, locks, opening, reading, stopping, transitions, verdicts
from runbooks.definitions import Definition
from runbooks.models import PHASES, DiagnosisSnapshot, Run, StepRun


def advance(run_id: int) -> None:
    """Move a run on as far as it can go now, in one transaction."""
    with transaction.atomic():
        run = transitions.lock_run(run_id)
        move_on(run, now=clock.now())


def move_on(run: Run, *, now: datetime) -> None:
    """The same for a run that the caller has locked."""
    if not run.is_open:
        return
    if run.state == "queued" and not _activate(run, now=now):
        return
    # Each round opens steps or ends a phase; 200 steps in 5 phases bound the rounds.
    for _ in range(500):
        steps = list(run.steps.all())
        if run.state == "stopping":
            stopping.go_on(run, steps, now=now)
            return
        if run.state == "paused" or not _round(run, steps, now=now):
            return


def _activate(run: Run, *, now: datetime) -> bool:
    """R2: a queued run takes its key once the holder has ended; oldest first."""
    older = Run.objects.filter(
        runbook=run.runbook_id, concurrency_key=run.concurrency_key, state="queued", pk__lt=run.pk
    ).exists()
    if older:
        return False
    try:
        with transaction.atomic():
            changed = Run.objects.filter(pk=run.pk, state="queued").update(state="active", started_at=now)
    except IntegrityError:
        return False
    if changed:
        run.state, run.started_at = "active", now
        transitions.event(run, "R2", now=now, state="active", text="the run before it has ended")
        transitions.note(run, kind="run", text=f"Runbook {run.runbook.slug} starts now: the run before it has ended.")
    return bool(changed)


def _round(run: Run, steps: list[StepRun], *, now: datetime) -> bool:
    """One round over the current phase; True when something changed."""
    current = [step for step in steps if step.phase == run.phase]
    # Checks of a phase gone by that are asked again (repeating.ask_again): what comes next waits for their answers.
    gone_by = PHASES[: PHASES.index(run.phase)]
    again = [step for step in steps if step.phase in gone_by and not step.is_terminal]
    if not again and not run.diagnosis_frozen and "remediate" in (run.phase, *gone_by):
        freeze_diagnosis(run, now=now)
    current = again or current
    if all(step.is_terminal for step in current):
        return _end_phase(run, current, now=now)
    changed = False
    for step in current:
        if step.state == "pending" and may_open(reading.step_of(run, step), run, current):
            at_once = opening.open_step(run, step, steps, now=now)
            if at_once is not None:
                transition = "S1" if at_once.verdict == "skipped" else "S2"
                settle(run, step, was=("pending",), now=now, transition=transition, **at_once.__dict__)
            changed = True
            if run.state != "active":
                return True
    return changed


def may_open(definition: Definition, run: Run, current: list[StepRun]) -> bool:
    """Whether everything it waits for has ended.

    Neighbouring checks run together unless one mentions another or the diagnosis; every other step waits for all
    before it in the phase, whatever their verdicts, and all after it wait for it.
    """
    for other in current:
        if other.step == definition.id:
            return True
        if other.is_terminal:
            continue
        together = definition.kind == "check" and other.kind == "check" and not definition.asks_diagnosis
        if not together or other.step in definition.mentioned:
            return False
    return True


def _end_phase(run: Run, current: list[StepRun], *, now: datetime) -> bool:
    """Store the phase's verdict and go to the next one, or begin to stop after the last (R4)."""
    found = [step.verdict for step in current if step.state == "settled"]
    run.phase_verdicts = run.phase_verdicts | {run.phase: verdicts.worst(found) if current else "skipped"}
    index = PHASES.index(run.phase)
    if index + 1 == len(PHASES):
        Run.objects.filter(pk=run.pk).update(phase_verdicts=run.phase_verdicts)
        stopping.begin(run, reason="", now=now)
        return True
    run.phase = PHASES[index + 1]
    Run.objects.filter(pk=run.pk).update(phase=run.phase, phase_verdicts=run.phase_verdicts)
    if run.phase == "remediate":
        freeze_diagnosis(run, now=now)
    return True


def after_settle(run: Run, step: StepRun, steps: list[StepRun], *, now: datetime) -> None:
    """What a verdict does: the diagnosis is ranked anew, and the step's policy says whether the run goes on."""
    locks.release(step)
    if any(step.step in cause.evidence for cause in reading.spec_of(run).causes):
        rank_again(run, steps, after=step.step, now=now)
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
    **values: Any,
) -> bool:
    """Give a step its verdict, unless its policy is to ask a person first (S16); False when it was not ours any more.

    `asked` is set when a person has answered, so that the same question is not put again.
    """
    definition = reading.step_of(run, step)
    asks = verdict in ("fail", "inconclusive", "error") and definition.policy(verdict) == "ask"
    # A run that is ending asks nobody any more.
    if asks and not asked and run.state != "stopping":
        return asking.ask(run, step, was=was, verdict=verdict, reason=reason, summary=summary, now=now, **values)
    moved = transitions.move(
        step,
        was=was,
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
    transitions.event(run, transition, now=now, state=f"settled {verdict}", step=step, actor=actor, text=reason)
    tell_timeline(run, step, definition, actor=actor)
    after_settle(run, step, list(run.steps.all()), now=now)
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
    elif transitions.make_ready(step, was=("leased",), now=now):
        transitions.event(run, again, now=now, state="ready", step=step, text="its worker was lost")
        transitions.note(
            run, kind="engine", text=f"{step.name} resumed at {now:%H:%M:%S} UTC after its worker was lost."
        )


def tell_timeline(run: Run, step: StepRun, definition: Definition, *, actor: Actor) -> None:
    """A settled step on the incident's timeline: every one, and as a key moment when its `pin` says so.

    `on_problem` means fail, inconclusive or error. An action that was applied is told by its effect.
    """
    if step.kind == "action" and step.verdict == "pass":
        return
    problem = step.verdict in ("fail", "inconclusive", "error")
    row = Evidence.objects.filter(pk=step.evidence_id).first() if step.evidence_id else None
    words = verdicts.WORDS if step.kind == "check" else verdicts.ACT_WORDS
    transitions.note(
        run,
        kind="answer" if step.kind == "manual" else "check",
        text=f"{step.name} {words[step.verdict]}: {step.summary or step.reason}".strip(),
        actor=actor,
        evidence=row,
        pinned=definition.pin == "always" or (definition.pin == "on_problem" and problem),
        data={"step": step.step, "verdict": step.verdict, "reason": step.reason, "phase": step.phase},
    )


def rank_again(run: Run, steps: list[StepRun], *, after: str, now: datetime) -> None:
    """Rank the hypotheses by what is known now; after the freeze the snapshot is kept but decides nothing."""
    seen = {step.step: step.verdict for step in steps if step.state == "settled"}
    ranked = diagnosis.rank(reading.spec_of(run).causes, seen, reading.evidence_keys(steps))
    DiagnosisSnapshot.objects.create(
        run=run,
        at=now,
        after_step=after,
        top=ranked["top"],
        confidence=ranked["confidence"],
        ranked=ranked["ranked"],
        frozen=run.diagnosis_frozen,
    )
    if not run.diagnosis_frozen:
        run.diagnosis = ranked
        Run.objects.filter(pk=run.pk).update(diagnosis=ranked)


def freeze_diagnosis(run: Run, *, now: datetime) -> None:
    """What the decision to act is based on; told on the timeline with every line of points."""
    causes = reading.spec_of(run).causes
    if not causes:
        return
    if not run.diagnosis:
        rank_again(run, list(run.steps.all()), after="", now=now)
    run.diagnosis_frozen = True
    Run.objects.filter(pk=run.pk).update(diagnosis_frozen=True)
    ranked = run.diagnosis["ranked"]
    if run.diagnosis["top"] != "unknown":
        best = ranked[0]
        cited = ", ".join(line["evidence"] for line in best["lines"] if line["points"] > 0 and line["evidence"])
        text = f"Likely cause: {best['title']} (score {best['score']:+.0f}; for it: {cited or 'no evidence'})."
    else:
        names = ", ".join(f"{row['title']} (score {row['score']:+.0f})" for row in ranked[:3])
        text = f"No cause reached {diagnosis.CONFIDENCE:.0%} with enough evidence. Best three: {names}."
    numbers = {line["evidence"] for row in ranked[:1] for line in row["lines"]}
    rows = [row for row in Evidence.objects.filter(run_id=run.pk) if row.key in numbers]
    if run.incident is None:
        return
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
