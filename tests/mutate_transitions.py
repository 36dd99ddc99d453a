"""Is every transition of a step noticed by a test? Each of S1 to S20 is taken out of the engine, and the cases run.

    python -m tests.mutate_transitions [S7 S12 …] [-- tests/more …]

Taken out means: the step's row does not change and no event is written, and the rest of the code goes on as if they
had. The cases run once per transition, in a child, until
one fails. Exits with 1 and names the transitions whose loss nothing noticed.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

TRANSITIONS = [f"S{number}" for number in range(1, 21)]
CASES = ["tests/conformance", "-k", "test_case"]
# Taken out last: no transition at all, which nobody may notice.
NOTHING = "none"
# A step that is put back so often is tried in a loop; the engine would give up after 500 rounds and say nothing.
CIRCLES = 20
NOT_NEEDED = "not slow and not nightly and not real"


def take_out(name: str) -> None:
    """From now on this process's engine does not know the transition."""
    from runbooks import transitions

    rounds: Counter[int] = Counter()
    go = transitions.go

    def without(run: Any, step: Any, transition: str, **more: Any) -> bool:
        if transition != name:
            return go(run, step, transition, **more)
        rounds[step.pk] += 1
        if rounds[step.pk] > CIRCLES:
            raise RuntimeError(f"without {name} the engine goes round in circles")
        return True

    setattr(transitions, "go", without)


class Mutants:
    """The pytest plugin: one round over the cases for each transition, each in a child of its own."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.noticed_by: dict[str, str] = {}
        self._failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first failure, in whatever part of a test."""
        if report.failed:
            why = report.longreprtext.strip().splitlines()[-1:]
            self._failed.append(f"{report.nodeid} ({report.when}: {' '.join(why)[:200]})")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The database is made by one case with nothing taken out; then come the mutants."""
        run: Callable[..., Any] = session.config.hook.pytest_runtest_protocol
        first, *others = session.items
        run(item=first, nextitem=others[0])
        assert not self._failed, f"{self._failed} fails with nothing taken out"
        from django.db import connections

        for name in [*self.names, NOTHING]:
            connections.close_all()
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                take_out(name)
                # Those that speak of the transition first: whoever notices, one is enough.
                order = sorted(others, key=lambda item: f'"{name}"' not in inspect.getsource(getattr(item, "function")))
                session._setupstate.teardown_exact(order[0])
                for item, following in zip([*order, first], [*order[1:], first, others[0]], strict=True):
                    run(item=item, nextitem=following)
                    if self._failed:
                        break
                os.write(writing, (self._failed or [""])[0].encode())
                os._exit(0)
            os.close(writing)
            with os.fdopen(reading) as told:
                self.noticed_by[name] = told.read()
            os.waitpid(child, 0)
            sys.stdout.write(f"\n{name:>4}  {self.noticed_by[name] or 'nobody notices'}\n")
            sys.stdout.flush()
        run(item=others[0], nextitem=None)
        return True


def main(words: list[str]) -> int:
    """Run what was asked for; 1 when a loss was not noticed."""
    names = [word for word in words if word in TRANSITIONS] or TRANSITIONS
    more = words[words.index("--") + 1 :] if "--" in words else []
    mutants = Mutants(names)
    options = ["-p", "no:cacheprovider", "-q", "--no-header", "-m", NOT_NEEDED, *CASES, *more]
    # pytest's own ending also fails when the run itself was broken.
    code = pytest.main(options, plugins=[mutants])
    unnoticed = [name for name in names if not mutants.noticed_by.get(name)]
    sys.stdout.write(
        f"{len(names) - len(unnoticed)} of {len(names)} noticed; unnoticed: {', '.join(unnoticed) or '–'}\n"
    )
    false = mutants.noticed_by.get(NOTHING, "the run was broken")
    if false:
        sys.stdout.write(f"worth nothing, for with nothing taken out this fails: {false}\n")
    return int(bool(unnoticed or false) or code not in (0, 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
