"""Act now: one action of a service outside any runbook, asked for by a person who gives a reason.

It is a run like any other, of a definition with one step that is made from the action itself: so it has the same
preview, approval, lock, ledger of effects and page. What is already looking for the cause goes on (aftermath.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from pydantic import ValidationError

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.models import Service
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Invalid
from common.expressions import ExpressionError
from incidents.models import Incident
from runbooks import autonomy, items, reading, revisions, runs, sealing
from runbooks.actions import ACTIONS
from runbooks.actions.base import Action, Preview
from runbooks.checks.base import CheckError, Context
from runbooks.models import ACT, Effect, Run, Runbook, StepRun

# The two inputs of our own beside the action's parameters.
INCIDENT, REASON = "act_incident", "act_reason"
STEP = "act"
# A person waits for the preview in a browser.
PREVIEW_SECONDS = 10
_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "array": "list", "object": "map"}
_TEXT = """\
spec: 1
id: {slug}
title: {title}
incident_type: other
owner: team:default
description: One action that a person asks for outside any runbook. Made from the action; nobody edits it.
inputs:
  act_incident: {{type: string, description: The incident it is done for}}
  act_reason: {{type: string, description: Why}}
{inputs}concurrency: {{key: "{{{{ inputs.act_incident }}}}", when_busy: join}}
deadline: 12h
phases:
  remediate:
    - id: act
      name: {name}
      action: {action}
{given}{asks}      irreversible: Asked for by a person beside any runbook; the way back is another act.
"""
_ASKS = """\
      approval:
        from: [role:oncall]
        timeout: 30m
        escalate: [{after: 5m, to: "team:default"}]
        message: "{{ inputs.act_reason }}"
"""


@dataclass(frozen=True)
class Offer:
    """An action as it can be chosen: what it is, what the service lacks for it, and what each parameter may be."""

    action: Action[Any]
    lacks: str
    schema: dict[str, Any]
    choices: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def asks(self) -> bool:
        """Whether somebody must approve it."""
        return self.action.risk != "low"


def offers(incident: Incident) -> list[Offer]:
    """Every action, those that this incident's service can take first."""
    found = [_offer(action, incident.service) for action in ACTIONS]
    return sorted(found, key=lambda offer: bool(offer.lacks))


def _offer(action: Action[Any], service: Service | None) -> Offer:
    lacks = action.lacks(service) or autonomy.bars(service, action)
    choices = {} if lacks or service is None else action.choices(service)
    return Offer(action, lacks, action.params.model_json_schema(), choices)


def offer(incident: Incident, name: str) -> Offer:
    """The action of that name; Invalid names those there are, Conflict says what the service lacks for it."""
    if name not in ACTIONS:
        known = ", ".join(action.name for action in ACTIONS)
        sentence = f"There is no action {name[:60]!r}."
        raise Invalid(sentence, fix=f"Known actions: {known}.", fields={"action": sentence})
    found = _offer(ACTIONS.get(name), incident.service)
    if found.lacks:
        raise Conflict(f"{found.action.title} cannot be done here: {found.lacks}", fix="Choose another action.")
    return found


def preview(incident: Incident, *, action: str, given: dict[str, Any], actor: Actor) -> Preview:
    """What it would change, read from the world just now; nothing is changed or asked by it."""
    _require(incident, actor)
    chosen = offer(incident, action)
    params = _params(chosen.action, given)
    now = clock.now()
    context = Context(
        team=incident.team,
        service=incident.service,
        now=now,
        onset=incident.onset_at or incident.started_at,
        incident_key=incident.key,
        run_uuid="",
        step_key="",
        deadline=now + timedelta(seconds=PREVIEW_SECONDS),
        incident_number=incident.number,
    )
    try:
        return chosen.action.preview(params, context)
    except CheckError as error:
        raise Conflict(f"What it would change cannot be read: {error}", fix="Mend that, or act by hand.") from None


