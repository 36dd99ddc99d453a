"""The worked example of CONTRIBUTING.md does what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runbooks import schema
from runbooks.checks import CHECKS
from tests.house import test_extensions

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
EXAMPLE = TEXT[TEXT.index("## Worked example") :]
CHECK, LINE, TEST = re.findall(r"```python\n(.*?)```", EXAMPLE, re.DOTALL)
(RUNBOOK,) = re.findall(r"```yaml\n(.*?)```", EXAMPLE, re.DOTALL)
NAME = "runbooks.checks.dependency_incidents"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of step 1, as if the file were there."""
    module = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(CHECK, "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_it_fulfils_the_contract_of_checks(example: ModuleType) -> None:
    check = eval(LINE, example.__dict__)
    test_extensions.test_it_has_a_guide_page(check)
    test_extensions.test_its_example_is_accepted(check)


def test_its_runbook_is_accepted(example: ModuleType) -> None:
    mine = eval(LINE, example.__dict__)
    checks = {check.name: check for check in [*CHECKS, mine]}
    spec = schema.parse(RUNBOOK, file="dependency_first.yaml", checks=checks)
    assert spec.id == "dependency_first"


@pytest.mark.django_db
def test_its_tests_pass(example: ModuleType) -> None:
    names = {"pytest": pytest} | vars(example)
    exec(compile(TEST, "CONTRIBUTING.md", "exec"), names)
    tests = [made for name, made in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_every_file_it_names_is_there() -> None:
    root = Path(__file__).parents[2]
    for name in re.findall(r"`([a-z_/]+\.(?:py|md))`", TEXT[: TEXT.index("## Worked example")]):
        assert (root / name).exists(), name
