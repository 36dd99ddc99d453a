"""Playing a whole test file, and what came of it: for the command, the page, the API and our own tests."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import yaml
from common.yaml import Document, FileFaults, Finding
from runbooks import library, schema
from runbooks.files import beside, text_of
from runbooks.lint_children import Others
from runbooks.schema import RunbookFaults
from runbooks.testing import cases, coverage
from runbooks.testing.cases import Tests
from runbooks.testing.expecting import differences
from runbooks.testing.family import Family, gather
from runbooks.testing.playing import Played
from runbooks.testing.stage import Stage
from runbooks.testing.thresholds import concerned, shifts

ENDING = ".test.yaml"
NO_RUNBOOK = "RT005"


@dataclass(frozen=True)
class CaseReport:
    """One case: whether it passed, and how long playing it took."""

    name: str
    passed: bool
    seconds: float


@dataclass
class Report:
    """What a test file said. `findings` are faults of the file and what did not come as expected."""

    file: str
    runbook: str = ""
    cases: list[CaseReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    # {"branches", "taken", "missed": [{"line", "column", "words"}]}, and the same as findings in the runbook.
    coverage: dict[str, Any] = field(default_factory=dict)
    missed: list[Finding] = field(default_factory=list)
    # Numbers that could be moved without a case failing; None when nobody asked.
    survivors: list[Finding] | None = None
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every case was played and came as expected."""
        return bool(self.cases) and not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as `--json`, the page and the API show it."""
        return {
            "file": self.file,
            "runbook": self.runbook,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "cases": [
                {"name": case.name, "passed": case.passed, "seconds": round(case.seconds, 3)} for case in self.cases
            ],
            "coverage": self.coverage,
            "thresholds": None if self.survivors is None else [finding.as_dict() for finding in self.survivors],
        }


def files(path: Path) -> list[Path]:
    """The test files that a path means: itself, or those of a folder and of its `tests` folder."""
    if path.is_file():
        return [path]
    return sorted(found for folder in (path, path / "tests") for found in folder.glob(f"*{ENDING}") if found.is_file())


def runbook_of(test_file: Path, runbook: str) -> Path | None:
    """The runbook that a test file is about: beside it, one folder up, else in the shipped library."""
    folders = (test_file.parent, test_file.parent.parent, library.FOLDER)
    found = (folder / f"{runbook}{ending}" for folder in folders for ending in (".yaml", ".yml"))
    return next((path for path in found if path.is_file()), None)


def run_file(path: Path, stage: Stage, *, thresholds: bool = False) -> Report:
    """Play a test file on the runbook that it names."""
    report = Report(str(path))
    try:
        tests, document = cases.read(text_of(path), file=str(path))
        report.runbook = tests.runbook
        found = runbook_of(path, tests.runbook)
        if found is None:
            at = document.position(("runbook",))
            message = f"There is no runbook `{tests.runbook}` beside this file, one folder up, or in the library."
            report.findings.append(Finding(str(path), *at, NO_RUNBOOK, "error", message, "Put the two side by side."))
            return report
        return run(
            tests,
            document,
            text_of(found),
            stage,
            file=str(found),
            others=beside(found),
            thresholds=thresholds,
        )
    except FileFaults as faults:
        report.findings += faults.findings
        return report


def run(
    tests: Tests,
    document: Document,
    runbook: str,
    stage: Stage,
    *,
    file: str,
    others: Others | None = None,
    thresholds: bool = False,
) -> Report:
    """Play tests that were read already on the text of a runbook. Raises FileFaults for a runbook with errors.

    `others` are the runbooks that it may run.
    """
    report = Report(document.file, tests.runbook)
    begun = time.perf_counter()
    book = yaml.read(runbook, file=file)
    spec, findings = schema.examine_document(book, others=others or {})
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors or spec is None:
        raise RunbookFaults(errors)
    family, unreadable = gather(spec, others or {})
    for name in unreadable:
        at, message = document.position(("runbook",)), f"`{name}`, which it runs, is not there or has errors."
        report.findings.append(Finding(document.file, *at, NO_RUNBOOK, "error", message, f"Lint {name}.yaml."))
    report.findings += cases.check(tests, document, family)
    if not report.findings:
        with _quiet():
            played = stage.play(family, tests)
            for index, case in enumerate(tests.cases):
                found = differences(document, index, case, played[index])
                report.findings += found
                report.cases.append(CaseReport(case.name, not found, played[index].seconds))
            covered = coverage.measure(spec, played)
            report.coverage = covered.as_dict(book)
            report.missed = covered.findings(book)
            if thresholds and not report.findings:
                report.survivors = _survivors(family, book, runbook, tests, document, played, stage)
    report.seconds = time.perf_counter() - begun
    return report


def _survivors(
    family: Family,
    book: Document,
    text: str,
    tests: Tests,
    document: Document,
    played: list[Played],
    stage: Stage,
) -> list[Finding]:
    moved = [(shift, concerned(shift, played)) for shift in shifts(family.top, book.data)]
    return [shift.finding(book, text) for shift in stage.survivors(family, book.data, tests, document, moved)]


@contextmanager
def _quiet() -> Iterator[None]:
    """What the engine logs about stubbed faults is no news."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
