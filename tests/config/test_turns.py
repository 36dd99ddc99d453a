"""Turns: in order, one at a time, and never for ever."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction

from catalog.models import Team
from config.sqlite.turns import TURN, Turn
from tests.factories import make_team


def _start(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_it_serves_in_the_order_of_waiting_even_if_the_last_one_asks_again() -> None:
    turn, served = Turn(), list[int]()
    turn.take(0)
    threads = []
    for number in range(5):

        def work(number: int = number) -> None:
            assert turn.take(10)
            served.append(number)
            turn.give()

        threads.append(_start(work))
        while len(turn._waiting) <= number:
            time.sleep(0.001)
    turn.give()
    assert turn.take(10)
    served.append(99)
    turn.give()
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3, 4, 99]


def test_its_owner_may_take_it_again_and_others_wait_for_all_of_it() -> None:
    turn, got = Turn(), list[bool]()
    assert turn.take(0)
    assert turn.take(0)
    turn.give()
    _start(lambda: got.append(turn.take(0.01))).join()
    turn.give()
    _start(lambda: got.append(turn.take(10))).join()
    assert got == [False, True]


def test_who_gave_up_is_not_served_later() -> None:
    turn = Turn()
    turn.take(0)
    _start(lambda: turn.take(0.01)).join()
    turn.give()
    assert turn.take(0.01), "nobody holds it"


# --- the turns of transactions ---------------------------------------------------------------------------------------
sqlite_only = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has a queue of its own")


def is_free() -> bool:
    """Whether another thread could begin to write."""
    got: list[bool] = []

    def look() -> None:
        got.append(TURN.take(0.01))
        if got[0]:
            TURN.give()

    _start(look).join()
    return got[0]


def commit() -> None:
    """A transaction that ends well."""
    with transaction.atomic():
        make_team()
        with transaction.atomic():
            assert not is_free()


def roll_back() -> None:
    """One that does not."""
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        raise ZeroDivisionError


def close() -> None:
    """One whose connection is closed under it."""
    with contextlib.suppress(DatabaseError), transaction.atomic():
        connection.close()


@sqlite_only
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ends", [commit, roll_back, close])
def test_a_transaction_gives_its_turn_back_however_it_ends(ends: Callable[[], None]) -> None:
    for _ in range(2):
        ends()
        assert is_free()


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_nobody_starves_while_one_thread_writes_all_the_time() -> None:
    """Polling for SQLite's lock, the second thread would get about one look in ten milliseconds of a busy lock."""
    stop = threading.Event()
    turns = 0
    waits: list[int] = []

    def write_on() -> None:
        nonlocal turns
        while not stop.is_set():
            with transaction.atomic():
                time.sleep(0.02)
            turns += 1
        connection.close()

    def write_now_and_then() -> None:
        for number in range(20):
            before = turns
            if number % 2:
                Team.objects.update(version=number)
            else:
                make_team()
            waits.append(turns - before)
        connection.close()

    busy = _start(write_on)
    _start(write_now_and_then).join()
    stop.set()
    busy.join()
    assert sorted(waits)[10] < 10, f"half of them got their turn after a few of the other's: {waits}"
