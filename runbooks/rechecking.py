"""T1, the last look before an action: its checks are asked again, and the change is read again, under its lock.

Nothing is written to the world or to the ledger here. What people approved was true when they were shown it; whatever
has changed since then means that nothing is sent, and that a person is asked what to do (conformance case 9).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.db import transaction

from common import clock
from common.secrets import redact, redact_json
from incidents import evidence
from incidents.models import Evidence
from runbooks import ledger, reading, sealing, transitions
from runbooks.actions.base import Action
from runbooks.calling import called
from runbooks.checks import CHECKS
from runbooks.checks.base import CheckError, Context, Finding, Pending
from runbooks.definitions import Definition
from runbooks.models import Run, StepRun
from runbooks.verdicts import WORDS, Judgement, judge

log = logging.getLogger(__name__)
KIND = "recheck"


@dataclass(frozen=True)
class Said:
    """What one check said when it was asked again, beside what it had said."""

    check: str
    name: str
    was: str
    row: Evidence

    @property
    def differs(self) -> bool:
        """Whether the record holds no more; what cannot be measured confirms nothing, even if it could not before."""
        unmeasured = self.row.verdict == "error" or self.row.rule == "no_data: inconclusive"
        return unmeasured or self.row.verdict != self.was

    @property
    def words(self) -> str:
        """Before and now, in a sentence."""
        if self.row.verdict == self.was:
            return f"{self.name} still {WORDS[self.was]}: {self.row.summary}"
        return f"{self.name} {WORDS[self.was]} before, {WORDS[self.row.verdict]} now: {self.row.summary}"


@dataclass(frozen=True)
class Look:
    """What the last look found: the checks, and in `moved` what has changed about the action itself."""

    said: list[Said] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)

    @property
    def stale(self) -> list[str]:
        """A sentence for each thing that is no longer as it was; empty when all still holds."""
        return [said.words for said in self.said if said.differs] + self.moved


def look(run: Run, step: StepRun, definition: Definition, action: Action[Any], context: Context) -> Look | Pending:
    """Ask the named checks again and read the change again, outside any transaction; Pending while one is not done.

    Raises CheckError when the present state cannot be read: then nothing was sent, and it may be tried again.
    """
    said: list[Said] = []
    for check in run.steps.filter(kind="check", step__in=definition.recheck).order_by("position", "item"):
        was = _recorded(check)
        if was == "skipped":
            # It was never asked, so the decision does not rest on it.
            continue
        found = _ask(run, check, step, context)
        if isinstance(found, Pending):
            return found
        said.append(_kept(run, check, step, was, found))
    if said:
        _tell(run, step, said)
    return Look(said, _moved(run, step, definition, action, context))


def _recorded(check: StepRun) -> str:
    """What the check itself said, also where a person counts it otherwise: the world is compared with the world."""
    row = Evidence.objects.filter(pk=check.evidence_id).first() if check.evidence_id else None
    return (row.verdict if row is not None else "") or check.verdict or "skipped"


def _ask(run: Run, check: StepRun, step: StepRun, context: Context) -> Finding | Pending | CheckError:
    """One check with its stored parameters, within the action's time and its own."""
    definition = reading.step_of(run, check)
    now = clock.now()
    asked = replace(
        context,
        now=now,
        # Not the check's own key, under which a finished job would answer with what it found back then; and another
        # one when the action's time begins anew.
        step_key=f"{context.step_key}:{KIND}:{check.step}:{check.item}:{step.t0 and step.t0.isoformat()}",
        deadline=min(context.deadline, now + timedelta(seconds=definition.timeout)),
        looks=definition.looks,
        approved=None,
    )

    def answer() -> Finding | Pending:
        # In here, since its code may be gone by now.
        provider = CHECKS.get(check.provider)
        return provider.run(provider.params.model_validate(sealing.filled(run, check, definition)), asked)

    return called(answer, f"recheck of {check.provider}", run=run, step=check)


def _kept(run: Run, check: StepRun, step: StepRun, was: str, found: Finding | CheckError) -> Said:
    """Judged by the check's own rules and kept as evidence of the action's attempt."""
    if isinstance(found, CheckError):
        found, judgement = Finding(None, redact(str(found)), found.reason), Judgement("error", found.reason)
    else:
        now = clock.now()
        rules = reading.step_of(run, check).rules
        judgement = judge(found, rules, reading.names(run, list(run.steps.all()), now), now)
    row = evidence.store(
        incident=run.incident,
        kind=KIND,
        summary=found.summary,
        run_id=run.pk,
        step=step.step,
        attempt=step.attempts,
        provider=check.provider,
        verdict=judgement.verdict,
        reason=judgement.reason,
        rule=judgement.rule,
        threshold=found.threshold,
        query=found.query,
        window_from=found.window_from,
        window_to=found.window_to,
        value=found.value,
        unit=found.unit,
        samples=found.samples,
        observed_at=found.observed_at,
        source=found.source,
        params={"check": check.step, "name": check.name, "was": was, "with": check.params},
        result=found.result,
    )
    return Said(check.step, check.name, was, row)


def _tell(run: Run, step: StepRun, said: list[Said]) -> None:
    """The timeline says what each check said before and says now."""
    with transaction.atomic():
        locked = transitions.lock_run(run.pk)
        for one in said:
            transitions.note(
                locked,
                kind="check",
                text=f"Asked again before «{step.name}» is applied: {one.words}",
                evidence=one.row,
                pinned=one.differs,
                data={
                    "step": step.step,
                    "recheck": one.row.params["check"],
                    "was": one.was,
                    "verdict": one.row.verdict,
                },
            )


def _moved(run: Run, step: StepRun, definition: Definition, action: Action[Any], context: Context) -> list[str]:
    """How the change differs from what people were shown and approved, a sentence each; nothing without an approval."""
    request = ledger.approved(step)
    if request is None:
        return []
    params = action.params.model_validate(sealing.filled(run, step, definition))
    now = redact_json(action.preview(params, context).shown())
    return [
        sentence
        for part, told in (("bound", "goes by"), ("before", "was"), ("after", "was to become"))
        for sentence in _differences(request.preview.get(part) or {}, now[part], told)
    ] or ([f"It reads now: {now['sentence']}."] if now["sentence"] != request.preview.get("sentence") else [])


def _differences(shown: dict[str, Any], now: dict[str, Any], told: str) -> list[str]:
    keys = [key for key in {**shown, **now} if shown.get(key) != now.get(key)]
    return [
        f"{key.replace('_', ' ').capitalize()} {told} {_text(shown, key)} when it was approved, now {_text(now, key)}."
        for key in keys
    ]


def _text(values: dict[str, Any], key: str) -> str:
    return redact(str(values[key]))[:120] if values.get(key) is not None else "nothing"
