"""What follows once an action has said what it would change: people are asked, or do it, or it goes without asking."""

from __future__ import annotations

from datetime import datetime, timedelta

from incidents import evidence, notices
from incidents.models import Evidence
from runbooks import approvals, autonomy, engine, opening, transitions
from runbooks.actions.base import Preview
from runbooks.definitions import Definition
from runbooks.models import Run, StepRun
from runbooks.steps import ActionStep

# A suggestion waits for so long where the runbook names no time for an approval.
SUGGESTED_FOR = timedelta(hours=4)


def propose(run: Run, step: StepRun, definition: Definition, preview: Preview, *, now: datetime) -> None:
    """S4 and what stands in its place, as the service's level is by now."""
    way = autonomy.way(run, definition)
    if way == autonomy.LEAVE:
        leave_out(run, step, definition, now=now)
    elif way == autonomy.BY_HAND:
        _suggest(run, step, definition, preview, now=now)
    elif way == autonomy.ASK:
        approvals.ask(run, step, definition, preview, now=now)
    else:
        _go_alone(run, step, definition, preview, now=now)


def leave_out(run: Run, step: StepRun, definition: Definition, *, now: datetime) -> None:
    """The service may only be observed (by now): the step is settled as skipped, and nothing is sent."""
    slug = run.service.slug if run.service else ""
    summary = f"Not done: {slug} is set to {autonomy.level_of(run)}, so nothing is changed there from here."
    engine.settle(run, step, was=("leased",), verdict="skipped", reason="observe", summary=summary, now=now)
    engine.move_on(run, now=now)


def _suggest(run: Run, step: StepRun, definition: Definition, preview: Preview, *, now: datetime) -> None:
    """S5: a person does it elsewhere and says what became of it; nothing is ever sent from here."""
    approval = definition.approval
    asked = approval.from_ if approval else autonomy.ADDED.from_
    due = now + (timedelta(seconds=approval.timeout) if approval else SUGGESTED_FOR)
    row = _kept(run, step, definition, preview, "Suggested")
    summary = f"Do this by hand: {preview.sentence}"
    moved = transitions.go(
        run,
        step,
        "S5",
        was=("leased",),
        now=now,
        text=preview.sentence,
        state="blocked",
        blocked_on="human",
        due_at=due,
        lease_until=None,
        attempts=0,
        summary=summary,
        pending_note="",
        evidence_id=row.pk,
    )
    if not moved:
        return
    transitions.note(
        run,
        kind="approval",
        text=f"{summary}. {run.service.slug if run.service else 'The service'} is set to suggest: nothing is sent from "
        f"here. Waits for {', '.join(asked)} until {due:%H:%M} UTC to say whether it was done.",
        evidence=row,
        pinned=True,
        data={"step": step.step},
    )
    opening.tell_waiting(run, step, asked=asked, due=due, now=now)


def _go_alone(run: Run, step: StepRun, definition: Definition, preview: Preview, *, now: datetime) -> None:
    """It can be taken back and the service is set to let such things go: done without asking, and told loudly."""
    row = _kept(run, step, definition, preview, "Goes without asking")
    undo = definition.step.undo if isinstance(definition.step, ActionStep) else None
    back = f" The way back: {undo.action}." if undo else ""
    slug = run.service.slug if run.service else "the service"
    said = f"Goes without asking, because {slug} is set to auto-reversible: {preview.sentence}.{back}"
    transitions.note(run, kind="approval", text=said, evidence=row, pinned=True, data={"step": step.step})
    subject = f"{run.runbook.title}: {preview.sentence}, without asking"
    if run.incident is not None:
        subject = notices.subject(run.incident, says=f"done without asking: {preview.sentence.partition(', ')[0]}")
    notices.tell(
        team=run.team,
        kind="goes_alone",
        key=f"{run.uuid}:{step.step}:{step.item}:{step.generation}",
        subject=subject[:300],
        body=notices.body("goes_alone", action=preview.sentence, service=slug, back=undo.action if undo else ""),
        link=f"/runs/{run.uuid}#{step.step}-{step.item}",
        incident=run.incident,
    )
    approvals.go_on(run, step, was=("leased",), now=now)


def _kept(run: Run, step: StepRun, definition: Definition, preview: Preview, word: str) -> Evidence:
    """What it would change, as it was read: evidence like that of a request for approval."""
    return evidence.store(
        incident=run.incident,
        kind="approval",
        summary=f"{word}: {preview.sentence}",
        run_id=run.pk,
        step=step.step,
        provider=definition.provider,
        params=step.params or {},
        result=preview.shown(),
    )
