"""What the restore test puts into a set-up's database, and how it looks into it; run in it by `manage.py shell`."""

from __future__ import annotations

from catalog import connections, loader, people
from catalog.actors import ENGINE, person
from catalog.models import Team
from runbooks import approvals, execution, revisions, runs
from runbooks.models import ApprovalRequest, Effect, Run, Runbook, StepRun, Worker

RUNBOOK = """\
spec: 1
id: turn_back
title: Turn the flag back
incident_type: other
owner: role:oncall
inputs:
  service: {type: string, description: Which service}
phases:
  remediate:
    - id: roll_back
      name: Let the previous version serve again
      action: model.rollback
      with: {to: previous}
      approval: {from: [role:oncall], timeout: 30m}
      irreversible: This is a test.
"""
SERVICE = """\
spec: 1
service: chat
title: Chat
default_owner: admin
versions:
  - {version: v2, state: serving}
  - {version: v1, state: kept}
rollback: {connection: flags, flag: model}
"""


def arrange(url: str) -> None:
    """A run whose action was approved a moment ago and waits for a worker."""
    admin = people.first_user()
    team = Team.objects.get(slug="default")
    connections.save(team, slug="flags", connector="flag", config={"url": url}, secrets={}, actor=ENGINE)
    loader.load(SERVICE, file="chat.yaml", team=team)
    make_runbook_of(RUNBOOK, team)
    runs.start(Runbook.objects.get(slug="turn_back"), given={"service": "chat"}, actor=ENGINE, team=team)
    step = StepRun.objects.get(step="roll_back")
    execution.execute(step.pk)
    approvals.approve(step, digest=ApprovalRequest.objects.get().digest, actor=person(admin))
    step.refresh_from_db()
    assert (step.state, step.stage) == ("ready", "apply")


def make_runbook_of(text: str, team: Team) -> None:
    """Publish it."""
    revision = revisions.save(None, text=text, actor=ENGINE, team=team, note="", source="file")
    if revision.published_at is None:
        revisions.publish(revision, actor=ENGINE)


def show() -> str:
    """Run, step, effect, and whether a worker ticks."""
    run, step, effect = Run.objects.get(), StepRun.objects.get(step="roll_back"), Effect.objects.first()
    told = f"run {run.state}, step {step.state}, effect {effect.state if effect else 'none'}"
    return told + (", a worker ticks" if Worker.objects.exists() else "")
