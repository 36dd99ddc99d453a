"""A new run as a row: its checked inputs, its service, its concurrency key and its steps. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from catalog.models import Service, Team
from common import statements
from common.errors import Invalid
from common.expressions import ExpressionError
from common.expressions import render as render_text
from incidents.models import Incident
from runbooks import inputs, reading, sealing
from runbooks.models import Revision, Run, StepRun


def made(
    revision: Revision,
    *,
    team: Team,
    incident: Incident | None,
    given: Mapping[str, Any],
    alert: dict[str, Any],
    is_plan: bool = False,
    **fields: Any,
) -> Run:
    """The run, not yet saved. Raises Invalid with `fields` for inputs that do not fit, or a key that cannot be made."""
    spec = reading.book_of(revision).spec
    found = inputs.resolve(spec.inputs, given=given, alert=alert)
    # An optional input without a value is None in expressions, not a missing name.
    values: dict[str, Any] = dict.fromkeys(spec.inputs) | found.values
    return Run(
        team=team,
        runbook=revision.runbook,
        revision=revision,
        incident=incident,
        service=_service(values, team, incident),
        inputs=values,
        sealed=sealing.seal(found.sealed),
        input_sources=found.sources,
        alert=alert,
        state="active",
        # A dry run is in nobody's way.
        concurrency_key="" if is_plan else _key(spec.concurrency_key, values),
        is_plan=is_plan,
        **fields,
    )


def _service(values: dict[str, Any], team: Team, incident: Incident | None) -> Service | None:
    """The service a run works on: the input of that name, within the team; else the incident's."""
    name = values.get("service")
    if not isinstance(name, str):
        return incident.service if incident else None
    found = Service.objects.filter(team=team, slug=name).first()
    if found is None:
        known = ", ".join(Service.objects.filter(team=team).values_list("slug", flat=True)[:10]) or "none"
        sentence = f"Team {team.slug} looks after no service {name!r}."
        raise Invalid(sentence, fix=f"Known services: {known}.", fields={"service": sentence})
    return found


def _key(text: str, values: dict[str, Any]) -> str:
    """The concurrency key: what the runbook says, else the service, else none."""
    try:
        return str(render_text(text, {"inputs": values}))[:300] if text else ""
    except ExpressionError as error:
        raise Invalid(
            f"The concurrency key cannot be made: {error}.", fix="Mend the runbook's `concurrency`."
        ) from None


def take_key(run: Run, *, now: datetime) -> bool:
    """Insert the run as active; the unique index decides who holds the key. False when another run does.

    Nor is it taken past those in line for it: between the end of a holder and the next one's turn the key is free.
    """
    run.created_at = run.started_at = now
    run.deadline_at = now + timedelta(seconds=reading.spec_of(run).spec.deadline)
    if run.concurrency_key:
        line = Run.objects.filter(runbook=run.runbook_id, concurrency_key=run.concurrency_key, state="queued")
        if line.exists():
            return False
    return bool(statements.adding(run, once=True).make())


def queue(run: Run) -> None:
    """Insert the run, whose key another holds, behind that one."""
    run.state, run.started_at = "queued", None
    run.save(force_insert=True)


def add_steps(run: Run, *, pinned: dict[str, int]) -> None:
    """A row for each step; those that run another runbook keep the revisions which were current at the start."""
    StepRun.objects.bulk_create(
        StepRun(
            run=run,
            step=definition.id,
            position=position,
            kind=definition.kind,
            provider=definition.provider,
            phase=definition.phase,
            name=definition.name,
            params={"pinned": pinned} if definition.kind == "runbook" else None,
        )
        for position, definition in enumerate(reading.spec_of(run).definitions)
    )
