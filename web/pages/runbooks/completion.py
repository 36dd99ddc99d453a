"""Words that the editor offers while one writes a runbook: fields of the language, checks and actions, what we have."""

from __future__ import annotations

from typing import Any, get_args

from catalog.actors import Actor
from catalog.models import Connection, Signal
from runbooks.actions import ACTIONS
from runbooks.checks import CHECKS
from runbooks.spec import RunbookSpec
from runbooks.steps import KINDS, RISKS, STEP_MODELS
from web.policy import team_ids

Option = dict[str, str]


def runbook_words(actor: Actor) -> dict[str, Any]:
    """Keys at the top and in a step, and values of the keys that take known words."""
    teams = team_ids(actor)
    signals = Signal.objects.filter(service__team__in=teams).order_by().values_list("name", flat=True)
    connections = Connection.objects.filter(team__in=teams).order_by().values_list("slug", flat=True)
    return {
        "keys": {"top": _keys(RunbookSpec), "step": _step_keys()},
        "values": {
            "check": [_option(check.name, check.title) for check in CHECKS],
            "action": [_option(action.name, action.title) for action in ACTIONS],
            "incident_type": [_option(word) for word in get_args(RunbookSpec.model_fields["incident_type"].annotation)],
            "risk": [_option(word) for word in RISKS],
            "signal": [_option(name) for name in sorted(set(signals))],
            "connection": [_option(slug) for slug in sorted(set(connections))],
        },
    }


def _option(word: str, detail: str = "") -> Option:
    return {"label": word, "detail": detail} if detail else {"label": word}


def _keys(model: Any) -> list[Option]:
    return [
        {"label": field.alias or name, "apply": f"{field.alias or name}: "}
        for name, field in model.model_fields.items()
    ]


def _step_keys() -> list[Option]:
    found = {option["label"]: option for model in STEP_MODELS.values() for option in _keys(model)}
    # What a step is comes first, then what it may say.
    return sorted(found.values(), key=lambda option: (option["label"] not in ("id", "name", *KINDS), option["label"]))
