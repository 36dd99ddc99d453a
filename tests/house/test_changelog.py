"""The top version of the changelog is the product's."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_its_top_version_is_ours() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    tops = re.findall(r"^## ([0-9][^ \n]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert tops[0] == version
