"""Bodies over 5 MiB or slower than ten seconds never reach Django; the bridge answers as WSGI does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from config import limits
from config.bridge import Bridge, environ


def ask(
    application: Any, waiting: list[bytes], headers: list[tuple[bytes, bytes]] | None = None, path: str = "/api/x"
) -> list[dict[str, Any]]:
    """Send a request in parts (then silence) and collect what is answered; what was not read is left in `waiting`."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"a=1", "http_version": "1.1",
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


def told(start: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The problem+json of an answer, checked for what the guide promises of every error."""
    headers = dict(start["headers"])
    problem: dict[str, Any] = json.loads(body["body"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert problem["status"] == start["status"]
    assert all(problem[name] for name in ("detail", "fix", "code", "request_id"))
    assert problem["request_id"].encode() == headers[b"x-request-id"]
    return problem


def echo(env: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with the body it got."""
    start_response("202 Accepted", [("X-Length", env["CONTENT_LENGTH"])])
    return [env["wsgi.input"].read()]


def test_it_passes_a_body_on_in_one_piece() -> None:
    start, body = ask(Bridge(echo), [b"one ", b"end"])
    assert start["status"] == 202
    assert body["body"] == b"one end"
    assert (b"content-length", b"7") in start["headers"]


def test_it_refuses_a_huge_declared_size_without_reading() -> None:
    start, body = ask(Bridge(echo), [], [(b"content-length", b"99999999999")])
    assert start["status"] == 413
    assert "5 MiB" in told(start, body)["detail"]


def test_it_hears_a_body_that_is_too_big_to_its_end_so_that_its_sender_hears_the_answer() -> None:
    parts = [b"x" * 3_000_000, b"x" * 3_000_000, b"end"]
    for headers in ([], [(b"content-length", b"6000003")]):
        waiting = list(parts)
        start, _ = ask(Bridge(echo), waiting, headers)
        assert start["status"] == 413
        assert waiting == [], "nothing of it is left in the pipe"


def test_it_does_not_listen_without_end() -> None:
    start, _ = ask(Bridge(echo), [b"x" * 3_000_000] * 20)
    assert start["status"] == 413


def test_it_lets_the_door_for_alerts_know_what_was_refused() -> None:
    start, body = ask(Bridge(echo), [b"x" * 6_000_000, b"end"], path="/hooks/generic/t")
    assert (b"x-length", b"5242881") in start["headers"]
    assert (b"connection", b"close") in start["headers"]
    assert body["body"] == b""


def test_it_refuses_a_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.05)
    start, body = ask(Bridge(echo), [b"begun"])
    assert (start["status"], told(start, body)["code"]) == (408, "too_slow")


def test_it_says_busy_rather_than_queue_without_end() -> None:
    start, body = ask(Bridge(echo, threads=0 + 1, waiting=-1), [b"end"])
    assert (start["status"], told(start, body)["code"]) == (503, "busy")
    assert (b"retry-after", b"2") in start["headers"]


def test_it_tells_what_every_error_tells_with_the_id_of_the_request(caplog: pytest.LogCaptureFixture) -> None:
    for number, (offered, taken) in enumerate([(b"from-the-proxy-1", True), (b"no\nid at all", False)]):
        start, body = ask(Bridge(echo), [], [(b"content-length", b"99999999999"), (b"x-request-id", offered)])
        problem = told(start, body)
        assert (problem["request_id"] == offered.decode()) is taken
        assert f"(request {problem['request_id']})" in caplog.messages[number]


def test_no_header_can_pass_itself_off_as_another() -> None:
    headers = [(b"x_forwarded_for", b"10.0.0.1"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x")]
    scope = {"method": "GET", "path": "/é", "query_string": b"", "http_version": "1.1", "headers": headers}
    env = environ(scope, b"", 0)
    assert "HTTP_X_FORWARDED_FOR" not in env
    assert env["HTTP_COOKIE"] == "a=1; b=2"
    assert env["PATH_INFO"].encode("latin-1").decode() == "/é"
