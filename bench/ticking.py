"""Ticks beside ever more waiting runs, in this process and on the empty database of its environment: a line of JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.core.management import call_command

from catalog.actors import ENGINE
from catalog.models import Team
from common import clock
from runbooks import revisions, ticker
from runbooks.models import Run, Runbook, StepRun

WAITING = (100, 1_000, 10_000)
# Runs that have ended, which a tick must not read either.
ENDED = 20_000
TICKS = 15
BOOK = """\
spec: 1
id: waits
title: Waits
incident_type: other
owner: team:default
phases:
  verify:
    - {id: settle, wait: 1h}
"""


def published(team: Team) -> Runbook:
    """The runbook of all runs."""
    revision = revisions.save(None, text=BOOK, actor=ENGINE, team=team, note="", source="file")
    if revision.published_at is None:
        revision = revisions.publish(revision, actor=ENGINE)
    return Runbook.objects.get(pk=revision.runbook_id)


def add(runbook: Runbook, team: Team, count: int, *, ended: bool, now: datetime) -> None:
    """So many runs that wait for an hour, or have ended."""
    common = {"team": team, "runbook": runbook, "revision": runbook.current, "started_by": "bench", "phase": "verify"}
    moments = {"created_at": now, "started_at": now, "deadline_at": now + timedelta(days=3)}
    state = "finished" if ended else "active"
    runs = Run.objects.bulk_create([Run(state=state, **common, **moments) for _ in range(count)], 500)
    what = {"step": "settle", "position": 0, "kind": "wait", "phase": "verify", "name": "settle"}
    waits = {"state": "sleeping", "due_at": now + timedelta(hours=1)}
    is_over = {"state": "settled", "verdict": "pass"}
    StepRun.objects.bulk_create([StepRun(run=run, **what, **(is_over if ended else waits)) for run in runs], 500)


def took(work: Any, *given: Any) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work(*given)
    return (time.perf_counter() - began) * 1000


def audit(now: datetime) -> float:
    """Milliseconds of one look of the auditor, of those of a whole round."""
    looks = [took(ticker._audit, now)]
    while ticker.audited.is_under_way:
        looks.append(took(ticker._audit, now))
    return statistics.median(looks)


def main() -> list[dict[str, Any]]:
    """A row for each number of waiting runs, and one for the tick in which all are due."""
    call_command("migrate", verbosity=0)
    now = clock.now()
    team = Team.objects.filter(slug="default").first() or Team.objects.create(slug="default", created_at=now)
    runbook = published(team)
    add(runbook, team, ENDED, ended=True, now=now)
    rows: list[dict[str, Any]] = []
    have = 0
    for wanted in WAITING:
        add(runbook, team, wanted - have, ended=False, now=now)
        have = wanted
        ticker.tick("bench")
        p50 = statistics.median(took(ticker.tick, "bench") for _ in range(TICKS))
        rows.append({"waiting": have, "p50_ms": round(p50, 1), "audit_ms": round(audit(now), 1)})
    StepRun.objects.filter(state="sleeping").update(due_at=now)
    milliseconds = took(ticker.tick, "bench")
    rung = StepRun.objects.filter(state="settled").count() - ENDED
    rows.append({"waiting": have, "rung": rung, "per_rung_ms": round(milliseconds / max(rung, 1), 1)})
    return rows


if __name__ == "__main__":
    print(json.dumps(main()))
