"""Changing the world once: carrying out an action under its lock (docs/guide/engine.md, effects).

T1 claim · T2 the intent is committed · T3 marked sent, then the call · T4 confirmed or refused, and the step settled.
A crash between T3 and T4 is met by the effect class: `set`, `keyed`, `notify` and `read` are repeated with the same
key; `probe` looks first; `once` waits for a person and is never sent again by itself.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from pydantic import ValidationError

from common import clock
from common.errors import DomainError
from common.faults import crashpoint
from common.outage import outlasted
from common.plain import plain
from common.secrets import redact, redact_json
from incidents import evidence
from runbooks import doubt, engine, leases, ledger, locks, sealing, transitions
from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Ambiguous, Applied, NotApplied, Refused
from runbooks.checks.base import CheckError, Context
from runbooks.definitions import Definition
from runbooks.models import Effect, Run, StepRun
from runbooks.planning import is_winding_down
from runbooks.steps import HARMLESS, REPEATABLE

log = logging.getLogger(__name__)


def carry_out(run: Run, step: StepRun, definition: Definition, held: leases.Held, context: Context) -> None:
    """Apply an approved (or approval-free) action under its lock, and settle the step by what became of it."""
    action = ACTIONS.get(definition.provider)
    try:
        params = action.params.model_validate(sealing.filled(run, step, definition))
    except ValidationError as error:
        _settle(run, step, definition, verdict="error", reason="bad_param", summary=str(error.errors()[0]["msg"]))
        return
    except CheckError as error:
        _settle(run, step, definition, verdict="error", reason=error.reason, summary=str(error))
        return
    effect = _intend(run, step, definition, action)
    if effect is None:
        return
    # An earlier send may have happened: then a clear "no" to this one does not prove that nothing did.
    doubted = effect.state in ledger.DOUBTFUL
    crashpoint("K2")
    if not ledger.mark_sent(run, effect, held):
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
    effect = ledger.effect_of(step)
    assert effect is not None, "a look-up follows a send"
    found: bool | None = True if effect.state == "confirmed" else None
    why = "The other side cannot tell whether it happened."
    if found is None:
        try:
            params = action.params.model_validate(sealing.filled(run, step, definition))
            found = action.lookup(params, effect.key, context)
        except (CheckError, DomainError) as error:
            why = f"The other side could not be asked: {error}"
        except Exception as error:
            log.exception("look-up of %s failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
            why = f"The other side could not be asked: {type(error).__name__}: {error}"
    _looked_up(run, step, definition, effect, found, why)


@outlasted
def _looked_up(run: Run, step: StepRun, definition: Definition, effect: Effect, found: bool | None, why: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence != step.fence or fresh.state != "leased":
            return
        if found:
            ledger.mark(effect, "confirmed", summary=effect.summary or f"{step.name}: found done when asked.", now=now)
            ledger.settle_known(locked, fresh, effect, now)
            return
        ledger.end_attempt(step, "done" if found is False else "error", why, now)
        if found is False:
            ledger.mark(effect, "not_applied", summary="Not there when asked.", now=now)
            if transitions.make_ready(fresh, was=("leased",), now=now, stage="apply"):
                transitions.event(locked, "S15", now=now, state="ready", step=fresh, text="it did not happen")
        elif fresh.attempts < doubt.LOST_WORKERS:
            _sleep(locked, fresh, definition, "effect_unknown", why, now)
        else:
            doubt.in_doubt(locked, fresh, effect, why, now=now)


def _intend(run: Run, step: StepRun, definition: Definition, action: Action[Any]) -> Effect | None:
    """T2: write down what is about to be done; None when the step is not ours or the approval is not for this."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = StepRun.objects.filter(pk=step.pk, fence=step.fence, state="leased").first()
        if fresh is None or fresh.cancel_requested:
            return None
        if definition.approval is not None and not (
            ledger.is_approved(locked, fresh) and sealing.is_unchanged(locked, fresh, definition)
        ):
            engine.settle(
                locked,
                fresh,
                was=("leased",),
                verdict="inconclusive",
                reason="stale_evidence",
                summary="The approval was given for something else, or a secret was changed since; nothing was sent.",
                now=now,
            )
            engine.move_on(locked, now=now)
            return None
        effect, _ = Effect.objects.get_or_create(
            key=ledger.key_of(locked, fresh),
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
            ledger.settle_known(locked, fresh, effect, now)
            return None
        if effect.state in ledger.DOUBTFUL and effect.effect_class not in REPEATABLE:
            doubt.in_doubt(locked, fresh, effect, "It was sent before.", now=now)
            return None
        return effect


@outlasted
def _confirmed(run: Run, step: StepRun, effect: Effect, applied: Applied) -> None:
    """T4: it happened. The ledger is moved by any worker; the step only by the one whose fence still holds."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        before, after = plain(redact_json(applied.before)), plain(redact_json(applied.after))
        ledger.mark(effect, "confirmed", summary=applied.summary, now=now, before=before, after=after)
        fresh = StepRun.objects.get(pk=step.pk)
        # In doubt with the same fence: the answer that everybody waits for has come after all.
        if fresh.fence == step.fence and fresh.state in ("leased", "unknown"):
            ledger.settle_known(locked, fresh, effect, now, result=plain(applied.result))
        else:
            ledger.end_attempt(step, "late", "", now)
            transitions.note(locked, kind="engine", text=f"Late, by a worker given up for lost: {effect.summary}")


@outlasted
def _refused(run: Run, step: StepRun, effect: Effect, sentence: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        ledger.mark(effect, "refused", summary=sentence, now=now)
        fresh = StepRun.objects.get(pk=step.pk)
        if fresh.fence == step.fence and fresh.state in ("leased", "unknown"):
            ledger.settle_known(locked, fresh, effect, now)
        else:
            ledger.end_attempt(step, "late", sentence, now)


@outlasted
def _not_applied(run: Run, step: StepRun, definition: Definition, effect: Effect, sentence: str) -> None:
    """It surely did not happen: the lock is let go, and the next attempt queues for it; else verdict error."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        ledger.mark(effect, "not_applied", summary=sentence, now=now)
        fresh = _still_held(step, sentence, now)
        if fresh is None:
            return
        if fresh.attempts < definition.attempts and not fresh.cancel_requested:
            locks.release(fresh)
            _sleep(locked, fresh, definition, "not_applied", sentence, now)
            return
    _settle(run, step, definition, verdict="error", reason="not_applied", summary=f"Not applied: {sentence}")


@outlasted
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
            doubt.look_or_ask(locked, fresh, effect, sentence, now=now)
            return
        ledger.mark(effect, "unknown", summary=sentence, now=now)
    _settle(run, step, definition, verdict="error", reason="effect_unknown", summary=sentence)


def _still_held(step: StepRun, sentence: str, now: datetime) -> StepRun | None:
    """The step, if this worker's fence holds; its attempt has ended without a result either way."""
    fresh = StepRun.objects.get(pk=step.pk)
    ours = fresh.fence == step.fence and fresh.state == "leased"
    ledger.end_attempt(step, "error" if ours else "late", sentence, now)
    return fresh if ours else None


def _sleep(run: Run, step: StepRun, definition: Definition, reason: str, sentence: str, now: datetime) -> None:
    """S10: another try after a pause."""
    pause = definition.pause_before(step.attempts + 1, seed=f"{step.pk}:{step.attempts}")
    due = now + timedelta(seconds=pause)
    if transitions.move(step, was=("leased",), state="sleeping", due_at=due, lease_until=None, reason=reason):
        transitions.event(run, "S10", now=now, state="sleeping", step=step, text=redact(sentence))


@outlasted
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
