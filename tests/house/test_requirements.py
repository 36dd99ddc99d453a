"""The six asked-for packages are direct; every locked file has its hash; no registry's address is in the repository."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# Put together here, so that this file is clean too.
REGISTRIES = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "yarn" + "pkg.com"]


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace(".", "-")


def _locked(path: Path) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", path.read_text()):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\\n]+)", block):
            found[match[1].lower().replace(".", "-")] = (match[2], block.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("name", ["django", "celery", "redis", "jinja2", "markdown"])
def test_what_was_asked_for_is_a_direct_dependency(name: str) -> None:
    assert name in {_name(r) for r in PROJECT["project"]["dependencies"]}


def test_pytest_django_is_a_direct_dependency() -> None:
    assert "pytest-django" in {_name(r) for r in PROJECT["dependency-groups"]["test"]}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_has_hashes(path: Path) -> None:
    locked = _locked(path)
    assert locked
    assert [name for name, (_, hashes) in locked.items() if not hashes] == []


@pytest.mark.parametrize("group", ["run", "test", "check", "bench"])
def test_every_direct_dependency_is_locked(group: str) -> None:
    wanted = PROJECT["project"]["dependencies"] if group == "run" else PROJECT["dependency-groups"][group]
    locked = _locked(ROOT / f"requirements/{group}.txt")
    assert [r for r in wanted if _name(r) not in locked] == []


def test_the_groups_agree_on_versions() -> None:
    run = _locked(ROOT / "requirements/run.txt")
    apart = [
        f"{path.stem}: {name} {version}"
        for path in LOCKS
        for name, (version, _) in _locked(path).items()
        if name in run and run[name][0] != version
    ]
    assert apart == []


def test_no_registry_is_named_anywhere() -> None:
    for host in REGISTRIES:
        done = subprocess.run(
            ["git", "grep", "--name-only", "-I", "-F", host], cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode > 1:
            pytest.skip("not a git checkout")
        assert done.stdout == ""
