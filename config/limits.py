"""Refusing what is too big or too slow before Django reads a byte of it (nginx does the same in production)."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from web import problems

log = logging.getLogger(__name__)

MAX_BYTES = 5 * 1024 * 1024
MAX_SECONDS = 10.0
# So much of a body that is too big is read and dropped before it is refused: a sender that still writes when the
# connection closes sees a broken pipe instead of the 413, takes it for a fault of the network and sends it for ever.
DROPPED_BYTES = 4 * MAX_BYTES

Message = dict[str, Any]


class Refused(Exception):
    """A request that is not passed on: its status, the word for programs, and what the sender is told."""

    def __init__(self, status: int, code: str, sentence: str, fix: str) -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.fix = status, code, sentence, fix


TOO_BIG = Refused(
    413, "too_large", "The body is larger than 5 MiB.", "Send less in one request: fewer alerts, or a file in parts."
)
TOO_SLOW = Refused(408, "too_slow", "The body did not arrive within 10 seconds.", "Send it again.")
GONE = Refused(400, "incomplete", "The sender left before the body was complete.", "Send it again.")


async def read_body(scope: Message, receive: Any) -> bytes:
    """The whole body, or Refused: a declared or actual size over 5 MiB, or more than 10 seconds of waiting."""
    declared = next((int(v) for n, v in scope["headers"] if n == b"content-length" and v.isdigit()), 0)
    if declared > DROPPED_BYTES:
        raise TOO_BIG
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(MAX_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise GONE
                size += len(message.get("body", b""))
                if max(size, declared) <= MAX_BYTES:
                    parts.append(message.get("body", b""))
                elif size > DROPPED_BYTES:
                    raise TOO_BIG
                if not message.get("more_body"):
                    break
    except TimeoutError:
        raise (TOO_BIG if max(size, declared) > MAX_BYTES else TOO_SLOW) from None
    if max(size, declared) > MAX_BYTES:
        raise TOO_BIG
    return b"".join(parts)


async def answer(scope: Message, send: Any, refused: Refused) -> None:
    """Tell the sender, as problem+json, and close the connection: the rest of the body is not wanted."""
    offered = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    given = problems.new_request_id(offered.decode("latin-1"))
    told = problems.told(
        status=refused.status, code=refused.code, sentence=refused.sentence, fix=refused.fix, request_id=given
    )
    # Without the path: that of a hook holds its token.
    log.warning("refused with %d: %s (request %s)", refused.status, refused.sentence, given)
    body = json.dumps(told).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
    headers += [(b"connection", b"close"), (b"x-request-id", given.encode())]
    if refused.status == 503:
        headers += [(b"retry-after", b"2")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Limits:
    """An ASGI application behind the limits; it gets the body in one piece."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Read the body within the limits, then pass the request on."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        try:
            body = await read_body(scope, receive)
        except Refused as refused:
            await answer(scope, send, refused)
            return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return dict(await receive())
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.application(scope, replay, send)
