"""What the crash tests' service is made of outside Backstop, in the test's own process: metrics, a flag, and effects.

It counts what was really changed, per idempotency key, and can hold an answer back, so that a test can kill Backstop at
that very moment: before the change or after it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.fakes.prometheus import Answers
from tests.fakes.web import Asked, Reply, serve

HELD_SECONDS = 120.0


class Upstream:
    """The state of the world, and what is being held back."""

    def __init__(self) -> None:
        self.url = ""
        self.metrics = Answers()
        self.metrics.line("error_rate", lambda at: 0.4 if self.model == "v2" else 0.0)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """As at the beginning: v2 serves and fails, nothing was changed."""
        self.model = "v2"
        self.flag_changes = 0
        # How often each class of effect really happened, and each key; the keys that were seen.
        self.effects: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.times: Counter[str] = Counter()
        self._held = ""
        self._held_after = self._lost = False
        self.caught, self._released = threading.Event(), threading.Event()

    def hold(self, method: str, path: str, *, after: bool = False) -> None:
        """Hold back the next answers to these requests, before what they change happens or `after` it."""
        self.caught, self._released = threading.Event(), threading.Event()
        self._held, self._held_after, self._lost = f"{method} {path}", after, False

    def release(self, *, lost: bool = False) -> None:
        """Hold nothing back any more. `lost`: whoever asked is dead, and what was not done yet is not done."""
        self._held, self._lost = "", lost
        self._released.set()

    def reply(self, asked: Asked) -> Reply:
        """One request."""
        held = bool(self._held) and f"{asked.method} {asked.path}".startswith(self._held)
        if held and not self._held_after:
            self._wait()
            if self._lost:
                return Reply(status=503)
        answer = self._answer(asked)
        if held:
            self._wait()
        return answer

    def _wait(self) -> None:
        self.caught.set()
        self._released.wait(HELD_SECONDS)

    def _answer(self, asked: Asked) -> Reply:
        key = asked.headers.get("idempotency-key", "")
        with self._lock:
            if asked.path.startswith("/api/v1/"):
                return self.metrics.reply(asked)
            if asked.path == "/flags/model":
                return self._flag(asked, key)
            kind = asked.path.removeprefix("/effects/")
            if kind == "look":
                return Reply(json.dumps({"value": 1}).encode())
            if asked.method == "GET":
                return Reply(json.dumps({"happened": key in self.keys}).encode())
            # Only this class of systems knows a key again.
            if not (kind == "keyed" and key in self.keys):
                self.effects[kind] += 1
                self.times[key] += 1
            self.keys.add(key)
            return Reply()

    def _flag(self, asked: Asked, key: str) -> Reply:
        if asked.method == "PUT" and key not in self.keys:
            wanted = json.loads(asked.body)
            if wanted["expect"] != self.model:
                return Reply(status=409)
            self.model = wanted["value"]
            self.flag_changes += 1
            self.keys.add(key)
        return Reply(json.dumps({"name": "model", "value": self.model}).encode())


@contextmanager
def running() -> Iterator[Upstream]:
    """Serve until the block ends."""
    upstream = Upstream()
    with serve(upstream.reply) as web:
        upstream.url = web.url
        yield upstream
        upstream.release()
