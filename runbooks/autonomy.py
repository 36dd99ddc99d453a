"""How far runs may go by themselves on a service: observe, suggest, approve (as shipped) or auto-reversible.

The level may add an approval to what a runbook says and never takes one away. It is read when a step opens and once
more in the last look before the send, where the stricter of the two wins. What changes nothing (classes read and
notify), and a run about no service of the catalog, go as the runbook is written.
"""

from __future__ import annotations

from typing import Any, get_args

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.models import AUTONOMY, Service
from catalog.permissions import Permission
from catalog.service_file import Level
from common import statements
from common.errors import Conflict, Invalid
from incidents import evidence, timeline
from incidents.models import Evidence, Incident
from runbooks.actions import ACTIONS
from runbooks.actions.base import Action
from runbooks.definitions import Definition
from runbooks.fields import Approval
from runbooks.models import Run
from runbooks.planning import UNDO
from runbooks.steps import HARMLESS, UNDOABLE, ActionStep

LEVELS: tuple[str, ...] = get_args(Level)
WORDS = dict(AUTONOMY)
# What becomes of an action: left out, done by a person elsewhere, asked for, done with a loud note, or done.
LEAVE, BY_HAND, ASK, ALONE, GO = "leave", "by_hand", "ask", "alone", "go"
# Whom an action asks whose runbook asks nobody.
ADDED = Approval.model_validate({"from": ["role:oncall"]})
_KIND = "autonomy"


_level = statements.Written(
    lambda service: Service.objects.filter(pk=service).values_list("autonomy", flat=True).order_by()
)


def level_of(run: Run) -> str:
    """The level of the run's service as it is now; empty for a run about none."""
    if run.service_id is None:
        return ""
    return _level(run.service_id)[0]


def way(run: Run, definition: Definition) -> str:
    """What becomes of an action, as things stand now."""
    asks = definition.approval is not None
    action = ACTIONS.get(definition.provider) if definition.provider in ACTIONS else None
    level = level_of(run)
    if not level or action is None or action.effect_class in HARMLESS:
        return ASK if asks else GO
    if definition.phase == UNDO:
        # What takes a change back belongs to the change that was decided on; no run waits at its end for a person.
        return GO if level in ("approve", "auto_reversible") else LEAVE
    if level == "observe":
        return LEAVE
    if level == "suggest":
        return BY_HAND
    if not asks and definition.risk == "low":
        return GO
    if not asks and level == "auto_reversible" and definition.risk == "medium" and _reversible(definition, action):
        return ALONE
    return ASK


def asks(run: Run, definition: Definition) -> bool:
    """Whether people must have said yes before it is sent."""
    return way(run, definition) == ASK


def approval_of(run: Run, definition: Definition) -> Approval | None:
    """Whom it asks and for how long: as the runbook says, else those whom the level adds; None when it asks nobody."""
    return definition.approval or (ADDED if asks(run, definition) else None)


def _reversible(definition: Definition, action: Action[Any]) -> bool:
    """Whether both it and what takes it back may be repeated without harm; the way back stands in the runbook."""
    undo = definition.step.undo if isinstance(definition.step, ActionStep) else None
    if undo is None or undo.action not in ACTIONS:
        return False
    return action.effect_class in UNDOABLE and ACTIONS.get(undo.action).effect_class in UNDOABLE


def bars(service: Service | None, action: Action[Any]) -> str:
    """Why nobody may have this action done here by us, in a sentence; empty where the level allows it."""
    if service is None or action.effect_class in HARMLESS or service.autonomy not in ("observe", "suggest"):
        return ""
    return f"{service.slug} is set to {service.autonomy}, so nothing is changed there from here."


def left_out(run: Run, definition: Definition) -> str:
    """Why a step is not even proposed; empty where it is."""
    if definition.kind != "action" or way(run, definition) != LEAVE:
        return ""
    assert run.service is not None, "only a service has a level"
    return f"Not proposed: {run.service.slug} is set to {level_of(run)}."


def set_level(service: Service, level: str, *, reason: str, actor: Actor) -> Service:
    """Change a service's level, with a reason that stays on record; open incidents of the service say so."""
    if actor.user is not None:
        permissions.require(actor, Permission.CONFIGURE, service.team)
    reason = " ".join(reason.split())[:500]
    if level not in LEVELS:
        raise Invalid(
            f"There is no level {level[:40]!r}.", fix=f"Known: {', '.join(LEVELS)}.", fields={"level": "Choose one."}
        )
    if not reason:
        raise Invalid("This needs a reason.", fix="Say in one sentence why.", fields={"reason": "Say why."})
    with transaction.atomic():
        fresh = Service.objects.select_for_update().get(pk=service.pk)
        if fresh.autonomy == level:
            raise Conflict(f"{fresh.slug} is set to {level} already.", fix="Nothing is left to do.")
        was, fresh.autonomy = fresh.autonomy, level
        fresh.save(update_fields=["autonomy"])
        _record(fresh, was=was, actor=actor, why=reason)
    service.autonomy = level
    return fresh


def note_loaded(services: list[Service], *, actor: Actor) -> None:
    """Put on record what files changed (or anybody beside the verbs): each level that is not the last one recorded."""
    for service in services:
        last = next(iter(history(service, limit=1)), None)
        was = str(last.params["now"]) if last is not None else "approve"
        if was != service.autonomy:
            with transaction.atomic():
                _record(service, was=was, actor=actor, why=f"loaded from {service.source_file or 'elsewhere'}")


def history(service: Service, limit: int = 10) -> list[Evidence]:
    """Who set which level when and why, newest first; `params` hold was, now, reason and actor."""
    rows = Evidence.objects.filter(incident_id=None, kind=_KIND, source=f"service:{service.slug}")
    return list(rows.order_by("-pk")[:limit])


def _record(service: Service, *, was: str, actor: Actor, why: str) -> None:
    text = f"{actor.label} set {service.slug} from {was} to {service.autonomy}: {why}"
    evidence.store(
        incident=None,
        kind=_KIND,
        summary=text,
        source=f"service:{service.slug}",
        params={"was": was, "now": service.autonomy, "reason": why, "actor": actor.label},
    )
    for incident in Incident.objects.filter(service=service).exclude(state__in=["resolved", "closed"]).order_by("pk"):
        timeline.record(
            incident, kind="run", actor=actor, text=text, pinned=True, data={"autonomy": service.autonomy, "was": was}
        )
    timeline.bump(service.team_id)
