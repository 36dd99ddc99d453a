"""The hand of a crash test inside its set-up: one process with the set-up's environment that does what it is told.

It reads a line of JSON and answers with one, so that a test need not start Django for every look at the rows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import django

from tests.journeys import crashing

Rows = dict[str, Any]


def do(verb: str, *given: Any) -> Any:
    """One command; what it changes goes through our own verbs."""
    return VERBS[verb](*given)


def prepare(books: dict[str, str]) -> None:
    """The runbooks of a test, by name: the YAML of their phases."""
    from catalog.models import Team
    from tests.factories_runbooks import make_runbook

    for name, phases in books.items():
        make_runbook(Team.objects.get(slug="default"), phases, slug=name)


def start(name: str) -> int:
    """Start a run of that runbook; gives its key."""
    from catalog.actors import ENGINE
    from catalog.models import Team
    from runbooks.models import Runbook
    from tests.factories_runbooks import start

    return start(Runbook.objects.get(slug=name), ENGINE, Team.objects.get(slug="default")).pk


def look(run: int) -> Rows:
    """What a run and its steps have come to, who holds what, and how often it was tried."""
    from runbooks.models import Attempt, Run, StepRun

    steps = StepRun.objects.filter(run=run).order_by("position")
    return {
        "state": Run.objects.get(pk=run).state,
        "steps": {step.step: step.verdict or f"{step.state} {step.blocked_on}".strip() for step in steps},
        "workers": {step.step: step.worker for step in steps if step.state == "leased"},
        "tries": list(Attempt.objects.filter(step_run__run=run).order_by("pk").values_list("outcome", flat=True)),
        "reasons": {step.step: step.reason for step in steps},
    }


def ended() -> int:
    """How many runs are still open."""
    from runbooks.models import OPEN_RUN_STATES, Run

    return Run.objects.filter(state__in=OPEN_RUN_STATES).count()


def broken() -> list[str]:
    """Every promise that the rows break."""
    from tests import invariants

    return invariants.broken(ticked=True, worked=True)


def again(run: int, times: int) -> None:
    """Send the message of every step of a run so many times more, last step first."""
    from celery import current_app

    from runbooks.models import StepRun

    for _ in range(times):
        for pk, queue in StepRun.objects.filter(run=run).order_by("-position").values_list("pk", "queue"):
            current_app.send_task("runbooks.execute", args=(pk,), queue=queue or "engine", retry=False)


VERBS: dict[str, Callable[..., Any]] = {
    "prepare": prepare,
    "start": start,
    "look": look,
    "broken": broken,
    "again": again,
    "ended": ended,
}


def main() -> None:
    """Until the other end hangs up."""
    from django.db import Error, connections

    for line in sys.stdin:
        try:
            answer: Any = {"answer": do(*json.loads(line))}
        except Error as error:
            connections.close_all()
            answer = {"away": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    crashing.know_effects()
    main()
