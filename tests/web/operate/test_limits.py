"""Bodies over 5 MiB or slower than ten seconds never reach Django; the bridge answers as WSGI does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from config import limits
from config.bridge import Bridge, environ


def ask(application: Any, parts: list[bytes], headers: list[tuple[bytes, bytes]] | None = None) -> list[dict[str, Any]]:
    """Send a request in parts (then silence) and collect what is answered."""
    sent: list[dict[str, Any]] = []
    waiting = list(parts)
    scope = {
        "type": "http", "method": "POST", "path": "/hooks/x", "query_string": b"a=1", "http_version": "1.1",
        "headers": headers or [], "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.sleep(3600)
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": body != b"end"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent


def echo(env: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with the body it got."""
    start_response("202 Accepted", [("X-Length", env["CONTENT_LENGTH"])])
    return [env["wsgi.input"].read()]


def test_it_passes_a_body_on_in_one_piece() -> None:
    start, body = ask(Bridge(echo), [b"one ", b"end"])
    assert start["status"] == 202
    assert body["body"] == b"one end"
    assert (b"content-length", b"7") in start["headers"]


def test_it_refuses_a_declared_size_without_reading() -> None:
    start, body = ask(Bridge(echo), [], [(b"content-length", b"5242881")])
    assert start["status"] == 413
    assert "5 MiB" in json.loads(body["body"])["title"]


def test_it_refuses_a_size_that_was_not_declared() -> None:
    start, _ = ask(Bridge(echo), [b"x" * 3_000_000, b"x" * 3_000_000, b"end"])
    assert start["status"] == 413


def test_it_refuses_a_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    start, _ = ask(Bridge(echo), [b"begun"])
    assert start["status"] == 408


def test_it_says_busy_rather_than_queue_without_end() -> None:
    start, _ = ask(Bridge(echo, threads=0 + 1, waiting=-1), [b"end"])
    assert start["status"] == 503
    assert (b"retry-after", b"2") in start["headers"]


def test_no_header_can_pass_itself_off_as_another() -> None:
    headers = [(b"x_forwarded_for", b"10.0.0.1"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x")]
    scope = {"method": "GET", "path": "/é", "query_string": b"", "http_version": "1.1", "headers": headers}
    env = environ(scope, b"")
    assert "HTTP_X_FORWARDED_FOR" not in env
    assert env["HTTP_COOKIE"] == "a=1; b=2"
    assert env["PATH_INFO"].encode("latin-1").decode() == "/é"
