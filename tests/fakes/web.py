"""A small real web server on loopback, answering what a test tells it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from common import http


@dataclass(frozen=True)
class Asked:
    """One request as it came in; `form` joins query and form fields."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    form: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """What to answer; `hang` seconds pass before it."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0


class Web:
    """The running server: its address and what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


@contextmanager
def serve(answer: Callable[[Asked], Reply], *, tls: tuple[Path, Path] | None = None) -> Iterator[Web]:
    """Serve on a free loopback port, which is opened for our own requests, until the block ends."""
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            split = urlsplit(self.path)
            fields = parse_qsl(split.query, keep_blank_values=True)
            if "form" in self.headers.get("Content-Type", ""):
                fields += parse_qsl(body.decode(), keep_blank_values=True)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, split.path, headers, body, dict(fields))
            web.asked.append(asked)
            reply = answer(asked)
            stop.wait(reply.hang)
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
            except OSError:
                pass

        do_GET = do_PUT = do_POST = do_DELETE = _any

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    web = Web(f"http://127.0.0.1:{server.server_address[1]}")
    if tls is not None:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(*tls)
        server.socket = secure.wrap_socket(server.socket, server_side=True)
        web.url = web.url.replace("http://127.0.0.1", "https://localhost")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    http.allow(web.url)
    try:
        yield web
    finally:
        http.forget(web.url)
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_raw(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A bare TCP server for what no decent web server does; gives its address, which is opened for our requests."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, suppress(OSError):
                talk(peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    http.allow(url)
    try:
        yield url
    finally:
        http.forget(url)
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)


def unused_url() -> str:
    """A loopback address on which nobody listens; not opened."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
