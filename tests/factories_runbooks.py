"""Builders for runbooks and runs, and the hands that carry out what is ready without a broker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from catalog.actors import ENGINE, Actor
from catalog.models import Team
from incidents.models import Incident
from runbooks import approvals, execution, revisions, runs, ticker
from runbooks.models import ApprovalRequest, Run, Runbook, StepRun

_numbers = itertools.count(1)
HEAD = """\
spec: 1
id: {slug}
title: A runbook for a test
incident_type: other
owner: role:oncall
"""
# Lines of a step: what makes an action wait for somebody on call; and a phase that looks whether it helped.
ASKS = "approval: {from: [role:oncall]}"
LOOKS = "  verify:\n    - {id: look, check: world.ask, pass_if: value > 0}\n"


def make_runbook(team: Team, steps: str, *, slug: str = "", head: str = "") -> Runbook:
    """A published runbook from the YAML of its `phases` (and further top-level fields in `head`)."""
    slug = slug or f"test_{next(_numbers)}"
    text = HEAD.format(slug=slug) + head + "phases:\n" + steps
    revision = revisions.save(None, text=text, actor=ENGINE, team=team, note="", source="file")
    if revision.published_at is None:
        revision = revisions.publish(revision, actor=ENGINE)
    return Runbook.objects.get(pk=revision.runbook_id)


def switching(effect: str = "set", *lines: str) -> str:
    """The phase of one action `act` on the world of tests, of an effect class, with further lines of its step."""
    step = [f"action: world.{effect}", "with: {to: b}", *lines]
    return "  remediate:\n    - id: act\n      name: Switch it?\n" + "".join(f"      {line}\n" for line in step)


def start(runbook: Runbook, actor: Actor, team: Team, incident: Incident | None = None, **given: Any) -> Run:
    """Start a run by hand."""
    started = runs.start(runbook, given=given, actor=actor, team=team, incident=incident)
    assert started.run is not None
    return started.run


def pump(*, worker: str = "test") -> None:
    """Do all that is ready now, as a worker's runner thread does, until nothing is left."""
    for _ in range(200):
        ticker.tick(worker)
        queues = ("engine", "checks", "actions")
        done = ticker.run_pending(worker, queues, older_than=-3600)
        if not done + ticker.run_evaluations(queues, older_than=-3600):
            return
    raise AssertionError("the engine does not come to rest")


def approve(run: Run, name: str, actor: Actor, **more: Any) -> ApprovalRequest:
    """Say yes to what a step of a run asks for now."""
    waiting = step(run, name)
    return approvals.approve(waiting, digest=approvals.open_request(waiting).digest, actor=actor, **more)


def wait_for(true: Callable[[], bool], *, seconds: float = 60) -> None:
    """Let the engine work, with its timers on the real clock, until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it did not come true within {seconds} s"
        pump()
        time.sleep(1)


def step(run: Run, name: str) -> StepRun:
    """A step of a run, fresh from the database."""
    return StepRun.objects.get(run=run, step=name)


def claim(run: Run, name: str, worker: str = "w") -> execution.Claimed:
    """A step that is ready, claimed."""
    claimed = execution.claim(step(run, name).pk, worker)
    assert claimed is not None
    return claimed


def carry_out(claimed: execution.Claimed | None) -> execution.Claimed | None:
    """That step alone; gives the one that was claimed with its verdict."""
    assert claimed is not None
    return execution._carry_out(*claimed)


def states(run: Run) -> dict[str, str]:
    """What every step of a run has come to: its verdict, else its state and what it waits for."""
    return {
        row.step: row.verdict or (f"{row.state} {row.blocked_on}".strip())
        for row in StepRun.objects.filter(run=run).order_by("position")
    }
