"""What workers are asked to do: ids in, one verb called. A lost or repeated message changes nothing."""

from __future__ import annotations

from celery import shared_task

from common import background
from runbooks import backlog, engine, execution, trigger


@shared_task(name="runbooks.execute")
def execute(step_run_id: int) -> None:
    """Claim and carry out one step; its signature stays for ever (docs/guide/engine.md, versions)."""
    execution.execute(step_run_id)


@shared_task(name="runbooks.receive", base=background.Gathering)
def receive(delivery_id: int) -> None:
    """Turn one stored delivery, and those that wait beside it, into alerts, incidents and runs."""
    trigger.receive(delivery_id)


@shared_task(name="runbooks.advance")
def advance(run_id: int) -> None:
    """Move a run on as far as it can go now."""
    engine.advance(run_id)


@shared_task(name="runbooks.tell_late")
def tell_late(address_id: int) -> None:
    """Carry what one address was not told in time."""
    backlog.carry(address_id)
