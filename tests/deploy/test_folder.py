"""The folder that the set-ups of deploy/ give to Backstop is the one that they tell it to use."""

from __future__ import annotations

import pytest
from ruamel.yaml import YAML

from tests.production import ROOT, UNITS

FOLDER = "/var/lib/backstop"


def test_the_environment_names_it() -> None:
    assert f"BACKSTOP_DATA_DIR={FOLDER}" in (ROOT / "deploy/env.example").read_text().splitlines()


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_every_unit_may_write_there(unit: str) -> None:
    lines = (UNITS / unit).read_text().splitlines()
    assert "ProtectSystem=strict" in lines
    assert "StateDirectory=backstop" in lines


def test_every_container_may_write_there() -> None:
    services = YAML(typ="safe").load(ROOT / "deploy/compose.yaml")["services"]
    ours = [service for service in services.values() if service["image"] == "backstop:local"]
    assert len(ours) == 5
    assert all(service["volumes"] == [f"data:{FOLDER}"] for service in ours if service["read_only"])
