"""The ledger of effects: what was meant, sent, confirmed or refused, each by its key; and what it was approved as."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F

from common import statements
from common.secrets import redact
from incidents import evidence, texts
from runbooks import engine, reading, sealing, transitions
from runbooks.models import ApprovalRequest, Attempt, Effect, Run, StepRun
from runbooks.steps import HARMLESS

# Nobody knows for sure whether an effect in one of these states has happened.
DOUBTFUL = ("sent", "unknown")


def key_of(run: Run, step: StepRun) -> str:
    """The idempotency key: the same for every repeat, another once a person chose to run it again."""
    return hashlib.sha256(f"{run.uuid}:{step.step}:{step.item}:{step.generation}".encode()).hexdigest()


def effect_of(step: StepRun) -> Effect | None:
    """What the ledger says about this step as it is asked for now."""
    return Effect.objects.filter(step_run=step, generation=step.generation).first()


_approved = statements.Written(
    lambda step, generation: ApprovalRequest.objects.filter(
        step_run=step, generation=generation, state="approved"
    ).order_by("-pk")[:1]
)


def approved(step: StepRun) -> ApprovalRequest | None:
    """The request of this step, as it is asked for now, that people said yes to; for what exactly see `is_approved`."""
    return _approved.first(step.pk, step.generation)


def approved_change(step: StepRun) -> dict[str, Any] | None:
    """What people approved for this step: {"before", "after"} as they were shown it; None without an approval."""
    request = approved(step)
    return None if request is None else {part: request.preview.get(part) for part in ("before", "after")}


def is_approved(run: Run, step: StepRun) -> bool:
    """Whether the last approval is for exactly these parameters and what was shown with them."""
    request = ApprovalRequest.objects.filter(step_run=step, generation=step.generation).first()
    return (
        request is not None
        and request.state == "approved"
        and request.digest == approval_digest(run, step, request.preview, request.new_fact)
    )


def approval_digest(run: Run, step: StepRun, preview: dict[str, Any], new_fact: str) -> str:
    """What an approval is bound to: revision, step, item, parameters, generation, the change shown, and new facts."""
    # A request of a release that kept no `bound` stays what was approved.
    shown = [preview.get(part) for part in ("sentence", "before", "after", "bound") if part in preview]
    hidden = sealing.bound(run, step, reading.step_of(run, step))
    return reading.digest(
        [run.revision_id, step.step, step.item, step.params, step.generation, shown, new_fact, *hidden]
    )


def mark_sent(effect: Effect, *, now: datetime) -> bool:
    """T3: the call follows at once; False when the effect has come to its end meanwhile."""
    open_states = ("intended", "not_applied", *DOUBTFUL)
    return bool(
        Effect.objects.filter(pk=effect.pk, state__in=open_states).update(
            state="sent", sent_at=now, times_sent=F("times_sent") + 1
        )
    )


def mark(effect: Effect, state: str, *, summary: str, now: datetime, **changes: Any) -> None:
    """Move the ledger on. What was confirmed stays confirmed, whoever comes later with another tale."""
    Effect.objects.filter(pk=effect.pk).exclude(state="confirmed").update(
        state=state, summary=redact(summary), ended_at=now, **changes
    )
    effect.refresh_from_db()


def settle_known(run: Run, step: StepRun, effect: Effect, now: datetime, result: dict[str, Any] | None = None) -> None:
    """Settle a step whose effect is known to have happened or to have been refused."""
    verdict = "pass" if effect.state == "confirmed" else "fail"
    row = evidence.store(
        incident=run.incident,
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
        evidence=row,
        value=effect.after,
        result=row.result,
    )
    engine.move_on(run, now=now)


def end_attempt(step: StepRun, outcome: str, now: datetime, *, error: str = "", evidence_id: int | None = None) -> None:
    """The try that holds, or held, this step's fence is over; evidence that it has already stays."""
    ending(step, outcome, now, error=error, evidence_id=evidence_id).make()


def ending(
    step: StepRun, outcome: str, now: datetime, *, error: str = "", evidence_id: int | None = None
) -> statements.Write:
    """The same, to be written with what follows from it."""
    found = {} if evidence_id is None else {"evidence_id": evidence_id}
    ended = {"outcome": outcome, "ended_at": now, "error": redact(error)[:500]}
    return statements.changing(Attempt, ended | found, step_run=step.pk, fence=step.fence)
