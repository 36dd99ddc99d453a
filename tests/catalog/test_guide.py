"""The guide's example of a service file is one that loads."""

from __future__ import annotations

import re
from pathlib import Path

from catalog import loader
from catalog.connectors import CONNECTORS
from catalog.models import Team
from tests.factories import make_connection, make_service, make_user

PAGE = (Path(__file__).parents[2] / "docs/guide/services.md").read_text()


def test_its_example_loads(team: Team) -> None:
    for slug, connector in (("prom", "prometheus"), ("flags", "flag"), ("model", "http_json")):
        make_connection(team, slug=slug, connector=connector, url="https://a.test")
    make_user("ada", team=team)
    make_service(team, "index")
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    service = loader.load(example[1], file="chat.yaml", team=team)
    assert service.signals.count() == 3


def test_it_names_every_connector_and_its_settings() -> None:
    table = PAGE.split("## Connections")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", table, re.MULTILINE))
    assert sorted(rows) == sorted(CONNECTORS.names())
    for connector in CONNECTORS:
        for name in [*connector.config.model_fields, *connector.secrets.model_fields]:
            assert f"`{name}`" in rows[connector.name], f"{connector.name}: {name}"
