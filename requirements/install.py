"""Install one lock file into a virtual environment: by a pinned uv, or by pip where uv cannot be had.

Run by the Makefile with any Python 3.11 or newer; needs nothing but the standard library. Where pip finds its packages
(index, mirror, proxy, certificates, folders of wheels) is read from pip's own configuration and handed to uv, so that
whoever set up pip has nothing more to do. Every file is checked against the hashes of the lock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
GROUPS = ("run", "test", "check")


def main(folder: Path, group: str) -> int:
    """Install the group unless its stamp says that this very lock is installed."""
    if sys.version_info < (3, 11):  # noqa: UP036  this file runs before anything else could say so
        print("Backstop needs Python 3.11 or newer: make PYTHON=python3.12 run")
        return 2
    stamp = folder / f".{group}"
    python = folder / "bin" / "python"
    if not python.exists():
        # Copying pip in takes longer than all the rest of making it, so our own pip installs into it where it can.
        try:
            venv.create(folder, with_pip=not outside_pip(), symlinks=True)
        except subprocess.CalledProcessError:
            print("This Python has neither pip nor ensurepip: install them (on Debian, apt install python3-venv).")
            return 2
    environment = os.environ | from_pip(pip_settings(python))
    if group == "--lock":
        return lock(python, environment)
    file = HERE / f"{group}.txt"
    print(f"Installing requirements/{group}.txt …", flush=True)
    uv = pinned_uv(python, environment)
    done = False
    if uv:
        command = [str(uv), "pip", "install", "--quiet", "--python", str(python), "--require-hashes"]
        done = not run([*command, "--compile-bytecode", "-r", str(file)], environment)
    if not done:
        print("Going on with pip.", flush=True)
        if run([*pip(python), "install", "--quiet", "--require-hashes", "-r", str(file)], os.environ):
            return 1
    if group == "run":
        # Even where Python may not write byte-code by itself, no start compiles our own files again.
        rooms = [str(package.parent) for package in sorted(HERE.parent.glob("*/__init__.py"))]
        run([str(python), "-m", "compileall", "-q", "-j", "0", *rooms], os.environ)
    stamp.touch()
    return 0


def pinned_uv(python: Path, environment: dict[str, str]) -> Path | None:
    """The uv of requirements/uv.txt inside the virtual environment; None when it cannot be installed."""
    uv = python.with_name("uv")
    wanted = (HERE / "uv.txt").read_text().split("==", 1)[1].split()[0]
    if uv.exists() and wanted in output([str(uv), "--version"], environment):
        return uv
    options = ["--quiet", "--no-deps", "--require-hashes", "-r", str(HERE / "uv.txt")]
    return None if run([*pip(python), "install", *options], os.environ) else uv


def outside_pip() -> bool:
    """Whether the pip of the Python that runs this file can install into another environment (`--python`, 22.3)."""
    try:
        return tuple(map(int, version("pip").split(".")[:2])) >= (22, 3)
    except (PackageNotFoundError, ValueError):
        return False


def pip(python: Path) -> list[str]:
    """The pip command that installs into the virtual environment."""
    quiet = ["--disable-pip-version-check"]
    if python.with_name("pip").exists():
        return [str(python), "-m", "pip", *quiet]
    return [sys.executable, "-m", "pip", "--python", str(python), *quiet]


def pip_settings(python: Path) -> dict[str, str]:
    """What pip is configured with, from files and environment; the later source wins, as in pip."""
    found: dict[str, str] = {}
    for line in output([*pip(python)[:3], "config", "list"], dict(os.environ)).splitlines():
        name, equals, value = line.partition("=")
        if equals:
            section, _, key = name.rpartition(".")
            if key not in found or section == ":env:":
                found[key] = value.strip("'\"").replace("\\n", " ")
    return found


def from_pip(settings: dict[str, str]) -> dict[str, str]:
    """The same settings in uv's words. What the environment already says to uv stays."""
    words = {
        "UV_DEFAULT_INDEX": settings.get("index-url", ""),
        "UV_INDEX": settings.get("extra-index-url", ""),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", "").split()),
        "UV_INSECURE_HOST": settings.get("trusted-host", ""),
        "UV_NO_INDEX": "1" if settings.get("no-index", "") in ("1", "true", "yes") else "",
        "UV_HTTP_TIMEOUT": settings.get("timeout") or settings.get("default-timeout", ""),
        "SSL_CERT_FILE": settings.get("cert", ""),
        "HTTPS_PROXY": settings.get("proxy", ""),
        "HTTP_PROXY": settings.get("proxy", ""),
        # pip looks at all indexes alike; the hashes make that safe.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_LINK_MODE": "copy",
    }
    return {name: value for name, value in words.items() if value and not os.environ.get(name)}


def lock(python: Path, environment: dict[str, str]) -> int:
    """Resolve pyproject.toml into every lock file; the other groups keep to the versions of run.txt."""
    uv = pinned_uv(python, environment)
    if not uv:
        print("uv cannot be installed; locking needs it.")
        return 1
    common = ["--universal", "--generate-hashes", "--no-header", "--python-version", "3.11", "--quiet"]
    os.chdir(HERE.parent)
    for group in GROUPS:
        which = ["pyproject.toml"] if group == "run" else ["-c", "requirements/run.txt", "--group", group]
        if run([str(uv), "pip", "compile", *common, *which, "-o", f"requirements/{group}.txt"], environment):
            return 1
    return 0


def run(command: list[str], environment: os._Environ[str] | dict[str, str]) -> int:
    """Run a program and give its exit code."""
    return subprocess.run(command, env=dict(environment), check=False).returncode  # noqa: S603  our own arguments


def output(command: list[str], environment: dict[str, str]) -> str:
    """What a program prints; empty when it cannot run."""
    try:
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True).stdout  # noqa: S603
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
