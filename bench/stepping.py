"""Steps whose check does nothing, in this process and on the empty database of its environment: a line of JSON.

`stepping.py single` leaves the thousand runs out; `stepping.py work <part> <parts>` is one of the processes that drain
what the first one has started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.core.management import call_command
from django.db import connection

from catalog.actors import ENGINE
from catalog.models import Team
from common import clock
from incidents import lifecycle
from incidents.models import Incident
from runbooks import execution, revisions, runs
from runbooks.checks import CHECKS
from runbooks.checks.base import Check, Context, Finding, Params
from runbooks.models import Attempt, Run, Runbook, StepRun

STEPS = 6
SINGLE = 40
# On SQLite, one writer at a time, a tenth says the same.
MANY = {"postgresql": 1_000, "sqlite": 100}[connection.vendor]
PROCESSES = 2
BOOK = """\
spec: 1
id: steps
title: Steps
incident_type: other
owner: team:default
phases:
  check:
    - {id: s0, check: bench.nothing, pass_if: value == 1}
""" + "".join(
    # Each reads the one before it, so they run one after another.
    f"    - {{id: s{number}, check: bench.nothing, pass_if: value == 1 and steps.s{number - 1}.value == 1}}\n"
    for number in range(1, STEPS)
)


class Nothing(Check[Params]):
    """Measures nothing, at once."""

    name: ClassVar[str] = "bench.nothing"
    title: ClassVar[str] = "Nothing"
    params = Params

    def run(self, params: Params, context: Context) -> Finding:
        """One."""
        return Finding(1, "It is one.")


def published(team: Team) -> Runbook:
    """The runbook of all runs."""
    revision = revisions.publish(
        revisions.save(None, text=BOOK, actor=ENGINE, team=team, note="", source="file"), actor=ENGINE
    )
    return Runbook.objects.get(pk=revision.runbook_id)


def begin(runbook: Runbook, team: Team, count: int, incident: Incident | None = None) -> None:
    """So many runs; the first step of each is ready."""
    for _ in range(count):
        runs.start(runbook, given={}, actor=ENGINE, team=team, incident=incident)


def work(part: int, parts: int) -> None:
    """Carry out every `parts`-th of the runs that are ready, each in one go as a task does."""
    # By the run's number: the processes do not look at the same moment.
    for pk, run_id in list(StepRun.objects.filter(state="ready").order_by("pk").values_list("pk", "run_id")):
        if run_id % parts == part:
            execution.execute(pk)


def drained(processes: int) -> float:
    """Seconds until so many processes have carried out all that is ready, starting them not counted."""
    if processes == 1:
        began = time.perf_counter()
        work(0, 1)
        return time.perf_counter() - began
    command = [sys.executable, __file__, "work"]
    took = [
        subprocess.Popen([*command, str(part), str(processes)], stdout=subprocess.PIPE, text=True)
        for part in range(processes)
    ]
    return max(float(process.communicate()[0]) for process in took)


def main() -> dict[str, Any]:
    """Milliseconds a step with and without an incident that it is told on; a thousand runs at once."""
    call_command("migrate", verbosity=0)
    team = Team.objects.filter(slug="default").first() or Team.objects.create(slug="default", created_at=clock.now())
    runbook = published(team)
    found: dict[str, Any] = {}
    begin(runbook, team, 5)
    drained(1)
    for name, incident in (("step_ms", None), ("told_step_ms", _incident(team))):
        begin(runbook, team, SINGLE, incident)
        found[name] = round(drained(1) / (SINGLE * STEPS) * 1000, 2)
    if sys.argv[1:] == ["single"]:
        return found
    begin(runbook, team, MANY)
    seconds = drained(PROCESSES)
    found |= {"runs": MANY, "seconds": round(seconds, 1), "steps_per_second": round(MANY * STEPS / seconds, 1)}
    total = Run.objects.count() * STEPS
    found["unfinished"] = Run.objects.exclude(state="finished").count()
    found["twice_or_never"] = abs(Attempt.objects.filter(outcome="done").count() - total)
    return found


def _incident(team: Team) -> Incident:
    return lifecycle.declare(team=team, title="Steps", severity=3, actor=ENGINE)


if __name__ == "__main__":
    with CHECKS.including(Nothing()):
        if sys.argv[1:2] == ["work"]:
            start = time.perf_counter()
            work(int(sys.argv[2]), int(sys.argv[3]))
            print(time.perf_counter() - start)
        else:
            print(json.dumps(main()))
