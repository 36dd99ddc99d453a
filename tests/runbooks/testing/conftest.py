"""A small runbook, and a hand that plays test files on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbooks import schema
from runbooks.testing import cases, report
from runbooks.testing.report import Report
from runbooks.testing.stage import stage
from tests.factories_testing import HEAD, RUNBOOK


@pytest.fixture
def played(db: None) -> Callable[..., Report]:
    """Play the cases of a test file (its YAML) on the small runbook, or on another."""

    def play(
        text: str, *, runbook: str = RUNBOOK, head: str = HEAD, thresholds: bool = False, others: tuple[str, ...] = ()
    ) -> Report:
        tests, document = cases.read(head + text, file="small.test.yaml")
        known = {spec.id: spec for spec in (schema.examine(other, file="")[0] for other in others) if spec}
        with stage(1) as here:
            return report.run(tests, document, runbook, here, file="small.yaml", others=known, thresholds=thresholds)

    return play
