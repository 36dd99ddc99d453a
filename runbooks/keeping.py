"""Keeping what a check found as evidence."""

from __future__ import annotations

from datetime import datetime

from incidents import evidence
from incidents.models import Evidence
from runbooks.checks import CHECKS
from runbooks.checks.base import Finding
from runbooks.models import Run, StepRun
from runbooks.verdicts import Judgement


def keep(
    run: Run, step: StepRun, finding: Finding, judgement: Judgement, *, now: datetime, kind: str = "check"
) -> Evidence:
    """Store a finding as evidence of the run's incident; what a dry run finds is the run's own."""
    check = CHECKS.get(step.provider) if step.provider in CHECKS else None
    return evidence.store(
        incident=None if run.is_plan else run.incident,
        kind=kind,
        now=now,
        summary=finding.summary,
        run_id=run.pk,
        step=step.step,
        attempt=step.attempts,
        provider=step.provider,
        provider_version=check.version if check else "",
        verdict=judgement.verdict,
        reason=judgement.reason,
        rule=judgement.rule,
        threshold=finding.threshold,
        query=finding.query,
        window_from=finding.window_from,
        window_to=finding.window_to,
        value=finding.value,
        unit=finding.unit,
        samples=finding.samples,
        observed_at=finding.observed_at,
        source=finding.source,
        params=step.params or {},
        result=finding.result,
    )
