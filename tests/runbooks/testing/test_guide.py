"""The example of the guide passes, played on the guide's small runbook; every code of ours has its row."""

from __future__ import annotations

import re
from pathlib import Path

from runbooks.testing import cases, report
from runbooks.testing.stage import stage

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guide/testing-runbooks.md").read_text()


def example(text: str) -> str:
    """The first YAML of a page."""
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def test_its_example_passes(db: None) -> None:
    runbook = example((ROOT / "docs/guide/runbook-language.md").read_text())
    tests, document = cases.read(example(GUIDE), file="slow_search.test.yaml")
    with stage(1) as here:
        told = report.run(tests, document, runbook, here, file="slow_search.yaml")
    assert [str(finding) for finding in told.findings] == []
    assert [case.passed for case in told.cases] == [True, True]


def test_every_code_has_its_row() -> None:
    files = [*(ROOT / "runbooks/testing").glob("*.py"), ROOT / "web/management/commands/runbook.py"]
    used = {code for path in files for code in re.findall(r"RT\d{3}", path.read_text())}
    assert used == set(re.findall(r"^\| (RT\d{3}) \|", GUIDE, re.MULTILINE))


def test_every_field_is_told() -> None:
    models = (cases.Stub, cases.Event, cases.Expect, cases.Case, cases.Tests)
    fields = {name for model in models for name in model.model_fields}
    assert fields - set(re.findall(r"[a-z_]+", GUIDE)) == set()
