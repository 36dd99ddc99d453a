"""A small real mail server on loopback (enough of RFC 5321), which keeps what it is given or refuses."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from email.policy import default


class Mail:
    """The running server: its address and the messages it took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.taken: list[tuple[str, Message]] = []


@contextmanager
def serve(*, refuse: str = "") -> Iterator[Mail]:
    """Serve on a free loopback port; `refuse` is the answer to every recipient, e.g. "550 no such mailbox"."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipient = ""
            self._say("220 fake")
            for raw in self.rfile:
                line = raw.decode("ascii", "replace").strip()
                verb = line[:4].upper()
                if verb in ("EHLO", "HELO"):
                    self._say("250 fake")
                elif verb == "RCPT" and refuse:
                    self._say(refuse)
                elif verb == "RCPT":
                    recipient = line.partition("<")[2].rstrip(">")
                    self._say("250 ok")
                elif verb == "DATA":
                    self._say("354 go on")
                    mail.taken.append((recipient, message_from_bytes(self._body(), policy=default)))
                    self._say("250 taken")
                elif verb == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    self._say("250 ok")

        def _body(self) -> bytes:
            lines = []
            for raw in self.rfile:
                if raw == b".\r\n":
                    break
                lines.append(raw.removeprefix(b".") if raw.startswith(b"..") else raw)
            return b"".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    mail = Mail(f"smtp://127.0.0.1:{server.server_address[1]}?from=backstop@example.com")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield mail
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
