"""Changing the world once: carrying out an action under its lock (docs/guide/engine.md, effects).

T1 claimed, and looked at again whether all still holds · T2 the intent is committed · T3 marked sent, then the call ·
T4 confirmed or refused, and the step settled. A crash between T3 and T4 is met by the effect class: `set`, `keyed`,
`notify` and `read` are repeated with the same key; `probe` looks first; `once` waits for a person and is never sent
again by itself.
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
from runbooks import (
    autonomy,
    doubt,
    engine,
    killswitch,
    leases,
    ledger,
    locks,
    proposing,
    rechecking,
    sealing,
    transitions,
)
from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Ambiguous, Applied, NotApplied, Refused
from runbooks.checks.base import CheckError, Context, Pending
from runbooks.definitions import Definition
from runbooks.models import Effect, Run, StepRun
from runbooks.planning import is_winding_down
from runbooks.steps import HARMLESS, REPEATABLE

log = logging.getLogger(__name__)


def carry_out(run: Run, step: StepRun, definition: Definition, held: leases.Held, context: Context) -> None:
    """Apply an approved (or approval-free) action under its lock, and settle the step by what became of it."""
    action = ACTIONS.get(definition.provider)
    params = _params(run, step, definition, action)
    if params is None:
        return
    if not _may_go_on(run, step, definition, action) or not _still_holds(run, step, definition, action, context):
        return
    effect = _intend(run, step, definition, action)
    if effect is None:
        return
    # An earlier send may have happened: then a clear "no" to this one does not prove that nothing did.
    doubted = effect.state in ledger.DOUBTFUL
    crashpoint("K2")
    if not _mark_sent(run, step, definition, effect, held):
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
            _not_applied(run, step, definition, str(error), effect)
    except Ambiguous as error:
        _ambiguous(run, step, definition, effect, str(error))
    except Exception as error:
        log.exception("action %s failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
        _ambiguous(run, step, definition, effect, f"{type(error).__name__}: {error}")
    else:
        crashpoint("K4")
        _confirmed(run, step, effect, applied)


def _params(run: Run, step: StepRun, definition: Definition, action: Action[Any]) -> Any:
    """The parameters for the call; None once the step was settled because they cannot be had."""
    try:
        return action.params.model_validate(sealing.filled(run, step, definition))
    except ValidationError as error:
        _settle(run, step, definition, verdict="error", reason="bad_param", summary=str(error.errors()[0]["msg"]))
    except CheckError as error:
        before = ledger.effect_of(step)
        if before is not None and before.state in ledger.DOUBTFUL:
            _ambiguous(run, step, definition, before, f"{error} An earlier try may have done it.")
        else:
            _settle(run, step, definition, verdict="error", reason=error.reason, summary=str(error))
    return None


def _may_go_on(run: Run, step: StepRun, definition: Definition, action: Action[Any]) -> bool:
    """Whether it is worth looking any further: nobody is asked again about what may not be sent."""
    with transaction.atomic():
        return _allowed(transitions.lock_run(run.pk), step, definition, action.effect_class, now=clock.now())


def _mark_sent(run: Run, step: StepRun, definition: Definition, effect: Effect, held: leases.Held) -> bool:
    """T3: the last word before the call; False when it may not be sent now, and then nothing is.

    Under the run's lock: whoever takes this step over sees either the lease or the mark, never neither.
    """
    with transaction.atomic():
        killswitch.take_turn()
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        if not leases.is_ours(held) or not _allowed(locked, step, definition, effect.effect_class, now=now):
            return False
        return ledger.mark_sent(effect, now=now)


def _allowed(run: Run, step: StepRun, definition: Definition, effect_class: str, *, now: datetime) -> bool:
    """Whether the step is ours, nobody has stopped effects, and the service's level still lets it go.

    Messages to people are no effects and go on. Where it may not be sent now, the step is put where it waits or ends.
    """
    fresh = transitions.still_leased(step)
    if fresh is None or effect_class in HARMLESS:
        return fresh is not None
    switch = killswitch.engaged()
    if switch is not None:
        killswitch.hold_back(run, fresh, switch, now=now)
        return False
    way = autonomy.way(run, definition)
    if way == autonomy.LEAVE:
        _left_out(run, fresh, definition, now=now)
        return False
    if way == autonomy.BY_HAND or (way == autonomy.ASK and ledger.approved(fresh) is None):
        _propose_anew(run, fresh, now=now)
        return False
    return True


def _left_out(run: Run, step: StepRun, definition: Definition, *, now: datetime) -> None:
    """The service's level was made stricter meanwhile: nothing is sent; what may have happened stays in question."""
    effect = ledger.effect_of(step)
    if effect is not None and effect.state in ledger.DOUBTFUL:
        doubt.in_doubt(run, step, effect, "It is not repeated, because the service may only be observed.", now=now)
        return
    ledger.end_attempt(step, "done", now)
    proposing.leave_out(run, step, definition, now=now)


def _propose_anew(run: Run, step: StepRun, *, now: datetime) -> None:
    """The level was made stricter meanwhile: the change is read again and put before people, as that level wants it."""
    effect = ledger.effect_of(step)
    if effect is not None and effect.state in ledger.DOUBTFUL:
        doubt.in_doubt(run, step, effect, "It is not repeated, because the service's level has changed.", now=now)
        return
    ledger.end_attempt(step, "done", now)
    locks.release(step)
    anew = {"stage": "preview", "attempts": 0, "t0": None}
    transitions.go_ready(run, step, "S6", was=("leased",), now=now, text="the service's level has changed", **anew)


