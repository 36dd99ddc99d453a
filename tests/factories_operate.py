"""Builders for the operator's commands: an effect with its step, run and runbook, as bare rows."""

from __future__ import annotations

import itertools
from datetime import timedelta

from common import clock
from runbooks.models import Effect, Revision, Run, Runbook, StepRun
from tests.factories import make_team

_numbers = itertools.count(1)


def make_effect(*, state: str = "sent", step_state: str = "leased") -> Effect:
    """An effect in a state, of a step in a state; prefer running a runbook where the engine matters."""
    number, now, team = next(_numbers), clock.now(), make_team()
    runbook = Runbook.objects.create(
        team=team, slug=f"operate-{number}", title="Operate", incident_type="other", created_at=now
    )
    revision = Revision.objects.create(
        runbook=runbook, number=1, spec=1, sha256="", text="", parsed={}, source="file", author="test", created_at=now
    )
    run = Run.objects.create(
        team=team, runbook=runbook, revision=revision, state="active", started_by="test", created_at=now,
        deadline_at=now + timedelta(hours=1),
    )  # fmt: skip
    step = StepRun.objects.create(
        run=run, step="act", position=0, kind="action", phase="remediate", name="Act", state=step_state,
        lease_until=now + timedelta(hours=1) if step_state == "leased" else None, worker="worker@gone",
    )  # fmt: skip
    return Effect.objects.create(
        key=f"effect-{number}", step_run=step, provider="model.rollback", effect_class="once", state=state,
        generation=1, params={}, params_digest="", intended_at=now,
    )  # fmt: skip
