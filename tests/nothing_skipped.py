"""A pytest plugin for CI (`-p tests.nothing_skipped`): a skipped `real` or `browser` test is a failed run."""

from __future__ import annotations

import pytest

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each skip of a test that CI must be able to run."""
    if report.skipped and {"real", "browser"} & set(report.keywords):
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run, in the process that collects the reports."""
    if _skipped and not hasattr(session.config, "workerinput") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for name in _skipped:
        terminalreporter.write_line(f"skipped, but CI must run it: {name}", red=True)
