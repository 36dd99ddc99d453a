"""A pytest plugin for CI (`-p tests.hung`): a test whose process had to be ended may be asked once more.

Chromium and its driver answer some calls without any limit of time, so one lost answer would hold up the whole run.
`.ci/run` ends such a process (`faulthandler_exit_on_timeout`: where each of its threads stood is printed), and xdist
gives the rest of its file, from that test on, to another. What a test found is never asked twice: only one that came to
no end, and only once.
"""

from __future__ import annotations

import pytest

_hung: list[str] = []


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport) -> None:
    """The first time it has neither passed nor failed; the second time it failed, as xdist says."""
    if crashitem not in _hung:
        setattr(report, "outcome", "hung")
    _hung.append(crashitem)


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """How it is counted."""
    return ("hung", "H", "HUNG") if str(report.outcome) == "hung" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for name in _hung:
        terminalreporter.write_line(f"came to no end, so its process was ended: {name}", yellow=True)
