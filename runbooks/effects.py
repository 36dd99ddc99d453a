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

from catalog.actors import Actor
from common import clock
from common.errors import DomainError
from common.faults import crashpoint
from common.plain import plain
from common.secrets import redact
from incidents import evidence, texts
from runbooks import engine, leases, locks, opening, reading, transitions
from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Ambiguous, Applied, NotApplied, Refused
from runbooks.checks.base import CheckError, Context
from runbooks.definitions import Definition
from runbooks.models import ApprovalRequest, Attempt, Effect, Run, StepRun
from runbooks.planning import is_winding_down
from runbooks.steps import HARMLESS, REPEATABLE

log = logging.getLogger(__name__)
# Nobody knows for sure whether an effect in one of these states has happened.
DOUBTFUL = ("sent", "unknown")
# A step that kills its worker must not do so for ever, also where the runbook allows fewer tries of what was not sent.
LOST_WORKERS = 3


def key_of(run: Run, step: StepRun) -> str:
    """The idempotency key: the same for every repeat, another once a person chose to run it again."""
    return hashlib.sha256(f"{run.uuid}:{step.step}:{step.item}:{step.generation}".encode()).hexdigest()


def effect_of(step: StepRun) -> Effect | None:
    """What the ledger says about this step as it is asked for now."""
    return Effect.objects.filter(step_run=step, generation=step.generation).first()


