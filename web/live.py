"""Live updates: a stream of version bumps per page; the page then fetches the fragment that changed.

A stream says only "version 17": what is shown comes by an ordinary request with its own permission check. The row's
`version` is the truth, read each second; a wake brings the news within a tenth of one, from other processes by Redis.
Where streams do not get through, `/version/…` answers the same by polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

from asgiref.sync import sync_to_async
from django.db import DatabaseError, close_old_connections, connections
from django.db.models import QuerySet, Sum
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token

from catalog import presence
from catalog.actors import Actor
from catalog.models import Team
from catalog.permissions import Permission
from common import clock, live
from common.errors import NotFound
from incidents.models import Delivery, Incident, Postmortem
from runbooks.models import Run
from web.policy import PersonRequest, allow, team_ids, visible
from web.release import release

POLL_SECONDS = 1.0
LOOK_SECONDS = 0.05
HEARTBEAT_SECONDS = 15.0
# What people are seen to watch; the first page and teams tell nobody anything.
WATCHED = frozenset({"incident", "run", "postmortem"})
# A stream ends by itself, so that a sign-out, a lost role and a new release reach it; browsers connect again at once.
LONGEST_SECONDS = 600.0


def version_of(actor: Actor, kind: str, key: str) -> int:
    """The version of a thing that the actor may see; NotFound otherwise, also for what does not exist."""
    rows: QuerySet[Incident] | QuerySet[Run] | QuerySet[Postmortem] | QuerySet[Team]
    if kind == "home":
        # The first page shows all teams of its reader: any of them moving moves it.
        return Team.objects.filter(pk__in=team_ids(actor)).aggregate(sum=Sum("version"))["sum"] or 0
    if kind == "incident" and key.isdecimal():
        rows = visible(Incident.objects.filter(number=int(key[:18])), actor)
    elif kind == "postmortem" and key.isdecimal():
        rows = visible(Postmortem.objects.filter(incident__number=int(key[:18])), actor, team="incident__team")
    elif kind == "run" and _is_uuid(key):
        rows = visible(Run.objects.filter(uuid=key), actor)
    elif kind == "delivery" and _is_uuid(key):
        return _delivery_version(actor, key)
    elif kind == "team":
        rows = Team.objects.filter(slug=key, pk__in=team_ids(actor))
    else:
        rows = Team.objects.none()
    found = rows.values_list("version", flat=True).first()
    if found is None:
        raise _nothing()
    return int(found)


def _nothing() -> NotFound:
    return NotFound("There is no such thing here.", fix="Check the address, or ask for membership of its team.")


def _delivery_version(actor: Actor, key: str) -> int:
    """A delivery has no version of its own; it changes with each attempt and once more when it is processed."""
    rows = visible(Delivery.objects.filter(uuid=key), actor, team="endpoint__team")
    found = rows.values_list("attempts", "processed_at").first()
    if found is None:
        raise _nothing()
    attempts, processed_at = found
    return int(attempts) * 2 + (processed_at is not None)


def _looked(actor: Actor, kind: str, key: str) -> int:
    """The version, noting that its reader is here (catalog.presence)."""
    found = version_of(actor, kind, key)
    if actor.user is not None and kind in WATCHED:
        presence.seen(actor.user, kind, key)
    return found


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and all(c in "0123456789abcdef-" for c in text.lower()) and text.count("-") == 4


@allow(Permission.SEE)
def version(request: PersonRequest, kind: str, key: str) -> HttpResponse:
    """The version now, for pages that poll or were cut off: with the release, and a token for forms still open."""
    now = {"version": _looked(request.actor, kind, key), "release": release(), "csrf": get_token(request)}
    response = JsonResponse(now)
    response["Cache-Control"] = "no-store"
    return response


@allow(Permission.SEE)
async def stream(request: PersonRequest, kind: str, key: str) -> HttpResponseBase:
    """Server-sent events: `bump` with the version, at the start unless the reader has it, and at each change.

    `beat` comes first and each 15 s: a page that hears none knows that its connection is dead, though nobody said so.
    """
    live.listen()
    # Counted before the row is read: what changes in between wakes the stream instead of waiting for its next look.
    wakes = live.wait(0, -1)
    now = await sync_to_async(_looked)(request.actor, kind, key)
    told = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
    seen = int(told[:18]) if told.isdecimal() else -1
    response = StreamingHttpResponse(
        _bumps(request.actor, kind, key, now, seen, wakes), content_type="text/event-stream"
    )
    response["Cache-Control"] = "no-cache"
    # nginx must pass each event on at once.
    response["X-Accel-Buffering"] = "no"
    return response


async def _bumps(actor: Actor, kind: str, key: str, current: int, seen: int, wakes: int) -> AsyncIterator[bytes]:
    # A stream lives for minutes; the connection that its permission check used goes back to the pool now.
    await sync_to_async(connections.close_all)()
    began = beat = noted = time.monotonic()
    yield b"retry: 2000\n\n" + await asyncio.to_thread(_beat)
    while time.monotonic() - began < LONGEST_SECONDS:
        if current != seen:
            seen = current
            beat = time.monotonic()
            yield b'id: %d\nevent: bump\ndata: {"version": %d}\n\n' % (current, current)
        elif time.monotonic() - beat >= HEARTBEAT_SECONDS:
            beat = time.monotonic()
            yield await asyncio.to_thread(_beat)
        await _next_look(wakes)
        wakes = live.wait(0, -1)
        try:
            due = time.monotonic() - noted >= HEARTBEAT_SECONDS
            if due:
                noted = time.monotonic()
            current = await asyncio.to_thread(_read, actor, kind, key, look=_looked if due else version_of)
        except NotFound:
            return
        except DatabaseError:
            # Away for a moment: what was shown stays, and the stream tells when there is more.
            continue


def _beat() -> bytes:
    """The server's time, for countdowns on phones whose clock is wrong, and its release."""
    try:
        now = clock.now().isoformat(timespec="milliseconds")
    except DatabaseError:
        now = ""
    finally:
        close_old_connections()
    return f"event: beat\ndata: {json.dumps({'now': now, 'release': release()})}\n\n".encode()


async def _next_look(wakes: int) -> None:
    """Until somebody in this process changed something since that many wakes, at most a second; costs no thread.

    What changes in quick succession is one look: two are never closer than LOOK_SECONDS.
    """
    loop, woken, began = asyncio.get_running_loop(), asyncio.Event(), time.monotonic()

    def wake() -> None:
        # A loop that was closed meanwhile has no streams left.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(woken.set)

    with live.calling(wake):
        if live.wait(0, wakes) == wakes:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), POLL_SECONDS)
    await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - began)))


def _read(actor: Actor, kind: str, key: str, *, look: Callable[[Actor, str, str], int]) -> int:
    try:
        return look(actor, kind, key)
    finally:
        # Back to the pool on PostgreSQL; a file stays open for the next look, in one of a few threads.
        close_old_connections()
