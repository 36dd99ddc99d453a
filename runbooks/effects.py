"""Changing the world once: the ledger of effects (docs/guide/engine.md, effects).

T1 claim · T2 the intent is committed · T3 marked sent, then the call · T4 confirmed or refused, and the step settled.
A crash between T3 and T4 is met by the effect class: `set`, `keyed`, `notify` and `read` are repeated with the same
key; `probe` looks first; `once` waits for a person and is never sent again by itself.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from pydantic import ValidationError

from common import clock
from common.errors import DomainError
from common.faults import crashpoint
from common.secrets import redact
from incidents import evidence
from runbooks import engine, leases, opening, reading, transitions
from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Ambiguous, Applied, NotApplied, Refused
from runbooks.checks.base import CheckError, Context
from runbooks.definitions import Definition
from runbooks.models import ApprovalRequest, Attempt, Effect, Run, StepRun

log = logging.getLogger(__name__)
REPEATABLE = frozenset({"read", "notify", "set", "keyed"})


def key_of(run: Run, step: StepRun) -> str:
    """The idempotency key: the same for every repeat, another once a person chose to run it again."""
    return hashlib.sha256(f"{run.uuid}:{step.step}:{step.item}:{step.generation}".encode()).hexdigest()


def carry_out(run: Run, step: StepRun, definition: Definition, held: leases.Held, context: Context) -> None:
    """Apply an approved (or approval-free) action under its lock, and settle the step by what became of it."""
    action = ACTIONS.get(definition.provider)
    try:
        params = action.params.model_validate(step.params)
        effect = _intend(run, step, definition, action)
    except ValidationError as error:
        _settle(run, step, definition, verdict="error", reason="bad_param", summary=str(error.errors()[0]["msg"]))
        return
    if effect is None:
        return
    crashpoint("K2")
    if not _mark_sent(effect, held):
        return
    crashpoint("K3")
    try:
        applied = action.apply(params, effect.key, context)
    except Refused as error:
        _refused(run, step, definition, effect, str(error))
    except (NotApplied, CheckError) as error:
        _not_applied(run, step, definition, effect, str(error))
    except DomainError as error:
        _not_applied(run, step, definition, effect, error.sentence)
    except Ambiguous as error:
        _ambiguous(run, step, definition, effect, str(error))
    except Exception as error:
        log.exception("action %s failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
        _ambiguous(run, step, definition, effect, f"{type(error).__name__}: {error}")
    else:
        crashpoint("K4")
        _confirmed(run, step, definition, effect, applied)


def _intend(run: Run, step: StepRun, definition: Definition, action: Action[Any]) -> Effect | None:
    """T2: write down what is about to be done; None when the step is not ours or the approval is not for this."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = StepRun.objects.filter(pk=step.pk, fence=step.fence, state="leased").first()
        if fresh is None or fresh.cancel_requested:
            return None
        if definition.approval is not None and not _approved(locked, fresh):
            engine.settle(
                locked,
                fresh,
                was=("leased",),
                verdict="inconclusive",
                reason="stale_evidence",
                summary="The approval was given for something else; nothing was sent.",
                now=now,
            )
            engine.move_on(locked, now=now)
            return None
        effect, _ = Effect.objects.get_or_create(
            key=key_of(locked, fresh),
            defaults={
                "step_run": fresh,
                "provider": definition.provider,
                "effect_class": action.effect_class,
                "generation": fresh.generation,
                "params": fresh.params,
                "params_digest": fresh.params_digest,
                "intended_at": now,
            },
        )
        if effect.state in ("confirmed", "refused"):
            # Another worker, since lost, brought it to its end: only the step is left to settle.
            _settle_known(locked, fresh, effect, now)
            return None
        return effect


def _approved(run: Run, step: StepRun) -> bool:
    """Whether the last approval is for exactly these parameters."""
    request = ApprovalRequest.objects.filter(step_run=step, generation=step.generation).first()
    return (
        request is not None
        and request.state == "approved"
        and request.digest == approval_digest(run, step, request.new_fact)
    )


def approval_digest(run: Run, step: StepRun, new_fact: str) -> str:
    """What an approval is bound to: revision, step, item, rendered parameters, generation, and the facts shown."""
    return opening.digest([run.revision_id, step.step, step.item, step.params, step.generation, new_fact])


