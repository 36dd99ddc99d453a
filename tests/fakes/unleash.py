"""A real Unleash, and in front of it the few lines that let the connector `flag` speak to it.

Needs Node 20 and `npm install unleash-server@7.5.1` in a folder that UNLEASH_FOLDER names; skips without it.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.fakes import web

_TOKEN = "*:*.admin-token-of-a-test"
_SERVER = "node_modules/unleash-server/dist/server.js"


class Unleash:
    """One flag, whose variant with all the weight says which version serves. Unleash itself logs who changed it."""

    def __init__(self, address: str, flag: str) -> None:
        self.address, self.flag = f"{address}/api/admin", flag
        self._strategies = f"/projects/default/features/{flag}/environments/development/strategies"
        self.url = ""

    def make(self, value: str) -> None:
        """Create the flag, which then serves `value`."""
        self._call("POST", "/projects/default/features", {"name": self.flag})
        self._call("POST", self._strategies, _strategy(self.flag, value))

    @property
    def state(self) -> tuple[str, int]:
        """What it serves, and how many events Unleash has logged of it."""
        (strategy,) = self._call("GET", self._strategies)
        return strategy["variants"][0]["name"], self._call("GET", f"/events/{self.flag}")["totalEvents"]

    def put(self, value: str) -> None:
        """Somebody sets it in Unleash."""
        (strategy,) = self._call("GET", self._strategies)
        self._call("PUT", f"{self._strategies}/{strategy['id']}", _strategy(self.flag, value))

    def answer(self, asked: web.Asked) -> web.Reply:
        """The two calls of a flag service. Between reading and setting somebody may come: it is no product."""
        if asked.path != f"/flags/{self.flag}":
            return web.Reply(status=404)
        value, version = self.state
        if asked.method == "PUT":
            wanted = json.loads(asked.body)
            if wanted["expect"] != value:
                return web.Reply(status=409)
            self.put(wanted["value"])
            value, version = self.state
        return web.Reply(json.dumps({"name": self.flag, "value": value, "version": version}).encode())

    def _call(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": _TOKEN, "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.address}{path}", data=content, method=method, headers=headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read() or b"null")


def _strategy(flag: str, value: str) -> dict[str, Any]:
    variant = {"name": value, "weight": 1000, "weightType": "variable", "stickiness": "default"}
    parameters = {"rollout": "100", "stickiness": "default", "groupId": flag}
    return {"name": "flexibleRollout", "parameters": parameters, "constraints": [], "variants": [variant]}


@contextmanager
def running(folder: Path, flag: str, value: str) -> Iterator[Unleash]:
    """Unleash on a PostgreSQL of its own, with one flag; its `url` is that of the two calls in front of it."""
    home = Path(os.environ.get("UNLEASH_FOLDER", "."))
    if not (home / _SERVER).is_file():
        pytest.skip("unleash-server is not installed")
    port = servers.free_port()
    with servers.postgres(folder) as database:
        env = os.environ | {
            "DATABASE_URL": database, "DATABASE_SSL": "false", "HTTP_HOST": "127.0.0.1", "PORT": str(port),
            "INIT_ADMIN_API_TOKENS": _TOKEN, "CHECK_VERSION": "false", "SEND_TELEMETRY": "false",
        }  # fmt: skip
        command = [servers.program("node"), str(home / _SERVER)]
        with servers.running(
            command, ready=lambda: servers.answers(port), log=folder / "unleash.log", env=env, wait=120
        ):
            unleash = Unleash(f"http://127.0.0.1:{port}", flag)
            unleash.make(value)
            with web.serve(unleash.answer) as front:
                unleash.url = front.url
                yield unleash
