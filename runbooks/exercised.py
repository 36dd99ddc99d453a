"""When a runbook was last exercised, by a real run or by tests that passed: one that never is fails when needed."""

from __future__ import annotations

from datetime import datetime, timedelta

from runbooks.models import Run, Runbook, RunbookTests

LIMIT = timedelta(days=90)


def last(runbook: Runbook) -> datetime | None:
    """The newest of its real runs and of its passing tests; None when there was neither. Dry runs do not count."""
    run = Run.objects.real().filter(runbook=runbook).order_by("-created_at").first()
    tests = RunbookTests.objects.filter(runbook=runbook, report__passed=True).first()
    found = [moment for moment in (run and run.created_at, tests and tests.report_at) if moment]
    return max(found, default=None)


def is_overdue(runbook: Runbook, *, now: datetime) -> bool:
    """Whether it was not exercised for 90 days (since it was made, if never)."""
    return now - (last(runbook) or runbook.created_at) > LIMIT


def sentence(runbook: Runbook, *, now: datetime) -> str:
    """The warning; empty while there is nothing to warn of."""
    if not is_overdue(runbook, now=now):
        return ""
    when = last(runbook)
    since = f"since {when:%Y-%m-%d}" if when else "yet"
    return f"`{runbook.slug}` was not exercised {since}: no run and no passing tests for {LIMIT.days} days."
