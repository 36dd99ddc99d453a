"""The six asked-for packages are direct; every locked file has its hash; no registry's address is in the repository."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
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


@pytest.mark.parametrize("group", ["run", "test", "check"])
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


# --- installing (requirements/install.py) ----------------------------------------------------------------------------
# The Python that would be asked to make the virtual environment: the one that ours was made from.
OUTER = getattr(sys, "_base_executable", sys.executable)
SHOW = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import install
print(json.dumps(install.from_pip(install.pip_settings(pathlib.Path("nowhere/bin/python")))))
"""


def test_what_pip_is_configured_with_is_handed_to_uv(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\nproxy = http://proxy.example:3128\n"
        "cert = /etc/ca.pem\nextra-index-url =\n  https://one.example/simple\n  https://two.example/simple\n"
    )
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    env |= {"PIP_TRUSTED_HOST": "mirror.example", "UV_HTTP_TIMEOUT": "7", "PIP_TIMEOUT": "60"}
    command = [OUTER, "-c", SHOW, str(ROOT / "requirements")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    given = json.loads(done.stdout)
    assert given["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert given["UV_INDEX"].split() == ["https://one.example/simple", "https://two.example/simple"]
    assert (given["UV_INSECURE_HOST"], given["SSL_CERT_FILE"]) == ("mirror.example", "/etc/ca.pem")
    assert given["HTTPS_PROXY"] == given["HTTP_PROXY"] == "http://proxy.example:3128"
    assert "UV_HTTP_TIMEOUT" not in given, "what the environment says to uv itself stays"


def _wheel(folder: Path) -> str:
    """A package of one module, and its hash."""
    name = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("tiny.py", "answer = 42\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return hashlib.sha256(name.read_bytes()).hexdigest()


def test_without_uv_pip_installs_and_checks_the_hashes(tmp_path: Path) -> None:
    locks, digest = tmp_path / "requirements", _wheel(tmp_path)
    locks.mkdir()
    shutil.copy(ROOT / "requirements/install.py", locks)
    (locks / "uv.txt").write_text(f"uv==0.0.1 --hash=sha256:{'0' * 64}\n")
    env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    command = [OUTER, str(locks / "install.py"), str(tmp_path / ".venv"), "run"]
    for written, code in ((digest[::-1], 1), (digest, 0)):
        (locks / "run.txt").write_text(f"tiny==1.0 --hash=sha256:{written}\n")
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert "Going on with pip." in done.stdout
        assert done.returncode == code, done.stderr
        assert (tmp_path / ".venv/.run").exists() is (code == 0)
    ask = [str(tmp_path / ".venv/bin/python"), "-c", "import tiny; print(tiny.answer)"]
    assert subprocess.run(ask, capture_output=True).stdout == b"42\n"
