"""Whether requirements/*.txt fit pyproject.toml: each direct dependency locked within its bounds, with hashes."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def locked(path: Path) -> dict[str, tuple[str, bool]]:
    """Names to (version, has hashes)."""
    found: dict[str, tuple[str, bool]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", path.read_text()):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\\n]+)", block):
            found[canonicalize_name(match[1])] = (match[2], "--hash=sha256:" in block)
    return found


def main() -> int:
    """Print what does not fit; 1 when there is something."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {"run": project["project"]["dependencies"], **project["dependency-groups"]}
    faults = []
    for group, wanted in groups.items():
        have = locked(ROOT / f"requirements/{group}.txt")
        faults += [f"{group}: {name} has no hash" for name, (_, hashed) in have.items() if not hashed]
        for text in wanted:
            requirement = Requirement(text)
            version, _ = have.get(canonicalize_name(requirement.name), ("", True))
            if not version:
                faults.append(f"{group}: {requirement.name} is not locked (make lock)")
            elif not requirement.specifier.contains(version, prereleases=True):
                faults.append(f"{group}: {requirement.name} {version} is outside {requirement.specifier} (make lock)")
    print("\n".join(faults) or "The locks fit pyproject.toml.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
