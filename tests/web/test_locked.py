"""F20: while another process holds SQLite's lock, the door for alerts says so in time, and loses nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from incidents.models import Delivery
from tests.factories import make_team, make_user
from tests.web.test_hooks import Sender
from web import accounts

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has no such lock"),
]
PATIENCE = 2
HOLD = """
import sqlite3, sys
lock = sqlite3.connect(sys.argv[1], isolation_level=None)
lock.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Patience of two seconds instead of twenty, for connections made from now on."""
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", PATIENCE)
    connection.close()
    yield
    connection.close()


@contextmanager
def held_elsewhere() -> Iterator[None]:
    """Another process writes all the while."""
    command = [sys.executable, "-c", HOLD, str(connection.settings_dict["NAME"])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield


def test_senders_are_told_in_time_and_their_retry_is_stored_once() -> None:
    sender = Sender(make_team())
    # The first request of a process takes longer than the others.
    assert sender.post(b"{}").status_code == 202
    answers: list[tuple[float, HttpResponse]] = []

    def post() -> None:
        began, answer = time.monotonic(), sender.post()
        answers.append((time.monotonic() - began, answer))
        connection.close()

    threads = [threading.Thread(target=post) for _ in range(3)]
    with held_elsewhere():
        for thread in threads:
            thread.start()
            # So that the next one's turn comes before its patience ends.
            time.sleep(PATIENCE / 4)
        for thread in threads:
            thread.join()
    assert [answer.status_code for _, answer in answers] == [503] * 3
    assert all(int(answer["Retry-After"]) > 0 for _, answer in answers)
    # Each with patience of its own from when its turn comes, the third would wait two and a half times as long.
    assert max(seconds for seconds, _ in answers) < 2.2 * PATIENCE
    assert Delivery.objects.count() == 1
    assert [sender.post().status_code, sender.post().status_code] == [202, 202]
    assert Delivery.objects.count() == 2


def test_a_page_whose_session_cannot_be_saved_says_so() -> None:
    client = Client(raise_request_exception=False)
    client.force_login(make_user("sam", team=make_team()))
    session = client.session
    session["began_at"] = session["seen_at"] = int(time.time()) - accounts.SEEN_EVERY_SECONDS
    session.save()
    with held_elsewhere():
        answer = client.get("/incidents")
    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert client.get("/incidents").status_code == 200
