"""Outlasting a database that is away, or that refuses a transaction for a moment (restart, failover, deadlock)."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
# What a worker found out is kept in its memory for so long; later, its step is taken up by the class of its effect.
PATIENCE_SECONDS = 300.0
LONGEST_PAUSE = 5.0


def pause(seconds: float) -> None:
    """Wait; a test may put its clock in the place of this."""
    time.sleep(seconds)


def outlasted(store: Callable[P, T]) -> Callable[P, T]:
    """Call `store` again, after pauses that grow, while the database is the reason that it failed.

    For functions whose whole work is one transaction, so that a failed call has changed nothing. Inside a transaction
    of the caller nothing is repeated: it is lost anyway.
    """

    @functools.wraps(store)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        waited, next_pause = 0.0, 0.1
        while True:
            try:
                return store(*args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                if connection.in_atomic_block or waited >= PATIENCE_SECONDS:
                    raise
                log.warning("a result waits for the database: %s", type(error).__name__)
                connection.close()
                seconds = next_pause * random.uniform(0.8, 1.2)  # noqa: S311  jitter, not a secret
                pause(seconds)
                waited += seconds
                next_pause = min(next_pause * 2, LONGEST_PAUSE)

    return called
