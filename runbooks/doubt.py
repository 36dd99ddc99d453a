"""An effect in doubt: what may be sent again is, what can be looked up is; for the rest a person says what happened."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from pydantic import ValidationError

from catalog.actors import Actor
from common import clock, live
from common.errors import DomainError
from common.secrets import redact
from runbooks import autonomy, engine, ledger, locks, opening, reading, sealing, transitions
from runbooks.actions import ACTIONS
from runbooks.checks.base import CheckError, Context
from runbooks.definitions import Definition
from runbooks.models import Attempt, Effect, Run, StepRun
from runbooks.planning import is_winding_down
from runbooks.steps import HARMLESS, REPEATABLE

log = logging.getLogger(__name__)
# A step that kills its worker must not do so for ever, also where the runbook allows fewer tries of what was not sent.
LOST_WORKERS = 3


def look_or_ask(run: Run, step: StepRun, effect: Effect, sentence: str, *, now: datetime) -> None:
    """S14: what can be looked up is looked up by a worker; the rest asks a person."""
    asked = step.attempts if step.stage == "look_up" else 0
    if effect.effect_class != "probe" or run.state == "stopping" or asked >= LOST_WORKERS:
        in_doubt(run, step, effect, sentence, now=now)
        return
    ledger.mark(effect, "unknown", summary=sentence, now=now)
    text = f"looked up: {redact(sentence)}"
    transitions.go_ready(run, step, "S14", was=("leased",), now=now, text=text, stage="look_up", attempts=asked)


def in_doubt(run: Run, step: StepRun, effect: Effect, sentence: str, *, now: datetime) -> None:
    """S14: the step keeps its lock and asks a person whether it happened; nothing is sent again by itself."""
    summary = redact(f"We may have done this: {step.name}. {sentence}")
    changes: dict[str, Any] = {"state": "unknown", "reason": "effect_unknown", "summary": summary, "lease_until": None}
    if not transitions.go(run, step, "S14", was=("leased",), now=now, text=redact(sentence), **changes):
        return
    ledger.mark(effect, "unknown", summary=sentence, now=now)
    transitions.note(run, kind="engine", text=summary, pinned=True, data={"step": step.step, "effect": effect.key})
    if run.state == "stopping":
        # Nobody is left to wait for: the question goes to the incident (S20).
        engine.move_on(run, now=now)
    else:
        opening.tell_waiting(run, step, asked=[reading.spec_of(run).owner], due=run.deadline_at, now=now)


def recover(run: Run, step: StepRun, *, now: datetime) -> None:
    """S13, S14, S20: an action's worker was lost. Nothing sent, or a repeatable class: again; else look, or ask."""
    effect = ledger.effect_of(step)
    Attempt.objects.filter(step_run=step, fence=step.fence, outcome="running").update(outcome="lost", ended_at=now)
    # What winds down is not tried again, however it is written: its runbook may not be readable any more.
    is_last = is_winding_down(run.state, step.phase)
    used_up = is_last or step.attempts >= max(reading.step_of(run, step).attempts, LOST_WORKERS)
    is_doubtful = effect is not None and effect.state in ledger.DOUBTFUL and effect.effect_class not in HARMLESS
    if effect is not None and is_doubtful and (used_up or effect.effect_class not in REPEATABLE):
        look_or_ask(run, step, effect, "Its worker was lost after sending.", now=now)
        return
    if is_last:
        engine.move_on(run, now=now)
        return
    engine.after_lost_worker(run, step, again=None if used_up else "S13", now=now)


def happened(run: Run, step: StepRun, *, yes: bool, now: datetime, actor_label: str) -> None:
    """S15: a person says what became of an effect in doubt. If it did not happen it is asked anew, or done anew."""
    effect = ledger.effect_of(step)
    if effect is None:
        return
    if yes:
        ledger.mark(effect, "confirmed", summary=f"{step.name}: confirmed by {actor_label}.", now=now)
        ledger.settle_known(run, step, effect, now)
        return
    ledger.mark(effect, "not_applied", summary=f"{step.name}: did not happen, says {actor_label}.", now=now)
    asks = autonomy.asks(run, reading.step_of(run, step))
    if asks:
        # No lock is held while people think it over.
        locks.release(step)
    changes = {"generation": step.generation + 1, "attempts": 0, "stage": "preview" if asks else "apply"}
    text = "it did not happen; asked anew"
    transitions.go_ready(run, step, "S15", was=("unknown",), now=now, text=text, **changes)


def might_double(step: StepRun) -> bool:
    """Whether sending an effect in doubt again could do it twice: neither repeatable, nor can it be looked up first."""
    effect = ledger.effect_of(step)
    return effect is not None and effect.effect_class not in (*REPEATABLE, "probe")


def send_again(run: Run, step: StepRun, *, now: datetime, actor: Actor) -> None:
    """S15: a person wants an effect in doubt sent again, under the approval that it has.

    Repeatable classes go under the same key, so that twice is once; `probe` looks first. Any other may happen twice: it
    becomes an effect of its own, asked anew where it was asked before, and the first stays in doubt in the ledger.
    """
    effect = ledger.effect_of(step)
    if effect is None:
        return
    changes: dict[str, Any] = {"attempts": 0, "stage": "look_up" if effect.effect_class == "probe" else "apply"}
    if might_double(step):
        asks = autonomy.asks(run, reading.step_of(run, step))
        if asks:
            locks.release(step)
        changes |= {"generation": step.generation + 1, "stage": "preview" if asks else "apply"}
    text = "a person sends it again"
    transitions.go_ready(run, step, "S15", was=("unknown",), now=now, actor=actor, text=text, **changes)


def read_back(run: Run, step: StepRun, definition: Definition, context: Context) -> None:
    """Read the state that a doubtful effect would have changed, and keep it with its time; nothing is changed.

    Nothing for a step that is not in doubt. Outside any transaction, since it asks the other side; a silence is kept
    as well, because it is what the page has to say.
    """
    if not StepRun.objects.filter(pk=step.pk, state="unknown").exists():
        return
    effect = ledger.effect_of(step)
    if effect is None or definition.provider not in ACTIONS:
        return
    action = ACTIONS.get(definition.provider)
    is_known = True
    try:
        sentence = action.observe(action.params.model_validate(sealing.filled(run, step, definition)), context)
    except (CheckError, DomainError, ValidationError) as error:
        sentence, is_known = str(error), False
    except Exception as error:
        log.exception("reading back %s failed", definition.provider, extra={"run": str(run.uuid), "step": step.step})
        sentence, is_known = f"{type(error).__name__}: {error}", False
    seen = {"sentence": redact(sentence or "It says nothing about its state.")[:500], "is_known": is_known}
    with transaction.atomic():
        Effect.objects.filter(pk=effect.pk).update(seen=seen, seen_at=clock.now())
        Run.objects.filter(pk=run.pk).update(version=F("version") + 1)
        transaction.on_commit(live.wake)
