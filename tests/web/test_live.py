"""Streams of version bumps."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.http import StreamingHttpResponse
from django.test import AsyncClient, Client

from catalog import presence
from catalog.actors import ENGINE
from catalog.models import Presence, User
from common import live
from incidents import timeline
from incidents.models import Incident
from tests.factories import make_incident, make_team, make_user
from tests.factories_web import signed_in
from web import live as streams


def bump(incident: Incident, text: str = "news") -> None:
    """Something happens, in another thread of this process."""

    def write() -> None:
        timeline.record(Incident.objects.get(pk=incident.pk), kind="note", actor=ENGINE, text=text)
        connections.close_all()
        live.wake()

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()


async def listen(
    user: User,
    path: str,
    then: Callable[[], None] | None = None,
    *,
    events: int,
    headers: dict[str, str] | None = None,
    until_beat: bool = False,
) -> list[int]:
    """The first events of a stream; `then` happens after the first. With `until_beat`, those before a heartbeat."""
    client = AsyncClient()
    await asyncio.to_thread(_sign_in, client, user)
    answer: Any = await client.get(path, headers=headers or {})
    assert isinstance(answer, StreamingHttpResponse), (answer.status_code, getattr(answer, "content", b""))
    assert answer["Content-Type"].startswith("text/event-stream")
    found: list[int] = []
    stream: Any = aiter(answer)

    async def read(stream: AsyncIterator[bytes]) -> None:
        beats = 0
        async for chunk in stream:
            lines = dict(line.split(": ", 1) for line in chunk.decode().strip().splitlines() if ": " in line)
            if lines.get("event") == "bump":
                version = json.loads(lines["data"])["version"]
                assert lines["id"] == str(version)
                found.append(version)
                if len(found) == 1 and then is not None:
                    await asyncio.to_thread(then)
            # The first beat opens the stream.
            beats += b"event: beat" in chunk
            if len(found) >= events or (until_beat and beats > 1):
                return

    await asyncio.wait_for(read(stream), 50)
    await stream.aclose()
    return found


def _sign_in(client: AsyncClient, user: User) -> None:
    browser = signed_in(user)
    client.cookies = browser.cookies
    connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_it_tells_the_version_and_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    monkeypatch.setattr(streams, "POLL_SECONDS", 60.0)
    path = f"/live/incident/{incident.number}"
    first, second = asyncio.run(listen(user, path, lambda: bump(incident), events=2))
    assert second == first + 1, "without waiting for the next look at the row"


@pytest.mark.django_db(transaction=True)
def test_it_tells_at_once_what_was_missed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    path = f"/live/incident/{incident.number}"
    missed = asyncio.run(listen(user, path, events=1, headers={"Last-Event-ID": "999"}))
    assert missed == [0]
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    known = asyncio.run(listen(user, path, events=1, headers={"Last-Event-ID": "0"}, until_beat=True))
    assert known == []


@pytest.mark.django_db
def test_polling_tells_the_same() -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    client = signed_in(user)
    before = client.get(f"/version/incident/{incident.number}").json()["version"]
    timeline.record(incident, kind="note", actor=ENGINE, text="x")
    assert client.get(f"/version/incident/{incident.number}").json()["version"] == before + 1
    assert client.get("/version/home/me").status_code == 200
    assert client.get(f"/version/team/{team.slug}").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "incident/1",
        "incident/x",
        "incident/²",
        "incident/" + "9" * 40,
        "run/x",
        "nosuch/1",
        "team/x",
        "run/" + "-" * 36,
    ],
)
def test_it_knows_nothing_of_what_is_not_there(path: str) -> None:
    client = signed_in(make_user(team=make_team()))
    assert client.get(f"/version/{path}").status_code == 404
    assert client.get(f"/live/{path}").status_code == 404


@pytest.mark.django_db
def test_it_tells_strangers_nothing() -> None:
    incident = make_incident(make_team())
    client = signed_in(make_user(team=make_team()))
    for door in ("live", "version"):
        assert client.get(f"/{door}/incident/{incident.number}").status_code == 404
        assert Client().get(f"/{door}/incident/{incident.number}").status_code == 401


def test_a_wake_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL_SECONDS", 60.0)

    async def waited() -> float:
        began = time.monotonic()
        wakes = live.wait(0, -1)
        asyncio.get_running_loop().call_later(0.2, live.wake)
        await streams._next_look(wakes)
        return time.monotonic() - began

    assert asyncio.run(waited()) < 30


def test_a_burst_of_wakes_is_one_look_and_leaves_nothing_behind() -> None:
    async def looks() -> int:
        began, found = time.monotonic(), 0
        while time.monotonic() - began < 4 * streams.LOOK_SECONDS:
            wakes = live.wait(0, -1)
            live.wake()
            await streams._next_look(wakes)
            found += 1
        return found

    assert asyncio.run(looks()) <= 5
    assert not live._calls


def test_a_wake_before_the_wait_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL_SECONDS", 60.0)
    wakes = live.wait(0, -1)
    live.wake()
    began = time.monotonic()
    asyncio.run(streams._next_look(wakes))
    assert time.monotonic() - began < 30


@pytest.mark.django_db(transaction=True)
def test_an_open_stream_notes_who_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(presence, "RENEW_AFTER", timedelta(0))
    seen_at: list[datetime] = []

    def note() -> None:
        seen_at.append(Presence.objects.get(user=user, kind="incident", key=str(incident.number)).seen_at)
        connections.close_all()

    asyncio.run(listen(user, f"/live/incident/{incident.number}", note, events=9, until_beat=True))
    assert Presence.objects.get(user=user).seen_at > seen_at[0], "at the start and with each heartbeat"


@pytest.mark.django_db
def test_polling_notes_who_is_here_and_strangers_leave_no_trace() -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    signed_in(user).get(f"/version/incident/{incident.number}")
    signed_in(user).get("/version/home/me")
    signed_in(make_user(team=make_team())).get(f"/version/incident/{incident.number}")
    assert presence.here("incident", str(incident.number)) == [user]
    assert Presence.objects.count() == 1


@pytest.mark.django_db
def test_a_presence_that_cannot_be_noted_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    team = make_team()
    user, incident = make_user(team=team), make_incident(team)
    client = signed_in(user)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Presence._meta.db_table} RENAME TO elsewhere")
    assert client.get(f"/version/incident/{incident.number}").status_code == 200
