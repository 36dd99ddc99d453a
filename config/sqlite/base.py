"""Django's SQLite backend, with writers that take turns.

All our transactions begin with BEGIN IMMEDIATE, which takes SQLite's one lock for writing, and so does a statement that
writes outside of one. SQLite lets those that wait for it poll, up to a tenth of a second apart: under a storm of alerts
some never look at the right moment, and give up after 20 seconds although the lock was free a hundred times.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

from config.sqlite.turns import TURN

# Waits for the turn up to this need no second look at the patience that is left.
SHORT = 0.5
_READS = {"SELECT", "PRAGMA", "EXPLAI"}


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that writes when those have written who asked before, within this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_turn = self._hurried = False
        self.execute_wrappers.append(self._in_turn)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """The file is made readable by its owner only; SQLite gives its journals the same mode."""
        # Never opens a file that is there: closing it again would drop the locks that this process holds on it.
        with contextlib.suppress(OSError):
            os.close(os.open(str(self.settings_dict["NAME"]), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return super().get_new_connection(conn_params)

    def _in_turn(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """Around every statement: one that writes by itself waits for its turn."""
        if self._has_turn or sql.lstrip()[:6].upper() in _READS:
            return execute(sql, params, many, context)
        self._take_turn()
        try:
            return execute(sql, params, many, context)
        finally:
            self._end_turn()

    def set_autocommit(self, autocommit: bool, force_begin_transaction_with_broken_autocommit: bool = False) -> None:
        """Off is how a transaction begins, on is how it has ended, well or not."""
        if not autocommit:
            self._take_turn()
        began = False
        try:
            super().set_autocommit(autocommit, force_begin_transaction_with_broken_autocommit)
            began = not autocommit
        finally:
            if not began:
                self._end_turn()

    def close(self) -> None:
        """A connection that is closed within a transaction ends it."""
        try:
            super().close()
        finally:
            self._end_turn()

    def _take_turn(self) -> None:
        """Wait for the turn, and leave what is left of the patience to SQLite, which waits for other processes."""
        patience = float(self.settings_dict["OPTIONS"].get("timeout", 20))
        began = time.monotonic()
        if not TURN.take(patience):
            raise OperationalError("database is locked: too many writers of this process wait")
        self._has_turn = True
        waited = time.monotonic() - began
        if waited > SHORT:
            self._wait_at_most(patience - waited)
            self._hurried = True

    def _end_turn(self) -> None:
        if not self._has_turn:
            return
        self._has_turn = False
        TURN.give()
        if self._hurried:
            self._hurried = False
            self._wait_at_most(float(self.settings_dict["OPTIONS"].get("timeout", 20)))

    def _wait_at_most(self, seconds: float) -> None:
        if self.connection is not None:
            self.connection.execute(f"PRAGMA busy_timeout={max(0, round(1000 * seconds))}")
