"""A scraped service as a process of its own, whose error rate follows its flag and can be changed from outside.

`python tests/fakes/target.py PORT` serves, with the standard library alone:

GET /metrics                     requests_total{code="200"|"500"} in Prometheus' text form
GET, PUT /flags/<name>           a flag service as catalog/connectors/flag.py describes it, with one flag `model`
GET /counts                      {"model", "puts", "changes", "errors"}: what happened, for a test to assert on
POST /control {"per_second"?, "error_rates"?: {version: rate}}
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class State:
    """The service: traffic flows at a steady rate, and the version that the flag names decides how much of it fails."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.model, self.version = "v2", 1
        self.per_second = 50.0
        self.error_rates = {"v1": 0.0, "v2": 0.0}
        self.requests = {"200": 0.0, "500": 0.0}
        self.puts = self.changes = 0
        self.keys: set[str] = set()
        self._counted_to = time.monotonic()

    def flow(self) -> None:
        """Count the requests since the last look."""
        now = time.monotonic()
        came = (now - self._counted_to) * self.per_second
        self._counted_to = now
        failed = came * self.error_rates[self.model]
        self.requests["500"] += failed
        self.requests["200"] += came - failed

    def metrics(self) -> str:
        """The counters as Prometheus scrapes them."""
        lines = [f'requests_total{{code="{code}"}} {count:.3f}' for code, count in self.requests.items()]
        return "\n".join(["# TYPE requests_total counter", *lines, ""])

    def put(self, body: dict[str, Any], key: str) -> bool:
        """Set the flag if it still holds what was expected; a repeated key changes nothing. False: it does not."""
        self.puts += 1
        if key in self.keys:
            return True
        if body.get("expect") != self.model:
            return False
        self.model, self.version = str(body["value"]), self.version + 1
        self.changes += 1
        self.keys.add(key)
        return True

    def flag(self) -> dict[str, Any]:
        """The flag as its service answers."""
        return {"name": "model", "value": self.model, "version": self.version}

    def counts(self) -> dict[str, Any]:
        """What happened."""
        return {"model": self.model, "puts": self.puts, "changes": self.changes, "errors": self.requests["500"]}


class Handler(BaseHTTPRequestHandler):
    """One request; everything happens under the state's lock."""

    state: State

    def do_GET(self) -> None:
        """Metrics, flag or counts."""
        with self.state.lock:
            self.state.flow()
            if self.path == "/metrics":
                self._say(200, self.state.metrics(), "text/plain; version=0.0.4")
            elif self.path == "/flags/model":
                self._say(200, json.dumps(self.state.flag()))
            elif self.path == "/counts":
                self._say(200, json.dumps(self.state.counts()))
            else:
                self._say(404, "{}")

    def do_PUT(self) -> None:
        """The flag."""
        body = self._body()
        with self.state.lock:
            self.state.flow()
            known = self.path == "/flags/model"
            done = known and self.state.put(body, self.headers.get("Idempotency-Key", ""))
            self._say(200 if done else 409 if known else 404, json.dumps(self.state.flag()))

    def do_POST(self) -> None:
        """What the test wants from now on."""
        body = self._body()
        with self.state.lock:
            self.state.flow()
            self.state.per_second = float(body.get("per_second", self.state.per_second))
            self.state.error_rates.update(body.get("error_rates", {}))
            self._say(200, "{}")

    def _body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        return found

    def _say(self, status: int, text: str, kind: str = "application/json") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    Handler.state = State()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
