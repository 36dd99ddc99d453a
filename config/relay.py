"""Wakes from process to process by Redis. A courtesy: one that is lost costs a reader a second (common/live.py).

Named in settings.LIVE_RELAY, so that an embedded process never imports it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from redis import Redis, RedisError

log = logging.getLogger(__name__)
CHANNEL = "backstop:live"
# Wakes that come together go out as one; a reader does not see the difference.
_GATHER_SECONDS = 0.02
_BREAK_SECONDS = 2.0
_TIMEOUT_SECONDS = 1.0
_SILENT_SECONDS = 15.0
_to_tell = threading.Event()
_start = threading.Lock()
_threads: dict[str, threading.Thread] = {}


def tell() -> None:
    """Wake the other processes soon; never waits for Redis."""
    _to_tell.set()
    _ensure("live-teller", lambda: _tell(settings.BACKSTOP.redis_url))


def listen(wake: Callable[[], None]) -> None:
    """Call `wake` from now on whenever another process tells; asked twice it is done once."""
    _ensure("live-listener", lambda: _hear(settings.BACKSTOP.redis_url, wake))


def _ensure(name: str, work: Callable[[], None]) -> None:
    with _start:
        found = _threads.get(name)
        # A forked child has the parent's thread object, but not its thread.
        if found is None or not found.is_alive():
            _threads[name] = threading.Thread(target=work, name=name, daemon=True)
            _threads[name].start()


def _connect(url: str, timeout: float | None) -> Redis:
    client: Redis = Redis.from_url(url, socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=timeout)
    return client


def _tell(url: str) -> None:
    client = _connect(url, _TIMEOUT_SECONDS)
    while True:
        _to_tell.wait()
        time.sleep(_GATHER_SECONDS)
        _to_tell.clear()
        try:
            client.publish(CHANNEL, b"")
        except (RedisError, OSError) as error:
            log.warning("streams elsewhere are not woken: %s", type(error).__name__)
            time.sleep(_BREAK_SECONDS)


def _hear(url: str, wake: Callable[[], None]) -> None:
    # A test that is over forgets its threads: what they try again would be heard by the next.
    while _threads.get("live-listener") is threading.current_thread():
        try:
            with _connect(url, None).pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
                heard.subscribe(CHANNEL)
                # What was told before the subscription is found by looking.
                wake()
                while True:
                    if heard.get_message(timeout=_SILENT_SECONDS) is not None:
                        wake()
                    else:
                        heard.ping()
        except (RedisError, OSError) as error:
            log.warning("wakes of other processes are not heard: %s", type(error).__name__)
            time.sleep(_BREAK_SECONDS)
