"""Where cases are played: in this process, or side by side in several, each with a database of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Protocol

from common.yaml import Document
from runbooks.testing import memory
from runbooks.testing.cases import Tests
from runbooks.testing.expecting import differences
from runbooks.testing.family import Family
from runbooks.testing.playing import Played, play
from runbooks.testing.thresholds import Shift

# What a process of its own holds until it ends.
_for_life = ExitStack()


class Stage(Protocol):
    """Plays cases, and says which shifts of numbers no case notices."""

    def play(self, family: Family, tests: Tests) -> list[Played]:
        """Every case, in order."""
        ...

    def survivors(
        self,
        family: Family,
        data: dict[str, Any],
        tests: Tests,
        document: Document,
        shifts: list[tuple[Shift, list[int]]],
    ) -> list[Shift]:
        """The shifts under which all of these cases still pass."""
        ...


class Here:
    """One after another, in this process."""

    def play(self, family: Family, tests: Tests) -> list[Played]:
        """Every case, in order."""
        return [play(family, tests, case) for case in tests.cases]

    def survivors(
        self,
        family: Family,
        data: dict[str, Any],
        tests: Tests,
        document: Document,
        shifts: list[tuple[Shift, list[int]]],
    ) -> list[Shift]:
        """The shifts under which all of these cases still pass."""
        return [shift for shift, cases in shifts if _survives(shift, family, data, tests, document, cases)]


class SideBySide:
    """Several processes; each was forked when everything had been imported, and has its own database."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def play(self, family: Family, tests: Tests) -> list[Played]:
        """Every case, in order."""
        return [future.result() for future in [self.pool.submit(play, family, tests, case) for case in tests.cases]]

    def survivors(
        self,
        family: Family,
        data: dict[str, Any],
        tests: Tests,
        document: Document,
        shifts: list[tuple[Shift, list[int]]],
    ) -> list[Shift]:
        """The shifts under which all of these cases still pass."""
        asked = [
            (shift, self.pool.submit(_survives, shift, family, data, tests, document, cases)) for shift, cases in shifts
        ]
        return [shift for shift, future in asked if future.result()]


@contextmanager
def stage(processes: int) -> Iterator[Stage]:
    """A stage for as long as it is needed."""
    if processes == 1:
        with memory.database():
            yield Here()
        return
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=fork, initializer=_enter) as pool:
        yield SideBySide(pool)


def _enter() -> None:
    _for_life.enter_context(memory.database())


def _survives(
    shift: Shift, family: Family, data: dict[str, Any], tests: Tests, document: Document, cases: list[int]
) -> bool:
    """Whether no case notices; a number that cannot be moved that way is none that could be wrong unnoticed."""
    spec = shift.applied(data)
    if spec is None:
        return False
    moved = replace(family, top=spec)
    return all(
        not differences(document, index, tests.cases[index], play(moved, tests, tests.cases[index])) for index in cases
    )
