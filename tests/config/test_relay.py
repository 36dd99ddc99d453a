"""Wakes through a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from common import live
from config import relay
from tests import servers


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Redis, and no threads of an earlier one."""
    monkeypatch.setattr(relay, "_threads", {})
    monkeypatch.setattr(relay, "_BREAK_SECONDS", 0.2)
    with servers.redis(tmp_path) as started:
        use(monkeypatch, started)
        yield started


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The settings of a process with that Redis."""
    monkeypatch.setattr(settings, "BACKSTOP", settings.BACKSTOP.model_copy(update={"redis_url": url}))
    monkeypatch.setattr(settings, "LIVE_RELAY", "config.relay")


@pytest.mark.usefixtures("url")
def test_a_wake_arrives_at_once() -> None:
    heard = threading.Semaphore(0)
    relay.listen(heard.release)
    assert heard.acquire(timeout=60), "once it has subscribed, it looks"
    took = []
    for _ in range(5):
        began = time.monotonic()
        relay.tell()
        assert heard.acquire(timeout=60)
        took.append(time.monotonic() - began)
    # By looking each second it would take a second each time; a busy machine is late now and then.
    assert min(took) < 0.1, took


@pytest.mark.usefixtures("url")
def test_many_wakes_are_told_as_one() -> None:
    heard: list[float] = []
    relay.listen(lambda: heard.append(time.monotonic()))
    servers.wait_until(lambda: heard, seconds=60)
    for _ in range(1000):
        relay.tell()
    servers.wait_until(lambda: len(heard) > 1, seconds=60)
    time.sleep(0.2)
    assert len(heard) < 10


@pytest.mark.usefixtures("url")
def test_streams_are_woken_by_other_processes() -> None:
    live.listen()
    before = live.wait(60, live.wait(0, -1))
    relay.tell()
    assert live.wait(60, before) > before
    live.wake()
    assert live.wait(0, -1) > before + 1


def test_telling_waits_for_nothing_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_threads", {})
    use(monkeypatch, f"redis://127.0.0.1:{servers.free_port()}/0")
    began = time.monotonic()
    for _ in range(100):
        relay.tell()
    assert time.monotonic() - began < 10 * relay._BREAK_SECONDS
