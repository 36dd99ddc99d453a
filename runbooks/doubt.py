"""An effect in doubt: what the other side's state is now, so that a person can say whether it happened."""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models import F
from pydantic import ValidationError

from common import clock, live
from common.errors import DomainError
from common.secrets import redact
from runbooks import effects
from runbooks.actions import ACTIONS
from runbooks.checks.base import CheckError, Context
from runbooks.definitions import Definition
from runbooks.models import Effect, Run, StepRun

log = logging.getLogger(__name__)


def read_back(run: Run, step: StepRun, definition: Definition, context: Context) -> None:
    """Read the state that a doubtful effect would have changed, and keep it with its time; nothing is changed.

    Nothing for a step that is not in doubt. Outside any transaction, since it asks the other side; a silence is kept
    as well, because it is what the page has to say.
    """
    if not StepRun.objects.filter(pk=step.pk, state="unknown").exists():
        return
    effect = effects.effect_of(step)
    if effect is None or definition.provider not in ACTIONS:
        return
    action = ACTIONS.get(definition.provider)
    is_known = True
    try:
        sentence = action.observe(action.params.model_validate(step.params), context)
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
