"""The contract of every extension: a guide page, an example that is accepted, a name of its own."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from pydantic import BaseModel

from catalog.connectors import CONNECTORS
from incidents.channels import CHANNELS
from incidents.sources import SOURCES
from runbooks.actions import ACTIONS
from runbooks.actions.base import RISKS
from runbooks.checks import CHECKS

ALL: list[Any] = [*CHECKS, *ACTIONS, *CONNECTORS, *SOURCES, *CHANNELS]
STEPS: list[Any] = [*CHECKS, *ACTIONS]
VERB = re.compile(r"[a-z]+\.[a-z_]+")


def _named(extension: Any) -> str:
    return f"{type(extension).__module__}:{extension.name}"


@pytest.mark.parametrize("extension", ALL, ids=_named)
def test_it_has_a_guide_page(extension: Any) -> None:
    own = type(extension).__dict__.get("__doc__")
    assert own
    assert len(own.strip()) > 40, "a guide page says more than a name"
    assert inspect.getmodule(type(extension)).__doc__
    assert extension.title


@pytest.mark.parametrize("extension", STEPS, ids=_named)
def test_its_example_is_accepted(extension: Any) -> None:
    assert extension.example
    assert VERB.fullmatch(extension.name)
    extension.params.model_validate(extension.example)
    assert extension.params.model_config["extra"] == "forbid"


@pytest.mark.parametrize("extension", list(CONNECTORS), ids=_named)
def test_a_connectors_example_is_accepted(extension: Any) -> None:
    extension.config.model_validate(extension.example)
    for model in (extension.config, extension.secrets):
        assert issubclass(model, BaseModel)
        assert model.model_config["extra"] == "forbid"


@pytest.mark.parametrize("extension", list(CHECKS), ids=_named)
def test_a_check_documents_its_answer(extension: Any) -> None:
    text = inspect.getdoc(type(extension)) or ""
    for part in ("**value**", "**result** keys"):
        assert part in text
    assert "samples" in text.lower()
    assert "age" in text.lower()


@pytest.mark.parametrize("extension", list(ACTIONS), ids=_named)
def test_an_action_declares_its_class_and_risk(extension: Any) -> None:
    assert extension.effect_class in ("read", "notify", "set", "keyed", "probe", "once")
    assert extension.risk in RISKS
    assert "**result** keys" in (inspect.getdoc(type(extension)) or "")


def test_names_are_their_own() -> None:
    for registry in (STEPS, list(CONNECTORS), list(SOURCES), list(CHANNELS)):
        names = [extension.name for extension in registry]
        assert len(names) == len(set(names))


def test_channels_share_no_scheme() -> None:
    schemes = [scheme for channel in CHANNELS for scheme in channel.schemes]
    assert len(schemes) == len(set(schemes))
