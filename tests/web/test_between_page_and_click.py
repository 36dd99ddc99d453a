"""The flag service itself changes between the approval's page and the click: nothing is sent, and it counts so.

The flag service is a process of its own, reached over HTTP: the demo's (`python -m drills.world`), and every night a
real Unleash.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from django.test import Client

from catalog.models import Team
from common import http
from runbooks.models import ApprovalRequest, Effect, Lock, Run
from tests import servers
from tests.factories import make_actor, make_connection, make_incident, make_service, make_user
from tests.factories_checks import make_versions
from tests.factories_runbooks import make_runbook, pump, start, states, step
from tests.factories_web import signed_in, text_of
from tests.fakes import unleash

pytestmark = pytest.mark.django_db
ROLL_BACK = """
  remediate:
    - {id: roll_back, action: model.rollback, risk: high, approval: {from: [role:oncall]}, irreversible: It stays.}
"""


class Flags(Protocol):
    """A flag service with the flag `chat-model`."""

    url: str

    def put(self, value: str) -> None:
        """Somebody sets it there, without us."""

    @property
    def state(self) -> tuple[str, int]:
        """Its value, and how often it was ever changed."""


class World:
    """That of the demo."""

    def __init__(self, url: str) -> None:
        self.url = url

    def put(self, value: str) -> None:
        body = json.dumps({"value": value}).encode()
        asked = urllib.request.Request(f"{self.url}/flags/chat-model", data=body, method="PUT")
        urllib.request.urlopen(asked, timeout=60).close()

    @property
    def state(self) -> tuple[str, int]:
        with urllib.request.urlopen(f"{self.url}/flags/chat-model", timeout=60) as answer:
            found = json.load(answer)
        return found["value"], found["version"]


@contextmanager
def demo(folder: Path) -> Iterator[World]:
    port = servers.free_port()
    found = World(f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "drills.world", "--cause", "model_regression", "--port", str(port)]
    with servers.running(command, ready=lambda: servers.answers(port), log=folder / "log"):
        http.allow(found.url)
        yield found
        http.forget(found.url)


@pytest.fixture(scope="module", params=["demo", pytest.param("unleash", marks=pytest.mark.nightly)])
def flags(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flags]:
    """Each of them in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    with demo(folder) if request.param == "demo" else unleash.running(folder, "chat-model", "v43") as found:
        yield found


@pytest.fixture
def shown(team: Team, flags: Flags) -> tuple[Run, Client, dict[str, str]]:
    """Somebody has the page of the approval open, and the form on it as it was."""
    flags.put("v43")
    service = make_service(team, "rag-chat", rollback={"connection": "flags", "flag": "chat-model"})
    make_connection(team, slug="flags", connector="flag", url=flags.url)
    make_versions(service, ("v41", "kept"), ("v42", "kept"), ("v43", "serving"))
    run = start(make_runbook(team, ROLL_BACK), make_actor(team), team, make_incident(team, service))
    pump()
    asked = ApprovalRequest.objects.get()
    client = signed_in(make_user("olga", team=team))
    page: Any = client.get(f"/approvals/{asked.uuid}")
    assert "v43 → v42" in text_of(page)
    return run, client, {"decision": "approve", "digest": asked.digest, "typed": "v42", "note": ""}


def click(shown: tuple[Run, Client, dict[str, str]]) -> int:
    _, client, form = shown
    return client.post(f"/approvals/{ApprovalRequest.objects.get().uuid}", form).status_code


def moved(flags: Flags) -> None:
    flags.put("v41")


def moved_and_back(flags: Flags) -> None:
    flags.put("v41")
    flags.put("v43")


@pytest.mark.parametrize("change", [moved, moved_and_back])
@pytest.mark.parametrize("after_the_click", [False, True])
def test_what_changed_in_the_flag_service_itself_is_not_overwritten(
    flags: Flags, shown: tuple[Run, Client, dict[str, str]], change: Any, after_the_click: bool
) -> None:
    run, *_ = shown
    if not after_the_click:
        change(flags)
    assert click(shown) in (200, 302)
    if after_the_click:
        change(flags)
    before = flags.state
    pump()
    row = step(run, "roll_back")
    assert (row.state, row.blocked_on, row.reason) == ("blocked", "ask", "stale_evidence")
    assert not Effect.objects.filter(times_sent__gt=0).exists()
    assert not Lock.objects.exists()
    assert flags.state == before, "nothing was set there, not even once"


def test_what_did_not_change_is_set_once(flags: Flags, shown: tuple[Run, Client, dict[str, str]]) -> None:
    before = flags.state
    assert click(shown) in (200, 302)
    pump()
    assert states(shown[0]) == {"roll_back": "pass"}
    assert flags.state == ("v42", before[1] + 1)
