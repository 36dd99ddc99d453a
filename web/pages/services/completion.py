"""Words that the editor offers while one describes a service."""

from __future__ import annotations

from typing import Any

from catalog.models import Connection, Service, Team
from catalog.service_file import ServiceSpec, SignalSpec

SIGNAL_NAMES = ("error_rate", "latency", "accuracy", "null_rate", "cost")


def service_words(team: Team | None) -> dict[str, Any]:
    """Keys of the file, and what this team has."""
    connections = Connection.objects.filter(team=team).values_list("slug", "connector")
    keys = [*SIGNAL_NAMES, *SignalSpec.model_fields, "flag", "path", "set", "version", "state"]
    return {
        "keys": {"top": _options(ServiceSpec.model_fields), "step": _options(keys)},
        "values": {
            "connection": [{"label": slug, "detail": connector} for slug, connector in connections],
            "worse": [{"label": "up"}, {"label": "down"}],
            "state": [{"label": word} for word in ("serving", "kept", "canary", "retired")],
            "depends_on": [
                {"label": slug} for slug in Service.objects.filter(team=team).values_list("slug", flat=True)
            ],
        },
    }


def _options(names: Any) -> list[dict[str, str]]:
    return [{"label": name, "apply": f"{name}: "} for name in names]
