"""A TCP proxy on loopback that does what networks do: refuse, swallow, drop one direction, delay, cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["pass", "refuse", "blackhole", "half-open"]


class Proxy:
    """Between a client and `host:port`; what it does may be changed at any time, also for connections that are open."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self.mode: Mode = "pass"
        # Seconds before each piece of data from the server; and how many pieces had to wait.
        self.latency = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """The address as it was given, by way of the proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        given = self._to
        login, _, _ = given.netloc.rpartition("@")
        return given._replace(netloc=f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}").geturl()

    def cut(self) -> None:
        """End every open connection at once, as a restarted machine does."""
        self._loop.call_soon_threadsafe(self._abort)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        """Listen no more."""
        self._loop.call_soon_threadsafe(self._abort)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with suppress(RuntimeError):
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            writer.transport.abort()
            return
        try:
            back, out = await asyncio.open_connection(self._to.hostname, self._to.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, out}
        try:
            await asyncio.gather(self._copy(reader, out, ways=("blackhole",)), self._copy(back, writer, back=True))
        finally:
            self._writers -= {writer, out}

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        ways: tuple[Mode, ...] = ("blackhole", "half-open"),
        back: bool = False,
    ) -> None:
        """One direction; what is dropped is read all the same, so that nobody notices."""
        with suppress(OSError):
            while data := await reader.read(65536):
                if back and self.latency:
                    await asyncio.sleep(self.latency)
                if self.mode not in ways:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@contextmanager
def between(url: str) -> Iterator[Proxy]:
    """A proxy to that address, until the block ends."""
    proxy = Proxy(url)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