def act(incident: Incident, *, action: str, given: dict[str, Any], reason: str, actor: Actor) -> Run:
    """Ask for it, or (at low risk) do it. The same again is the run that is open already; nothing happens twice.

    Raises Invalid with `fields` for a missing reason or a wrong parameter, Conflict for an incident that is over or a
    different act of the same kind that still waits.
    """
    _require(incident, actor)
    reason = " ".join(reason.split())
    if not reason:
        raise Invalid("Acting needs a reason.", fix="Say in one sentence why.", fields={"reason": "Say why."})
    chosen = offer(incident, action)
    params = _params(chosen.action, given)
    # What was left empty takes the action's own default.
    values = {
        name: value
        for name, value in params.model_dump(mode="json").items()
        if name in given and value not in (None, "")
    }
    runbook = _definition(chosen.action, sorted(values))
    asked = values | {INCIDENT: incident.key, REASON: reason[:500]}
    with_what = ", ".join(f"{name} {value}" for name, value in values.items())
    with_what = f" ({with_what[:200]})" if with_what else ""
    with transaction.atomic():
        before = open_act(incident, runbook)
        if before is not None:
            # A second tap, or somebody was faster: what they see is the first one's result.
            if {name: before.inputs.get(name) for name in before.inputs if name != REASON} == {
                name: asked[name] for name in asked if name != REASON
            }:
                return before
            raise Conflict(
                f"Another «{chosen.action.title}» by {before.started_by} is open on {incident.key}.",
                fix="Decide that one, or cancel its run first.",
                run=str(before.uuid),
            )
        started = runs.start(
            runbook,
            given=asked,
            actor=actor,
            team=incident.team,
            incident=incident,
            reason=reason[:500],
            told=f"{actor.label} acts now: {chosen.action.title}{with_what}, because: {reason}",
        )
        if started.decision != "started" or started.run is None:
            raise Conflict("Somebody asked for the same in this moment.", fix="Reload the incident's page.")
        return started.run


def open_act(incident: Incident, runbook: Runbook) -> Run | None:
    """The act of this kind that is still open on the incident."""
    Incident.objects.select_for_update().get(pk=incident.pk)
    rows = Run.objects.filter(runbook=runbook, incident=incident).select_related("revision", "runbook", "team")
    return next((run for run in rows.order_by("-id")[:20] if run.is_open), None)


def way_back(
    run: Run, step: StepRun, steps: list[StepRun], effects: list[Effect], context: dict[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """The action and its parameters that take a step's effect back, as its runbook says; for a person to ask for.

    None where there is nothing to take back or no way that is known, where the run still does it by itself, once the
    incident is over, and where it needs what nobody may read. `steps` are all of the run's, `effects` the step's own,
    `context` the names of expressions.
    """
    if run.incident is None or not run.incident.is_open or not any(effect.state == "confirmed" for effect in effects):
        return None
    definition = reading.spec_of(run).undo_of(step.step)
    if definition is None or run.state == "stopping" or sealing.hides(run, definition):
        return None
    if any((row.step, row.item) == (definition.id, step.item) and row.verdict != "skipped" for row in steps):
        return None
    try:
        return definition.provider, definition.render_with(context | items.names(step, definition))
    except ExpressionError:
        return None


def _require(incident: Incident, actor: Actor) -> None:
    permissions.require(actor, Permission.RUN, incident.team)
    if incident.state in ("resolved", "closed"):
        raise Conflict(f"{incident.key} is {incident.state}.", fix="Open it again, or declare a new one, then act.")


def _params(action: Action[Any], given: dict[str, Any]) -> Any:
    try:
        return action.params.model_validate(given)
    except ValidationError as error:
        faults = {str(one["loc"][0]) if one["loc"] else "action": one["msg"] for one in error.errors()}
        first, said = next(iter(faults.items()))
        raise Invalid(f"Parameter {first}: {said}.", fix="Give a value that fits.", fields=faults) from None


def _definition(action: Action[Any], names: list[str]) -> Runbook:
    """The runbook behind an action, with these of its parameters, its newest text published."""
    text = text_of(action, names)
    for last in (False, True):
        try:
            with transaction.atomic():
                revision = revisions.save(None, text=text, actor=ENGINE, team=None, note="", source=ACT)
                if revision.published_at is None:
                    revisions.publish(revision, actor=ENGINE)
        except IntegrityError:
            # Two people were the first to use this action, at once.
            if last:
                raise
        else:
            runbook = Runbook.objects.get(pk=revision.runbook_id)
            # Whatever another set of parameters published meanwhile: this run is of this text.
            runbook.current = revision
            return runbook
    raise AssertionError("unreachable")


def text_of(action: Action[Any], names: list[str]) -> str:
    """The one-step runbook of an action, with an input for each parameter that is given."""
    properties = action.params.model_json_schema().get("properties", {})
    quote = json.dumps
    return _TEXT.format(
        slug=f"act_now_{action.name.replace('.', '_')}"[:40],
        title=quote(f"Act now: {action.title}"[:120]),
        name=quote(action.title),
        action=action.name,
        inputs="".join(f"  {name}: {{type: {_type(properties.get(name, {}))}}}\n" for name in names),
        given="      with:\n" + "".join(f'        {name}: "{{{{ inputs.{name} }}}}"\n' for name in names)
        if names
        else "",
        asks=_ASKS if action.risk != "low" else "",
    )


def _type(schema: dict[str, Any]) -> str:
    """The language's word for a parameter's type; of alternatives the first that is not null."""
    kinds = [schema, *schema.get("anyOf", [])]
    return next((_TYPES[kind["type"]] for kind in kinds if kind.get("type") in _TYPES), "string")
