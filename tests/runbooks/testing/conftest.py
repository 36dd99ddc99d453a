"""A small runbook, and a hand that plays test files on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbooks import schema
from runbooks.testing import cases, memory, report
from runbooks.testing.report import Report
from tests.factories_testing import HEAD, RUNBOOK


@pytest.fixture
def played(db: None) -> Callable[..., Report]:
    """Play the cases of a test file (its YAML) on the small runbook, or on another."""

    def play(text: str, *, runbook: str = RUNBOOK, head: str = HEAD) -> Report:
        tests, document = cases.read(head + text, file="small.test.yaml")
        with memory.database():
            return report.run(tests, document, schema.parse(runbook, file="small.yaml"))

    return play
