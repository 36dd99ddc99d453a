"""The verbs of people and alerts on runs: start, cancel, pause, resume, answer, skip (repeating.py: rerun)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Team
from catalog.permissions import Permission
from common import background, clock, statements
from common.errors import Conflict, Invalid, NotFound
from common.expressions import ExpressionError
from incidents import evidence, notices
from incidents.models import Alert, Evidence, Incident, TimelineEntry
from runbooks import (
    approvals,
    children,
    doubt,
    engine,
    inputs,
    ledger,
    reading,
    relapses,
    repeating,
    starting,
    stopping,
    transitions,
)
from runbooks.definitions import Book
from runbooks.models import KEY_HOLDING_STATES, OPEN_RUN_STATES, Run, Runbook, StepRun
from runbooks.verdicts import WORDS, boolean

# What people say to a manual step, and the verdict of it; `done` is judged by the step's own rules where it has some.
MANUAL_DECISIONS = {"": "pass", "done": "pass", "could_not": "fail", "skip": "skipped"}


@dataclass(frozen=True)
class Started:
    """What a start came to: a new run (active or queued), the open run it joined, or none because it was skipped."""

    decision: str
    run: Run | None


def start(
    runbook: Runbook,
    *,
    given: dict[str, Any],
    actor: Actor,
    team: Team,
    incident: Incident | None = None,
    alert: Alert | None = None,
    reason: str = "",
    told: str = "",
    prepare: Callable[[Run], None] | None = None,
    plan: bool = False,
) -> Started:
    """R1: start the published revision with checked inputs, or join, queue or skip behind the run that holds its key.

    A start with a bad input creates no run: Invalid with `fields`. `given` are inputs from a form, the API or nothing;
    what is missing is taken from the alert by the input's `from`, then from its default. `told` is what the timeline
    says in place of "was started by"; `prepare` is called with the new run before its first step is opened.
    `plan` makes it a dry run (runbooks/dry.py), which is in nobody's way.
    """
    if actor.user is not None:
        permissions.require(actor, Permission.RUN, team)
    if runbook.team_id not in (None, team.pk) or (incident is not None and incident.team_id != team.pk):
        raise NotFound("There is no such runbook or incident in this team.", fix="Choose those of the run's own team.")
    book = _runnable(runbook)
    pinned = children.pinned(book, team)
    alert_data = reading.alert_data(alert) if alert else {}
    assert runbook.current is not None, "it is runnable"
    run = starting.made(
        runbook.current,
        team=team,
        incident=incident,
        given=given,
        alert=alert_data,
        is_plan=plan,
        alert_id=alert.pk if alert else None,
        trigger_reason=reason[:500],
        started_by=actor.label,
        requester_id=actor.user_id if alert is None else None,
    )
    # All of it or nothing: what fails in here fails the caller's transaction too.
    with transaction.atomic(savepoint=False):
        if incident is not None:
            run.incident = _lock_incident(incident, runbook, run.concurrency_key)
        now = clock.now()
        decision = _insert(run, book.spec.when_busy, now)
        if decision in ("joined", "skipped"):
            holder = _holder(run)
            if holder is not None:
                _note_busy(run, holder, decision, actor)
            return Started(decision, holder)
        starting.add_steps(run, pinned=pinned)
        transitions.event(run, "R1" if decision == "started" else "R1q", now=now, state=run.state, actor=actor)
        started = "was started" if decision == "started" else "is queued behind another run"
        because = f" because {reason}" if reason else ""
        transitions.note(
            run,
            kind="run",
            actor=actor,
            text=told
            or f"Runbook {runbook.slug} (revision {run.revision.number}) {started} by {actor.label}{because}.",
            pinned=True,
            now=now,
        )
        if not plan:
            _warn(run)
        if prepare is not None:
            prepare(run)
        engine.move_on(run, now=now)
    return Started(decision, run)


def _runnable(runbook: Runbook) -> Book:
    if not runbook.enabled or runbook.deleted_at is not None or runbook.current is None:
        raise Conflict(
            f"Runbook {runbook.slug} is switched off or has no published revision.", fix="Publish one first."
        )
    return reading.book_of(runbook.current)


_busy = statements.Written(
    lambda runbook, key: (
        Run.objects.filter(runbook=runbook, concurrency_key=key, state__in=OPEN_RUN_STATES)
        .exclude(incident=None)
        .order_by("pk")
        .values_list("incident_id", flat=True)[:2]
    )
)


def _lock_incident(incident: Incident, runbook: Runbook, key: str) -> Incident:
    """Lock our incident and those of the holder of our key and of the first in line, which are told.

    In one order: two starts must not deadlock.
    """
    if not key:
        return transitions.lock_incident(incident.pk)
    wanted = {incident.pk, *_busy(runbook.pk, key)}
    if len(wanted) == 1:
        return transitions.lock_incident(incident.pk)
    rows = {row.pk: row for row in Incident.objects.select_for_update().filter(pk__in=wanted).order_by("pk")}
    return rows[incident.pk]


def _holder(run: Run) -> Run | None:
    return Run.objects.filter(
        runbook=run.runbook_id, concurrency_key=run.concurrency_key, state__in=KEY_HOLDING_STATES
    ).first()


def _insert(run: Run, when_busy: str, now: datetime) -> str:
    """Insert the run; the unique index decides who holds the key: started, queued, joined or skipped."""
    _give_turn(run, now=now)
    if starting.take_key(run, now=now):
        return "started"
    holder = _holder(run)
    if when_busy == "skip":
        return "skipped"
    if when_busy == "join" and holder is not None and holder.state != "stopping":
        if not relapses.gives_way(holder, run):
            return "joined"
        holder = transitions.lock_run(holder.pk)
        if not relapses.gives_way(holder, run):
            return "joined"
        relapses.alert_came_back(holder, run)
        _replace(holder, run, now=now)
    elif when_busy == "replace" and holder is not None:
        _replace(transitions.lock_run(holder.pk), run, now=now)
    starting.queue(run)
    return "queued"


def _replace(holder: Run, run: Run, *, now: datetime) -> None:
    """End the run that holds the key, which is locked, in favour of a new one."""
    stopping.begin(holder, reason=f"replaced by run {run.uuid} of {run.started_by}", now=now, ends="cancelled")
    engine.move_on(holder, now=now)


def _give_turn(run: Run, *, now: datetime) -> None:
    """R2: where the holder has ended and nobody has heard of it yet, the next in line comes before a newcomer."""
    if not run.concurrency_key:
        return
    ours = Run.objects.filter(runbook=run.runbook_id, concurrency_key=run.concurrency_key, state__in=OPEN_RUN_STATES)
    line = list(ours.order_by("pk").values_list("pk", "state"))
    if line and all(state == "queued" for _, state in line):
        with suppress(reading.Unreadable):
            engine.move_on(transitions.lock_run(line[0][0]), now=now)


def _note_busy(run: Run, holder: Run, decision: str, actor: Actor) -> None:
    """A start that made no run is told where the open run is looked at, and on its own incident if that is another."""
    because = f" ({run.trigger_reason})" if run.trigger_reason else ""
    did = "joined it" if decision == "joined" else "started nothing"
    text = f"{run.label} is running already ({_where(holder)}): {actor.label} {did}{because}."
    data = {"joined": str(holder.uuid)}
    for where in [holder] if run.incident_id == holder.incident_id else [holder, run]:
        # Of a storm of alerts the first to join is told; people are always answered.
        said = TimelineEntry.objects.filter(incident=where.incident_id, kind="run", data__joined=data["joined"])
        if run.alert_id is None or not said.exists():
            transitions.note(where, kind="run", actor=actor, text=text, data=data)


def _where(run: Run) -> str:
    waiting = run.steps.filter(state="blocked").first()
    return f"it waits at {waiting.name}" if waiting else f"phase {run.phase}"


def _warn(run: Run) -> None:
    """A run whose approval nobody can give says so at once, not at 3 a.m. when it waits."""
    found = approvals.nobody_can(run)
    if not found:
        return
    run.warning = ("Nobody can approve: " + "; ".join(found))[:500]
    Run.objects.filter(pk=run.pk).update(warning=run.warning)
    transitions.note(run, kind="run", text=run.warning + ".", pinned=True)
    notices.tell(
        team=run.team,
        kind="waits_for_you",
        key=f"{run.uuid}:nobody",
        subject=f"{run.incident.key if run.incident else run.runbook.slug}: {run.warning}"[:300],
        body="Give somebody the role approver and put them into the group that is asked.",
        link=f"/runs/{run.uuid}",
        incident=run.incident,
    )


def cancel(run: Run, *, actor: Actor, reason: str = "") -> Run:
    """R4: end a run from any state; Conflict when it has ended or is ending already."""
    with transaction.atomic():
        run = _locked(run, actor)
        if run.state not in ("queued", "active", "paused"):
            raise Conflict(f"The run is {run.state} already.", fix="Nothing is left to cancel.", state=run.state)
        now = clock.now()
        because = f": {reason.strip()}" if reason.strip() else ""
        stopping.begin(run, reason=f"cancelled by {actor.label}{because}", now=now, actor=actor, ends="cancelled")
        engine.move_on(run, now=now)
    return run


def pause(run: Run, *, actor: Actor, reason: str = "") -> Run:
    """R3: start nothing new; answers and approvals are still taken down."""
    return _switch(run, actor, was="active", to="paused", word="paused", reason=reason)


def resume(run: Run, *, actor: Actor, reason: str = "") -> Run:
    """R3: go on."""
    return _switch(run, actor, was="paused", to="active", word="resumed", reason=reason)


def _switch(run: Run, actor: Actor, *, was: str, to: str, word: str, reason: str) -> Run:
    with transaction.atomic():
        run = _locked(run, actor)
        if run.state != was:
            raise Conflict(f"The run is {run.state}, not {was}.", fix="Reload the page.", state=run.state)
        now = clock.now()
        transitions.go_run(run, "R3", was=(was,), now=now, actor=actor, text=reason, state=to)
        if to == "active":
            # What became ready in the meantime was offered to workers while they had to refuse it.
            for step in run.steps.filter(state="ready"):
                background.hint("runbooks.execute", step.queue, step.pk)
        because = f": {reason.strip()}" if reason.strip() else ""
        transitions.note(run, kind="run", actor=actor, text=f"{actor.label} {word} the run{because}.")
        engine.move_on(run, now=now)
    return run


def _locked(run: Run, actor: Actor, permission: Permission = Permission.RUN) -> Run:
    if actor.user is not None:
        permissions.require(actor, permission, run.team)
    return transitions.lock_run(run.pk)


def answer(
    step: StepRun,
    *,
    actor: Actor,
    fields: dict[str, Any] | None = None,
    decision: str = "",
    verdict: str = "",
    note: str = "",
) -> StepRun:
    """A person's answer: to a manual step (`fields`, or decision done, could_not, skip), to a parked verdict
    (accept, override with verdict and note, again, stop), or about an effect in doubt (happened, did_not_happen,
    send_again).
    """
    with transaction.atomic():
        run = _locked(step.run, actor, Permission.ANSWER)
        step = transitions.step_of(step.pk)
        now = clock.now()
        if step.state == "unknown":
            _answer_unknown(run, step, decision, actor, note, now)
        elif step.state == "blocked" and step.blocked_on == "human":
            _answer_manual(run, step, fields or {}, decision, actor, note, now)
        elif step.state == "blocked" and step.blocked_on == "ask":
            _answer_ask(run, step, decision, verdict, actor, note, now)
        else:
            raise Conflict(
                f"The step is {step.state} and asks nothing.", fix="Reload the run's page.", state=step.state
            )
        engine.move_on(run, now=now)
    return transitions.step_of(step.pk)


def _answer_manual(
    run: Run, step: StepRun, fields: dict[str, Any], decision: str, actor: Actor, note: str, now: datetime
) -> None:
    verdict = MANUAL_DECISIONS.get(decision)
    if verdict is None:
        raise Invalid(
            f"A manual step is answered with {', '.join(word for word in MANUAL_DECISIONS if word)}, not {decision!r}.",
            fix="Choose one of these; to stop the run, say could_not where that stops it, or cancel the run.",
        )
    is_done = verdict == "pass"
    definition = reading.step_of(run, step)
    result: dict[str, Any] = {}
    if is_done:
        result = dict.fromkeys(definition.fields) | inputs.resolve(definition.fields, given=fields).values
    if is_done:
        context = reading.names(run, list(run.steps.all()), now) | {"result": result}
        try:
            rules = definition.rules
            if rules.fail_if is not None and boolean(rules.fail_if, context):
                verdict = "fail"
            elif rules.pass_if is not None and not boolean(rules.pass_if, context):
                verdict = "fail" if rules.fail_if is None else "inconclusive"
        except ExpressionError as error:
            raise Invalid(f"The answer cannot be judged: {error}", fix="Fill in every field.") from None
    said = ", ".join(f"{name} = {value}" for name, value in result.items())
    summary = " ".join(part for part in (said, note.strip()) if part) or decision.replace("_", " ") or "done"
    row = _answer_evidence(run, step, summary, verdict, result)
    if step.kind == "action" and is_done:
        # Done elsewhere: no effect of ours tells the timeline.
        text = f"{actor.label} says that it was done by hand: {step.summary.removeprefix('Do this by hand: ')}. {note}"
        transitions.note(
            run, kind="answer", actor=actor, text=text.strip(), evidence=row, pinned=True, data={"step": step.step}
        )
    engine.settle(
        run,
        step,
        was=("blocked",),
        verdict=verdict,
        reason=decision,
        summary=summary,
        now=now,
        actor=actor,
        asked=True,
        result=result,
        evidence=row,
    )


def _answer_evidence(run: Run, step: StepRun, summary: str, verdict: str, result: dict[str, Any]) -> Evidence:
    return evidence.store(
        incident=run.incident,
        kind="answer",
        summary=f"{step.name} {summary}",
        run_id=run.pk,
        step=step.step,
        verdict=verdict,
        result=result,
    )


def _answer_ask(run: Run, step: StepRun, decision: str, verdict: str, actor: Actor, note: str, now: datetime) -> None:
    proposed = step.proposed_verdict
    if decision == "again":
        repeating.again(run, step, actor=actor, now=now, was=("blocked",))
        return
    if decision == "override":
        if verdict not in ("pass", "fail", "skipped"):
            raise Invalid("An override names pass, fail or skipped.", fix="Choose what the step should count as.")
        if not note.strip():
            raise Invalid("An override needs a note.", fix="Say in one sentence how you know.")
        text = f"{actor.label} counts {step.name} as «{WORDS[verdict]}» instead of «{WORDS[proposed]}»: {note.strip()}"
        row = evidence.store(
            incident=run.incident, kind="override", summary=text, run_id=run.pk, step=step.step, verdict=verdict
        )
        transitions.note(
            run,
            kind="answer",
            actor=actor,
            text=text,
            evidence=row,
            pinned=True,
            data={"step": step.step, "override": True, "from": proposed, "to": verdict},
        )
    elif decision in ("accept", "stop"):
        verdict = proposed
    else:
        raise Invalid("Choose accept, override, again or stop.", fix="See the four buttons on the run's page.")
    if decision == "stop":
        stopping.begin(run, reason=f"stopped by {actor.label} at {step.step}", now=now, actor=actor)
    engine.settle(
        run,
        step,
        was=("blocked",),
        verdict=verdict,
        reason=step.reason,
        summary=step.summary,
        now=now,
        transition="S17",
        actor=actor,
        asked=True,
        overridden_by=actor.label if decision == "override" else "",
    )


def _answer_unknown(run: Run, step: StepRun, decision: str, actor: Actor, note: str, now: datetime) -> None:
    said = {"happened": "it happened", "did_not_happen": "it did not happen", "send_again": "send it again"}.get(
        decision
    )
    if said is None:
        raise Invalid(
            "Say whether it happened, did not happen, or is to be sent again.",
            fix="Look at the state read back just now.",
        )
    if decision == "send_again" and doubt.might_double(step) and not note.strip():
        raise Invalid(
            "Sending again may do it twice, so it needs a note.",
            fix="Say in one sentence why that is right.",
            fields={"note": "Say in one sentence why doing it twice is right."},
        )
    transitions.note(
        run,
        kind="answer",
        actor=actor,
        text=f"{actor.label}: {said} ({step.name}). {note.strip()}".strip(),
        pinned=True,
        data={"step": step.step},
    )
    if decision == "send_again":
        doubt.send_again(run, step, now=now, actor=actor)
    else:
        doubt.happened(run, step, yes=decision == "happened", now=now, actor_label=actor.label)


def skip(step: StepRun, *, actor: Actor, reason: str) -> StepRun:
    """Count a step that has not started or waits as skipped, with a reason on the timeline."""
    if not reason.strip():
        raise Invalid("Skipping needs a reason.", fix="Say in one sentence why it is not needed.")
    with transaction.atomic():
        run = _locked(step.run, actor, Permission.ANSWER)
        step = transitions.step_of(step.pk)
        now = clock.now()
        if step.state not in ("pending", "sleeping", "blocked"):
            raise Conflict(f"The step is {step.state} and cannot be skipped.", fix="Reload the run's page.")
        if step.kind == "action" and (effect := ledger.effect_of(step)) and effect.state in ledger.DOUBTFUL:
            raise Conflict("It may have happened already, so it cannot be skipped.", fix="Wait for what becomes of it.")
        if step.blocked_on == "child" and step.state == "blocked":
            raise Conflict("It is at work as a run of its own.", fix="Cancel that run, then answer here.")
        transitions.withdraw_request(step, now=now)
        text = f"{actor.label} skipped {step.name} {reason.strip()}"
        transitions.note(
            run, kind="answer", actor=actor, text=text, pinned=True, data={"step": step.step, "override": True}
        )
        engine.settle(
            run,
            step,
            was=(step.state,),
            verdict="skipped",
            reason="skipped",
            summary=f"Skipped by {actor.label}: {reason.strip()}",
            now=now,
            actor=actor,
            asked=True,
        )
        engine.move_on(run, now=now)
    return transitions.step_of(step.pk)