def _still_holds(run: Run, step: StepRun, definition: Definition, action: Action[Any], context: Context) -> bool:
    """T1: whether everything is as it was when it was decided; else the step is settled or put off, nothing sent.

    Not asked for an effect that may have happened: its own traces would be found, and it is repeated as approved.
    """
    before = ledger.effect_of(step)
    if before is not None and before.state not in ("intended", "not_applied"):
        return True
    unread = "What it would change cannot be read"
    try:
        found = rechecking.look(run, step, definition, action, context)
    except (CheckError, DomainError) as error:
        if isinstance(error, CheckError) and not error.permanent:
            _not_applied(run, step, definition, f"{unread}: {error}")
        else:
            _stale(run, step, f"Nothing was sent. {unread} any more: {error}")
        return False
    except Exception as error:
        log.exception("reading %s again failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
        _not_applied(run, step, definition, f"{unread}: {type(error).__name__}: {error}")
        return False
    if isinstance(found, Pending):
        return _put_off(run, step, definition, found)
    if found.stale:
        _stale(run, step, f"Nothing was sent, because the facts have changed. {' '.join(found.stale)}")
        return False
    return True


def _stale(run: Run, step: StepRun, sentence: str) -> None:
    """What was decided rests on facts that hold no more: a person says what to do (case 9)."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = _still_held(step, sentence, now, outcome="done")
        if fresh is None:
            return
        engine.settle(
            locked,
            fresh,
            was=("leased",),
            verdict="inconclusive",
            reason="stale_evidence",
            summary=redact(sentence),
            now=now,
        )
        engine.move_on(locked, now=now)


def _put_off(run: Run, step: StepRun, definition: Definition, pending: Pending) -> bool:
    """A check that is asked again is not done yet: the row sleeps without lock or worker, and no attempt is used up."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = transitions.still_leased(step)
        in_time = fresh is None or fresh.t0 is None or now <= fresh.t0 + timedelta(seconds=definition.timeout)
        if fresh is not None and in_time:
            ledger.end_attempt(step, "pending", now)
            locks.release(fresh)
            due = now + timedelta(seconds=pending.poll_after)
            transitions.go_to_sleep(
                locked,
                fresh,
                until=due,
                now=now,
                text=pending.note,
                attempts=max(0, fresh.attempts - 1),
                pending_note=pending.note[:300],
            )
    if not in_time:
        _stale(run, step, f"Nothing was sent: a check gave no answer within {definition.timeout} s. {pending.note}")
    return False


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
        fresh = transitions.still_leased(step)
        if fresh is None:
            return
        if found:
            ledger.mark(effect, "confirmed", summary=effect.summary or f"{step.name}: found done when asked.", now=now)
            ledger.settle_known(locked, fresh, effect, now)
            return
        ledger.end_attempt(step, "done" if found is False else "error", now, error=why)
        if found is False:
            ledger.mark(effect, "not_applied", summary="Not there when asked.", now=now)
            transitions.go_ready(
                locked, fresh, "S15", was=("leased",), now=now, text="it did not happen", stage="apply"
            )
        elif fresh.attempts < doubt.LOST_WORKERS:
            _sleep(locked, fresh, definition, "effect_unknown", why, now)
        else:
            doubt.in_doubt(locked, fresh, effect, why, now=now)


def _intend(run: Run, step: StepRun, definition: Definition, action: Action[Any]) -> Effect | None:
    """T2: write down what is about to be done; None when the step is not ours or the approval is not for this."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = transitions.still_leased(step)
        if fresh is None or fresh.cancel_requested:
            return None
        if autonomy.asks(locked, definition) and not (
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
        fresh = transitions.step_of(step.pk)
        # In doubt with the same fence: the answer that everybody waits for has come after all.
        if fresh.fence == step.fence and fresh.state in ("leased", "unknown"):
            ledger.settle_known(locked, fresh, effect, now, result=plain(applied.result))
        else:
            ledger.end_attempt(step, "late", now)
            transitions.note(locked, kind="engine", text=f"Late, by a worker given up for lost: {effect.summary}")


@outlasted
def _refused(run: Run, step: StepRun, effect: Effect, sentence: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        ledger.mark(effect, "refused", summary=sentence, now=now)
        fresh = transitions.step_of(step.pk)
        if fresh.fence == step.fence and fresh.state in ("leased", "unknown"):
            ledger.settle_known(locked, fresh, effect, now)
        else:
            ledger.end_attempt(step, "late", now, error=sentence)


@outlasted
def _not_applied(run: Run, step: StepRun, definition: Definition, sentence: str, effect: Effect | None = None) -> None:
    """It surely did not happen: the lock is let go, and the next attempt queues for it; else verdict error."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        if effect is not None:
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


def _still_held(step: StepRun, sentence: str, now: datetime, outcome: str = "error") -> StepRun | None:
    """The step, if this worker's fence holds; its attempt has ended without a result either way."""
    fresh = transitions.still_leased(step)
    ledger.end_attempt(step, "late" if fresh is None else outcome, now, error=sentence)
    return fresh


def _sleep(run: Run, step: StepRun, definition: Definition, reason: str, sentence: str, now: datetime) -> None:
    """S10: another try after a pause."""
    pause = definition.pause_before(step.attempts + 1, seed=f"{step.pk}:{step.attempts}")
    due = now + timedelta(seconds=pause)
    transitions.go_to_sleep(run, step, until=due, now=now, text=redact(sentence), reason=reason)


@outlasted
def _settle(run: Run, step: StepRun, definition: Definition, *, verdict: str, reason: str, summary: str) -> None:
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        now = clock.now()
        fresh = transitions.step_of(step.pk)
        if fresh.fence != step.fence:
            return
        row = evidence.store(
            incident=locked.incident,
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
            evidence=row,
        )
        engine.move_on(locked, now=now)