def carry_out(run: Run, step: StepRun, definition: Definition, held: leases.Held, context: Context) -> None:
    """Apply an approved (or approval-free) action under its lock, and settle the step by what became of it."""
    action = ACTIONS.get(definition.provider)
    try:
        params = action.params.model_validate(step.params)
    except ValidationError as error:
        _settle(run, step, definition, verdict="error", reason="bad_param", summary=str(error.errors()[0]["msg"]))
        return
    effect = _intend(run, step, definition, action)
    if effect is None:
        return
    # An earlier send may have happened: then a clear "no" to this one does not prove that nothing did.
    doubted = effect.state in DOUBTFUL
    crashpoint("K2")
    if not _mark_sent(run, effect, held):
        return
    crashpoint("K3")
    try:
        applied = action.apply(params, effect.key, context)
    except Refused as error:
        _refused(run, step, effect, str(error))
    except (NotApplied, CheckError, DomainError) as error:
        if doubted:
            _ambiguous(run, step, definition, effect, f"{error} An earlier try may have done it.")
        else:
            _not_applied(run, step, definition, effect, str(error))
    except Ambiguous as error:
        _ambiguous(run, step, definition, effect, str(error))
    except Exception as error:
        log.exception("action %s failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
        _ambiguous(run, step, definition, effect, f"{type(error).__name__}: {error}")
    else:
        crashpoint("K4")
        _confirmed(run, step, effect, applied)


def look_up(run: Run, step: StepRun, definition: Definition, context: Context) -> None:
    """S15 for class probe: ask the other side whether it happened. Yes settles, no repeats, silence asks a person."""
    action = ACTIONS.get(definition.provider)
    effect = effect_of(step)
    assert effect is not None, "a look-up follows a send"
    found: bool | None = True if effect.state == "confirmed" else None
    why = "The other side cannot tell whether it happened."
    if found is None:
        try:
            found = action.lookup(action.params.model_validate(step.params), effect.key, context)
        except (CheckError, DomainError) as error:
            why = f"The other side could not be asked: {error}"
        except Exception as error:
            log.exception("look-up of %s failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
            why = f"The other side could not be asked: {type(error).__name__}: {error}"
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence != step.fence or fresh.state != "leased":
            return
        if found:
            _mark(effect, "confirmed", summary=effect.summary or f"{step.name}: found done when asked.", now=now)
            _settle_known(locked, fresh, effect, now)
            return
        _end_attempt(step, "done" if found is False else "error", why, now)
        if found is False:
            _mark(effect, "not_applied", summary="Not there when asked.", now=now)
            if transitions.make_ready(fresh, was=("leased",), now=now, stage="apply"):
                transitions.event(locked, "S15", now=now, state="ready", step=fresh, text="it did not happen")
        elif fresh.attempts < LOST_WORKERS:
            _sleep(locked, fresh, definition, "effect_unknown", why, now)
        else:
            in_doubt(locked, fresh, effect, why, now=now)


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
        if effect.state in DOUBTFUL and effect.effect_class not in REPEATABLE:
            in_doubt(locked, fresh, effect, "It was sent before.", now=now)
            return None
        return effect


def approved_change(step: StepRun) -> dict[str, Any] | None:
    """What people approved for this step: {"before", "after"} as they were shown it; None without an approval."""
    request = ApprovalRequest.objects.filter(step_run=step, generation=step.generation, state="approved").first()
    return None if request is None else {part: request.preview.get(part) for part in ("before", "after")}


def _approved(run: Run, step: StepRun) -> bool:
    """Whether the last approval is for exactly these parameters and what was shown with them."""
    request = ApprovalRequest.objects.filter(step_run=step, generation=step.generation).first()
    return (
        request is not None
        and request.state == "approved"
        and request.digest == approval_digest(run, step, request.preview, request.new_fact)
    )


def approval_digest(run: Run, step: StepRun, preview: dict[str, Any], new_fact: str) -> str:
    """What an approval is bound to: revision, step, item, parameters, generation, the change shown, and new facts."""
    shown = [preview.get(part) for part in ("sentence", "before", "after")]
    return opening.digest([run.revision_id, step.step, step.item, step.params, step.generation, shown, new_fact])


def _mark_sent(run: Run, effect: Effect, held: leases.Held) -> bool:
    """T3: the last look before the call; False when the lease is not ours any more, and then nothing is sent.

    Under the run's lock: whoever takes this step over sees either the lease or the mark, never neither.
    """
    with transaction.atomic():
        transitions.lock_run(run.pk)
        if not leases.is_ours(held):
            return False
        open_states = ("intended", "not_applied", *DOUBTFUL)
        sent = Effect.objects.filter(pk=effect.pk, state__in=open_states).update(
            state="sent", sent_at=clock.now(), times_sent=F("times_sent") + 1
        )
    return bool(sent)


def _mark(effect: Effect, state: str, *, summary: str, now: datetime, **changes: Any) -> None:
    """Move the ledger on. What was confirmed stays confirmed, whoever comes later with another tale."""
    Effect.objects.filter(pk=effect.pk).exclude(state="confirmed").update(
        state=state, summary=redact(summary), ended_at=now, **changes
    )
    effect.refresh_from_db()


def _confirmed(run: Run, step: StepRun, effect: Effect, applied: Applied) -> None:
    """T4: it happened. The ledger is moved by any worker; the step only by the one whose fence still holds."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        before, after = plain(applied.before), plain(applied.after)
        _mark(effect, "confirmed", summary=applied.summary, now=now, before=before, after=after)
        fresh = StepRun.objects.get(pk=step.pk)
        # In doubt with the same fence: the answer that everybody waits for has come after all.
        if fresh.fence == step.fence and fresh.state in ("leased", "unknown"):
            _settle_known(locked, fresh, effect, now, result=plain(applied.result))
        else:
            _end_attempt(step, "late", "", now)
            transitions.note(locked, kind="engine", text=f"Late, by a worker given up for lost: {effect.summary}")


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
    tries = Attempt.objects.filter(step_run=step, fence=step.fence)
    tries.update(evidence_id=row.pk)
    # One that was lost or failed stays so, also when the truth comes to light by another way.
    tries.filter(outcome="running").update(outcome="done", ended_at=now)
    request = ApprovalRequest.objects.filter(step_run=step, state="approved").first()
    seconds = round((now - request.closed_at).total_seconds()) if request and request.closed_at else None
    took = f" It took {texts.span(timedelta(seconds=seconds))} from approval." if seconds is not None else ""
    if effect.effect_class not in HARMLESS:
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


def _refused(run: Run, step: StepRun, effect: Effect, sentence: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        _mark(effect, "refused", summary=sentence, now=now)
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence == step.fence and fresh.state in ("leased", "unknown"):
            _settle_known(locked, fresh, effect, now)
        else:
            _end_attempt(step, "late", sentence, now)


def _not_applied(run: Run, step: StepRun, definition: Definition, effect: Effect, sentence: str) -> None:
    """It surely did not happen: the lock is let go, and the next attempt queues for it; else verdict error."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        _mark(effect, "not_applied", summary=sentence, now=now)
        fresh = _still_held(step, sentence, now)
        if fresh is None:
            return
        if fresh.attempts < definition.attempts and not fresh.cancel_requested:
            locks.release(fresh)
            _sleep(locked, fresh, definition, "not_applied", sentence, now)
            return
    _settle(run, step, definition, verdict="error", reason="not_applied", summary=f"Not applied: {sentence}")


def _ambiguous(run: Run, step: StepRun, definition: Definition, effect: Effect, sentence: str) -> None:
    """It may have happened. Repeatable classes are tried again with the same key; the others wait for the truth."""
    sentence = redact(sentence)
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        Effect.objects.filter(pk=effect.pk).exclude(state="confirmed").update(summary=sentence)
        fresh = _still_held(step, sentence, now)
        if fresh is None:
            return
        again = effect.effect_class in REPEATABLE and not is_winding_down(locked.state, step.phase)
        if again and fresh.attempts < definition.attempts:
            _sleep(locked, fresh, definition, "effect_unknown", sentence, now)
            return
        if effect.effect_class not in HARMLESS:
            _doubt(locked, fresh, effect, sentence, now=now)
            return
        _mark(effect, "unknown", summary=sentence, now=now)
    _settle(run, step, definition, verdict="error", reason="effect_unknown", summary=sentence)


def _still_held(step: StepRun, sentence: str, now: datetime) -> StepRun | None:
    """The step, if this worker's fence holds; its attempt has ended without a result either way."""
    fresh = StepRun.objects.get(pk=step.pk)
    ours = fresh.fence == step.fence and fresh.state == "leased"
    _end_attempt(step, "error" if ours else "late", sentence, now)
    return fresh if ours else None


def _end_attempt(step: StepRun, outcome: str, sentence: str, now: datetime) -> None:
    Attempt.objects.filter(step_run=step, fence=step.fence).update(
        outcome=outcome, ended_at=now, error=redact(sentence)[:500]
    )


def _sleep(run: Run, step: StepRun, definition: Definition, reason: str, sentence: str, now: datetime) -> None:
    """S10: another try after a pause."""
    pause = definition.pause_before(step.attempts + 1, seed=f"{step.pk}:{step.attempts}")
    due = now + timedelta(seconds=pause)
    if transitions.move(step, was=("leased",), state="sleeping", due_at=due, lease_until=None, reason=reason):
        transitions.event(run, "S10", now=now, state="sleeping", step=step, text=redact(sentence))


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


def _doubt(run: Run, step: StepRun, effect: Effect, sentence: str, *, now: datetime) -> None:
    """S14: what can be looked up is looked up by a worker; the rest asks a person."""
    asked = step.attempts if step.stage == "look_up" else 0
    if effect.effect_class != "probe" or run.state == "stopping" or asked >= LOST_WORKERS:
        in_doubt(run, step, effect, sentence, now=now)
        return
    _mark(effect, "unknown", summary=sentence, now=now)
    if transitions.make_ready(step, was=("leased",), now=now, stage="look_up", attempts=asked):
        transitions.event(run, "S14", now=now, state="ready", step=step, text=f"looked up: {redact(sentence)}")


def in_doubt(run: Run, step: StepRun, effect: Effect, sentence: str, *, now: datetime) -> None:
    """S14: the step keeps its lock and asks a person whether it happened; nothing is sent again by itself."""
    summary = redact(f"We may have done this: {step.name}. {sentence}")
    if not transitions.move(step, was=("leased",), state="unknown", reason="effect_unknown", summary=summary):
        return
    _mark(effect, "unknown", summary=sentence, now=now)
    transitions.event(run, "S14", now=now, state="unknown", step=step, text=redact(sentence))
    transitions.note(run, kind="engine", text=summary, pinned=True, data={"step": step.step, "effect": effect.key})
    if run.state == "stopping":
        # Nobody is left to wait for: the question goes to the incident (S20).
        engine.move_on(run, now=now)
    else:
        opening.tell_waiting(run, step, asked=[reading.spec_of(run).owner], due=run.deadline_at, now=now)


def recover(run: Run, step: StepRun, *, now: datetime) -> None:
    """S13, S14, S20: an action's worker was lost. Nothing sent, or a repeatable class: again; else look, or ask."""
    effect = effect_of(step)
    Attempt.objects.filter(step_run=step, fence=step.fence, outcome="running").update(outcome="lost", ended_at=now)
    used_up = step.attempts >= max(reading.step_of(run, step).attempts, LOST_WORKERS)
    if effect is not None and effect.state in DOUBTFUL and effect.effect_class not in HARMLESS:
        again = effect.effect_class in REPEATABLE and not is_winding_down(run.state, step.phase) and not used_up
        if not again:
            _doubt(run, step, effect, "Its worker was lost after sending.", now=now)
            return
    if is_winding_down(run.state, step.phase):
        engine.move_on(run, now=now)
        return
    engine.after_lost_worker(run, step, again=None if used_up else "S13", now=now)


def happened(run: Run, step: StepRun, *, yes: bool, now: datetime, actor_label: str) -> None:
    """S15: a person says what became of an effect in doubt. If it did not happen it is asked anew, or done anew."""
    effect = effect_of(step)
    if effect is None:
        return
    if yes:
        _mark(effect, "confirmed", summary=f"{step.name}: confirmed by {actor_label}.", now=now)
        _settle_known(run, step, effect, now)
        return
    _mark(effect, "not_applied", summary=f"{step.name}: did not happen, says {actor_label}.", now=now)
    asks = reading.step_of(run, step).approval is not None
    if asks:
        # No lock is held while people think it over.
        locks.release(step)
    changes = {"generation": step.generation + 1, "attempts": 0, "stage": "preview" if asks else "apply"}
    if transitions.make_ready(step, was=("unknown",), now=now, **changes):
        transitions.event(run, "S15", now=now, state="ready", step=step, text="it did not happen; asked anew")


def might_double(step: StepRun) -> bool:
    """Whether sending an effect in doubt again could do it twice: neither repeatable, nor can it be looked up first."""
    effect = effect_of(step)
    return effect is not None and effect.effect_class not in (*REPEATABLE, "probe")


def send_again(run: Run, step: StepRun, *, now: datetime, actor: Actor) -> None:
    """S15: a person wants an effect in doubt sent again, under the approval that it has.

    Repeatable classes go under the same key, so that twice is once; `probe` looks first. Any other may happen twice: it
    becomes an effect of its own, asked anew where it was asked before, and the first stays in doubt in the ledger.
    """
    effect = effect_of(step)
    if effect is None:
        return
    changes: dict[str, Any] = {"attempts": 0, "stage": "look_up" if effect.effect_class == "probe" else "apply"}
    if might_double(step):
        asks = reading.step_of(run, step).approval is not None
        if asks:
            locks.release(step)
        changes |= {"generation": step.generation + 1, "stage": "preview" if asks else "apply"}
    if transitions.make_ready(step, was=("unknown",), now=now, **changes):
        transitions.event(run, "S15", now=now, state="ready", step=step, actor=actor, text="a person sends it again")
