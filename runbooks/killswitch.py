"""The kill switch: one act stops every effect of every run, until somebody allows them again (docs/guide/operate.md).

It is asked in the transaction that would mark an effect as sent, and pulling it takes turns with those transactions:
what was marked before is in flight and is recorded to its end, and nothing is marked after. Checks run on, people are
still told and asked; what would change something waits as a row, and looks again at everything afterwards.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from catalog import permissions
from catalog.actors import Actor
from catalog.models import KillSwitch, Team
from catalog.permissions import Permission
from common import clock, live, statements
from common.errors import Conflict, Forbidden, Invalid
from incidents import notices, timeline
from incidents.models import Incident
from runbooks import ledger, locks, transitions
from runbooks.actions import ACTIONS
from runbooks.models import OPEN_RUN_STATES, Run, StepRun
from runbooks.steps import HARMLESS

# What a step that met the switch waits for; it looks again by itself too, should its waking be lost.
BLOCKED_ON = "stop"
LOOK_AGAIN = timedelta(minutes=1)
_TURNS = 0x6B696C6C


_engaged = statements.Written(lambda: KillSwitch.objects.filter(engaged=True)[:1])


def engaged() -> KillSwitch | None:
    """The stop that holds now."""
    return _engaged.first()


def take_turn(*, alone: bool = False) -> None:
    """Order this transaction against stops, before it locks anything: sends share a turn, a stop has its own (`alone`).

    SQLite's transactions take turns anyway.
    """
    if connection.vendor == "postgresql":
        shared = "" if alone else "_shared"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock{shared}(%s)", [_TURNS])


def pull(*, reason: str, actor: Actor) -> KillSwitch:
    """Stop all effects, everywhere, at once. Conflict when they are stopped already."""
    _require(actor, Permission.STOP_EFFECTS)
    reason = _reason(reason)
    with transaction.atomic():
        take_turn(alone=True)
        held = engaged()
        if held is not None:
            raise Conflict(f"{held.pulled_by} stopped all effects already: {held.reason}", fix="Nothing is left to do.")
        switch = KillSwitch.objects.create(pulled_at=clock.now(), pulled_by=actor.label[:120], reason=reason)
        _tell(switch, actor, f"{actor.label} stopped all effects: {reason}", "stopped")
        return switch


def release(*, reason: str, actor: Actor) -> KillSwitch:
    """Allow effects again: what waited looks at everything anew and goes on once. Conflict unless they are stopped."""
    _require(actor, Permission.ALLOW_EFFECTS)
    reason = _reason(reason)
    with transaction.atomic():
        take_turn(alone=True)
        switch = engaged()
        if switch is None:
            raise Conflict("Effects are not stopped.", fix="Nothing is left to do.")
        now = clock.now()
        switch.engaged, switch.released_at, switch.released_by = False, now, actor.label[:120]
        switch.save(update_fields=["engaged", "released_at", "released_by"])
        # The next tick of any worker takes them up.
        StepRun.objects.filter(state="blocked", blocked_on=BLOCKED_ON).update(due_at=now)
        _tell(switch, actor, f"{actor.label} allowed effects again: {reason}", "allowed")
        return switch


def waiting_actions() -> QuerySet[StepRun]:
    """Actions of open runs that have not come to their end and would change something."""
    harmless = [action.name for action in ACTIONS if action.effect_class in HARMLESS]
    rows = StepRun.objects.filter(kind="action", run__state__in=OPEN_RUN_STATES)
    return rows.exclude(state__in=["settled", "cancelled"]).exclude(provider__in=harmless).order_by("pk")


def hold_back(run: Run, step: StepRun, switch: KillSwitch, *, now: datetime) -> None:
    """S21: an action that a worker was about to send waits until effects are allowed again; no attempt is used up.

    It lets go of its lock, unless an earlier send may have happened: then nobody else may act on the service.
    """
    effect = ledger.effect_of(step)
    if effect is None or effect.state not in ledger.DOUBTFUL:
        locks.release(step)
    why = f"All effects are stopped by {switch.pulled_by}: {switch.reason}"
    ledger.end_attempt(step, "pending", now)
    changes: dict[str, Any] = {"attempts": max(0, step.attempts - 1), "pending_note": why[:300], "lease_until": None}
    changes |= {"state": "blocked", "blocked_on": BLOCKED_ON, "due_at": now + LOOK_AGAIN}
    if transitions.go(run, step, "S21", was=("leased",), now=now, text=why, **changes):
        text = f"Not sent: {step.name}. {why}. It goes on once effects are allowed again."
        transitions.note(run, kind="engine", text=text, pinned=True, data={"step": step.step, "kill_switch": switch.pk})


def look_again(run: Run, step: StepRun, *, now: datetime) -> None:
    """S22: back to its lock or to the workers, as if it had just been decided; later, while the switch still holds."""
    if engaged() is not None:
        transitions.note_on(step, was=("blocked",), due_at=now + LOOK_AGAIN)
        return
    # Its time begins anew, and with it whatever is asked again before it is sent.
    changes: dict[str, Any] = {"pending_note": "", "t0": None}
    if not locks.holds(step):
        locks.line_up(run, step, was=("blocked",), now=now, transition="S22", **changes)
    else:
        text = "effects are allowed again"
        transitions.go_ready(run, step, "S22", was=("blocked",), now=now, text=text, **changes)


def _require(actor: Actor, permission: Permission) -> None:
    """The switch is everybody's: who holds the permission in any team, or is org admin. The operator needs none."""
    if actor.user is None or permissions.teams_where(actor, permission):
        return
    raise Forbidden(
        f"You are not allowed to {permission.value.replace('_', ' ')}.",
        fix="Approvers and admins stop effects; admins and org admins allow them again.",
    )


def _reason(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise Invalid("This needs a reason.", fix="Say in one sentence why.", fields={"reason": "Say why."})
    return text[:500]


def _tell(switch: KillSwitch, actor: Actor, text: str, word: str) -> None:
    """Every open incident with an action in waiting says so on its timeline; every team is told."""
    names: dict[int, list[str]] = {}
    own: Counter[int] = Counter()
    for incident_id, team_id, name in waiting_actions().values_list("run__incident_id", "run__team_id", "name"):
        own[team_id] += 1
        if incident_id is not None:
            names.setdefault(incident_id, []).append(name)
    # In one order, so that two who lock several incidents never wait for each other.
    for incident in Incident.objects.filter(pk__in=names).order_by("pk"):
        here = "; ".join(dict.fromkeys(names[incident.pk]))
        timeline.record(
            incident,
            kind="run",
            actor=actor,
            text=f"{text.rstrip('.')}. Waiting here: {here}."[:2000],
            pinned=True,
            data={"kill_switch": switch.pk, "is": word},
        )
    for team in Team.objects.order_by("pk"):
        notices.tell(
            team=team,
            kind="effects",
            key=f"{switch.pk}:{word}:{team.slug}",
            subject=f"Backstop: {text}"[:300],
            body=notices.body("effects", stopped=word == "stopped", said=text, waiting=own[team.pk]),
            link="/effects",
            actor=actor,
        )
        timeline.bump(team.pk)
    transaction.on_commit(live.wake)