def _mark_sent(effect: Effect, held: leases.Held) -> bool:
    """T3: the last look before the call; False when the lease is not ours any more, and then nothing is sent."""
    with transaction.atomic():
        if not leases.is_ours(held):
            return False
        Effect.objects.filter(pk=effect.pk).update(state="sent", sent_at=clock.now(), times_sent=F("times_sent") + 1)
    effect.state = "sent"
    return True


def _confirmed(run: Run, step: StepRun, definition: Definition, effect: Effect, applied: Applied) -> None:
    """T4: it happened. The ledger is moved by any worker; the step only by the one whose fence still holds."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        Effect.objects.filter(pk=effect.pk).update(
            state="confirmed",
            before=evidence.plain(applied.before),
            after=evidence.plain(applied.after),
            summary=redact(applied.summary),
            ended_at=now,
        )
        effect.refresh_from_db()
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence == step.fence and fresh.state == "leased":
            _settle_known(locked, fresh, effect, now, result=evidence.plain(applied.result))
        else:
            Attempt.objects.filter(step_run=step, fence=step.fence).update(outcome="late", ended_at=now)


def _settle_known(run: Run, step: StepRun, effect: Effect, now: datetime, result: dict[str, Any] | None = None) -> None:
    """Settle a step whose effect is known to have happened or to have been refused."""
    verdict = "pass" if effect.state == "confirmed" else "fail"
    row = evidence.store(
        incident_id=run.incident_id,
        kind="effect",
        summary=effect.summary,
        run_id=run.pk,
        step=step.step,
        attempt=step.attempts,
        provider=effect.provider,
        verdict=verdict,
        value=effect.after,
        params=effect.params,
        result={"before": effect.before, "after": effect.after, "key": effect.key} | (result or {}),
        source=effect.provider,
        observed_at=now,
    )
    Attempt.objects.filter(step_run=step, fence=step.fence).update(outcome="done", ended_at=now, evidence_id=row.pk)
    request = ApprovalRequest.objects.filter(step_run=step, state="approved").first()
    seconds = round((now - request.closed_at).total_seconds()) if request and request.closed_at else None
    took = f" It took {seconds // 60} min {seconds % 60} s from approval." if seconds is not None else ""
    if effect.effect_class not in ("read", "notify"):
        transitions.note(
            run,
            kind="effect",
            text=f"{effect.summary}{took}" if verdict == "pass" else f"Refused, nothing changed: {effect.summary}",
            evidence=row,
            pinned=True,
            data={"step": step.step, "seconds": seconds, "before": effect.before, "after": effect.after},
        )
    engine.settle(
        run,
        step,
        was=("leased", "unknown"),
        verdict=verdict,
        reason="" if verdict == "pass" else "refused",
        summary=effect.summary,
        now=now,
        evidence_id=row.pk,
        value=effect.after,
        result=row.result,
    )
    engine.move_on(run, now=now)


def _refused(run: Run, step: StepRun, definition: Definition, effect: Effect, sentence: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        Effect.objects.filter(pk=effect.pk).update(state="refused", summary=redact(sentence), ended_at=now)
        effect.refresh_from_db()
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence == step.fence and fresh.state == "leased":
            _settle_known(locked, fresh, effect, now)


def _not_applied(run: Run, step: StepRun, definition: Definition, effect: Effect, sentence: str) -> None:
    """It surely did not happen: the next attempt may follow, else verdict error."""
    Effect.objects.filter(pk=effect.pk).update(state="not_applied", summary=redact(sentence), ended_at=clock.now())
    _try_again_or(run, step, definition, reason="not_applied", sentence=f"Not applied: {sentence}", unknown=False)


def _ambiguous(run: Run, step: StepRun, definition: Definition, effect: Effect, sentence: str) -> None:
    """It may have happened. Repeatable classes are tried again with the same key; the others wait for the truth."""
    sentence = redact(sentence)
    if effect.effect_class in REPEATABLE:
        Effect.objects.filter(pk=effect.pk).update(summary=sentence)
        _try_again_or(run, step, definition, reason="effect_unknown", sentence=sentence, unknown=True)
        return
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence == step.fence:
            in_doubt(locked, fresh, effect, sentence, now=clock.now())


def _try_again_or(
    run: Run, step: StepRun, definition: Definition, *, reason: str, sentence: str, unknown: bool
) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence != step.fence or fresh.state != "leased":
            return
        Attempt.objects.filter(step_run=step, fence=step.fence).update(
            outcome="error", ended_at=now, error=sentence[:500]
        )
        if fresh.attempts < definition.attempts and not fresh.cancel_requested:
            pause = definition.pause_before(fresh.attempts + 1, seed=f"{fresh.pk}:{fresh.attempts}")
            due = now + timedelta(seconds=pause)
            transitions.move(fresh, was=("leased",), state="sleeping", due_at=due, lease_until=None, reason=reason)
            transitions.event(locked, "S10", now=now, state="sleeping", step=fresh, text=sentence)
            return
        if unknown:
            Effect.objects.filter(step_run=fresh, state="sent").update(state="unknown", ended_at=now)
    _settle(run, step, definition, verdict="error", reason=reason, summary=sentence)


def _settle(run: Run, step: StepRun, definition: Definition, *, verdict: str, reason: str, summary: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence != step.fence:
            return
        row = evidence.store(
            incident_id=locked.incident_id,
            kind="effect",
            summary=summary,
            run_id=locked.pk,
            step=fresh.step,
            attempt=fresh.attempts,
            provider=definition.provider,
            verdict=verdict,
            reason=reason,
            params=fresh.params or {},
        )
        engine.settle(
            locked,
            fresh,
            was=("leased",),
            verdict=verdict,
            reason=reason,
            summary=summary,
            now=now,
            evidence_id=row.pk,
        )
        engine.move_on(locked, now=now)


def in_doubt(run: Run, step: StepRun, effect: Effect, sentence: str, *, now: datetime) -> None:
    """S14: the step keeps its lock and asks a person whether it happened; nothing is sent again by itself."""
    summary = f"We may have done this: {step.name}. {sentence}"
    if not transitions.move(step, was=("leased",), state="unknown", reason="effect_unknown", summary=summary):
        return
    Effect.objects.filter(pk=effect.pk).update(state="unknown", summary=redact(sentence), ended_at=now)
    transitions.event(run, "S14", now=now, state="unknown", step=step, text=sentence)
    transitions.note(run, kind="engine", text=summary, pinned=True, data={"step": step.step, "effect": effect.key})
    opening.tell_waiting(run, step, asked=[reading.spec_of(run).owner], due=run.deadline_at, now=now)


def recover(run: Run, step: StepRun, *, now: datetime) -> None:
    """S13, S14: an action's worker was lost. Nothing sent, or a repeatable class: again; else ask a person."""
    effect = Effect.objects.filter(step_run=step, generation=step.generation).first()
    sent = effect is not None and effect.state in ("sent", "unknown")
    Attempt.objects.filter(step_run=step, fence=step.fence, outcome="running").update(outcome="lost", ended_at=now)
    if effect is not None and sent and effect.effect_class not in REPEATABLE:
        in_doubt(run, step, effect, "Its worker was lost after sending.", now=now)
        return
    # The send may be repeated with the same key; the attempt that was lost is not counted against it.
    if transitions.make_ready(step, was=("leased",), now=now, attempts=max(0, step.attempts - 1)):
        transitions.event(run, "S13", now=now, state="ready", step=step, text="its worker was lost")
        transitions.note(
            run, kind="engine", text=f"{step.name} resumed at {now:%H:%M:%S} UTC after its worker was lost."
        )


def happened(run: Run, step: StepRun, *, yes: bool, now: datetime, actor_label: str) -> None:
    """S15: a person says what became of an effect in doubt."""
    effect = Effect.objects.filter(step_run=step, generation=step.generation).first()
    if effect is None:
        return
    if yes:
        Effect.objects.filter(pk=effect.pk).update(
            state="confirmed", summary=f"{step.name}: confirmed by {actor_label}."
        )
        effect.refresh_from_db()
        _settle_known(run, step, effect, now)
        return
    Effect.objects.filter(pk=effect.pk).update(state="not_applied", ended_at=now)
    stage = "preview" if reading.step_of(run, step).approval is not None else "apply"
    changes = {"generation": step.generation + 1, "attempts": 0, "stage": stage}
    if transitions.make_ready(step, was=("unknown",), now=now, **changes):
        transitions.event(run, "S15", now=now, state="ready", step=step, text="it did not happen; asked anew")
