"""Proof of life: while this process works on a step, one thread renews the lease; without it, others take over."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection

from common import clock
from runbooks.models import StepRun

log = logging.getLogger(__name__)


@dataclass
class Held:
    """One step in the hands of one thread of this process."""

    step_run_id: int
    fence: int
    thread: threading.Thread
    # CLOCK_BOOTTIME where there is one: a suspended machine must not believe that it still has time.
    ends: float
    lost: bool = False


_held: dict[int, Held] = {}
_lock = threading.Lock()
_renewer: threading.Thread | None = None


def _elapsed() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def until() -> timedelta:
    """How long a lease lasts without renewal."""
    return timedelta(seconds=settings.BACKSTOP.lease_seconds)


def hold(step_run_id: int, fence: int, *, seconds: float) -> Held:
    """Start renewing; after `seconds`, the attempt's own limit, the lease is let go whatever the thread does.

    A claim inside an open transaction is not renewed: no other connection sees it, so nobody can take it over, and the
    renewer, who has a connection of its own, would believe it lost.
    """
    held = Held(step_run_id, fence, threading.current_thread(), _elapsed() + seconds)
    if connection.in_atomic_block:
        return held
    with _lock:
        _held[step_run_id] = held
    _ensure_renewer()
    return held


def drop(held: Held) -> None:
    """Stop renewing."""
    with _lock:
        if _held.get(held.step_run_id) is held:
            del _held[held.step_run_id]


def is_ours(held: Held) -> bool:
    """Whether the lease still holds, asked of the database: the last look before something is sent."""
    if held.lost or _elapsed() > held.ends:
        return False
    return StepRun.objects.filter(
        pk=held.step_run_id, fence=held.fence, state="leased", lease_until__gt=clock.now(), cancel_requested=False
    ).exists()


def end_all() -> int:
    """End every lease, once it is known that no worker lives: the next tick takes the steps up. How many there were."""
    return StepRun.objects.filter(state="leased").update(lease_until=clock.now())


def renew_all() -> None:
    """Renew every lease whose thread is alive and whose limit has not passed."""
    with _lock:
        current = list(_held.values())
    for held in current:
        if not held.thread.is_alive() or _elapsed() > held.ends:
            drop(held)
            continue
        renewed = StepRun.objects.filter(pk=held.step_run_id, fence=held.fence, state="leased").update(
            lease_until=clock.now() + until()
        )
        if not renewed:
            held.lost = True
            drop(held)


def _ensure_renewer() -> None:
    global _renewer
    with _lock:
        if _renewer is None or not _renewer.is_alive():
            _renewer = threading.Thread(target=_renew_for_ever, name="lease-renewer", daemon=True)
            _renewer.start()


def _renew_for_ever() -> None:
    while True:
        time.sleep(settings.BACKSTOP.lease_seconds / 4)
        if not _held:
            continue
        try:
            renew_all()
        except DatabaseError as error:
            log.warning("leases could not be renewed: %s", type(error).__name__)
        finally:
            connection.close()
