"""Pages, API and hooks on threads of their own, behind the event loop that takes the connections.

Under ASGI Django gives every request a new thread, and with it a new database connection; measured, that is a third
slower on PostgreSQL with a pool and several times slower without. Fixed threads keep theirs open (docs/decisions/0009).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

from config.limits import MAX_BYTES, TOO_BIG, Refused, answer, read_body

Start = tuple[int, list[tuple[bytes, bytes]]]
# The doors that count what they refuse, for people to see: they are told of a body that was too big, without the body.
COUNTING = "/hooks/"
BUSY = Refused(503, "busy", "Too many requests are waiting.", "Try again in two seconds.")


class Bridge:
    """A WSGI application as an ASGI one: bodies and answers are held in memory, so streams do not belong here."""

    def __init__(self, application: Callable[..., Iterable[bytes]], *, threads: int = 8, waiting: int = 256) -> None:
        self.application = application
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="web")
        self.free = waiting + threads

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request; 503 with Retry-After when too many wait, rather than queue without end."""
        try:
            body, size = await _read(scope, receive)
            if self.free <= 0:
                raise BUSY
        except Refused as refused:
            await answer(scope, send, refused)
            return
        self.free -= 1
        try:
            loop = asyncio.get_running_loop()
            (status, headers), content = await loop.run_in_executor(
                self.executor, self._call, environ(scope, body, size)
            )
        finally:
            self.free += 1
        if size != len(body):
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _call(self, env: dict[str, Any]) -> tuple[Start, bytes]:
        started: list[Start] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
            encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            started.append((int(status[:3]), encoded))
            return lambda data: None

        parts = self.application(env, start_response)
        try:
            content = b"".join(parts)
        finally:
            # Django sends request_finished here, which gives the database connection back.
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        status, headers = started[-1]
        if not any(name == b"content-length" for name, _ in headers) and status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(content)))
        return (status, headers), content


async def _read(scope: dict[str, Any], receive: Any) -> tuple[bytes, int]:
    """The body and its size; one that was too big for a door that counts is empty, and a byte over the limit."""
    try:
        body = await read_body(scope, receive)
    except Refused as refused:
        if refused is TOO_BIG and scope["path"].startswith(COUNTING):
            return b"", MAX_BYTES + 1
        raise
    return body, len(body)


def environ(scope: dict[str, Any], body: bytes, size: int) -> dict[str, Any]:
    """The WSGI environment of an ASGI request."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    env: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(size),
    }
    for raw_name, raw_value in scope["headers"]:
        # A name with an underscore could pass itself off as another header once its dashes are replaced.
        if b"_" in raw_name or raw_name in (b"content-length", b"transfer-encoding"):
            continue
        name, value = raw_name.decode("latin-1").upper().replace("-", "_"), raw_value.decode("latin-1")
        key = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        joint = "; " if name == "COOKIE" else ","
        env[key] = f"{env[key]}{joint}{value}" if key in env else value
    return env
