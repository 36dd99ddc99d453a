"""Locking a run, writing its events, and handing ready steps to workers: what every verb of the engine shares."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from catalog.actors import ENGINE, Actor
from common import background, live, statements
from common.secrets import redact
from incidents import timeline
from incidents.models import Evidence, Incident
from runbooks.models import ApprovalRequest, Run, RunEvent, StepRun

# Texts of a step that checks and actions write, so that they may repeat what was sent to them.
_OF_OTHERS = {"summary", "reason", "pending_note"}
# States that an event names together with what the step waits for, or came to.
_SAID_WITH = {"settled": "verdict", "blocked": "blocked_on"}


def lock_run(run_id: int) -> Run:
    """The run with its incident locked first, then itself: the one order in which rows are locked (decision 0007).

    On SQLite the transaction itself is the lock. Must be called inside a transaction; the row is read after the lock.
    """
    return _lock(_whole, run_id, _incident_of(run_id)[0])


def lock_run_of(step_run_id: int) -> Run:
    """The same for the run of that step."""
    return _lock(_whole, *_run_of(step_run_id)[0])


def lock_incident(incident_id: int) -> Incident:
    """That incident alone, locked and read after it."""
    return _incident(incident_id)[0]


def step_of(step_run_id: int) -> StepRun:
    """The step's row as it is now."""
    return _step(step_run_id)[0]


def still_leased(step: StepRun) -> StepRun | None:
    """The same, while it is leased as it was when it was read."""
    return _leased.first(step.pk, step.fence)


def steps_of(run: Run) -> list[StepRun]:
    """The rows of all its steps, by position and item."""
    return _steps(run.pk)


def lock_again(run: Run) -> Run:
    """The same for a run that was read before: which incident, revision and runbook it is of never changes."""
    return _like(run, _lock(_again, run.pk, run.incident_id))


def lock_to_claim(step_run_id: int, before: Run | None = None) -> Run | None:
    """The run of a step that is ready, itself locked and not its incident; None, at once, for a step that is not.

    `before` is the same run, where it was read before.
    """
    run = (_to_claim if before is None else _to_claim_again).first(step_run_id)
    return run if run is None or before is None else _like(before, run)


def _like(before: Run, run: Run) -> Run:
    # A revision never changes, and of a runbook a run reads what it is called. A team is read anew by who asks for it.
    run.revision, run.runbook = before.revision, before.runbook
    return run


def _lock(asked: statements.Written[Run], run_id: int, incident_id: int | None) -> Run:
    incident = lock_incident(incident_id) if incident_id is not None else None
    run = asked(run_id)[0]
    # As it was read under its lock, so that whoever writes to it need not read it again.
    run.incident = incident
    return run


def _with_all_it_reads() -> QuerySet[Run]:
    # The text of a revision may have 256 KiB, and was read when its book was (reading.book_of).
    rows = Run.objects.select_related("revision", "runbook", "service", "team")
    return rows.defer("revision__text", "revision__parsed")


def _ready(rows: QuerySet[Run], step: int) -> QuerySet[Run]:
    rows = rows.select_related("incident").select_for_update(of=("self",))
    return rows.filter(steps__pk=step, steps__state="ready").order_by()


_step = statements.Written(lambda step: StepRun.objects.filter(pk=step).order_by())
_leased = statements.Written(
    lambda step, fence: StepRun.objects.filter(pk=step, fence=fence, state="leased").order_by()
)
_steps = statements.Written(lambda run: StepRun.objects.filter(run=run).order_by("position", "item"))
_incident_of = statements.Written(
    lambda run: Run.objects.filter(pk=run).values_list("incident_id", flat=True).order_by()
)
_run_of = statements.Written(
    lambda step: StepRun.objects.filter(pk=step).values_list("run_id", "run__incident_id").order_by()
)
_whole = statements.Written(lambda run: _with_all_it_reads().select_for_update(of=("self",)).filter(pk=run).order_by())
_again = statements.Written(
    lambda run: Run.objects.select_related("service", "team").select_for_update(of=("self",)).filter(pk=run).order_by()
)
_to_claim = statements.Written(lambda step: _ready(_with_all_it_reads(), step))
_to_claim_again = statements.Written(lambda step: _ready(Run.objects.select_related("service", "team"), step))
_incident = statements.Written(lambda incident: Incident.objects.select_for_update().filter(pk=incident).order_by())


def event(run: Run, transition: str, *, now: datetime, state: str, actor: Actor = ENGINE, text: str = "") -> None:
    """Write one transition of a run as its next event and raise its version, in the caller's transaction."""
    _written(run, _event(run, transition, None, now=now, state=state, actor=actor, text=text))


def go_run(
    run: Run,
    transition: str,
    *,
    was: tuple[str, ...],
    now: datetime,
    state: str,
    actor: Actor = ENGINE,
    text: str = "",
    told: str = "",
    **changes: Any,
) -> bool:
    """Take a run through a transition and tell it as its next event, if it is still in one of the states `was`.

    False, with nothing written, when it is not. `told` is what the event calls the state, unless that is its name.
    """
    changes["state"] = state
    row = _event(run, transition, None, now=now, state=told or state, actor=actor, text=text)
    if not _written(run, row, changes, was=was):
        return False
    _take_on(run, changes)
    return True


def go(
    run: Run,
    step: StepRun,
    transition: str,
    *,
    was: tuple[str, ...],
    now: datetime,
    actor: Actor = ENGINE,
    text: str = "",
    also: tuple[statements.Write, ...] = (),
    **changes: Any,
) -> bool:
    """Take a step through a transition and tell it as the run's next event, if it is still in one of the states `was`.

    False, with nothing written, when somebody else was first. `also` is written with it.
    """
    state = changes["state"]
    if state in _SAID_WITH:
        state = f"{state} {changes[_SAID_WITH[state]]}"
    # Whoever was to be told of the old state is not told any more.
    changes.setdefault("tell_at", None)
    row = _event(run, transition, step, now=now, state=state, actor=actor, text=text)
    if not _written(run, row, first=_changing(step, was, changes), also=also):
        return False
    _take_on(step, changes)
    return True


def go_ready(run: Run, step: StepRun, transition: str, *, was: tuple[str, ...], now: datetime, **more: Any) -> bool:
    """The same to put a step before the workers, who get a hint once this is committed."""
    nothing: dict[str, Any] = {"blocked_on": "", "due_at": None, "lease_until": None}
    moved = go(run, step, transition, was=was, now=now, state="ready", ready_at=now, published_at=now, **nothing | more)
    if moved:
        background.hint("runbooks.execute", step.queue, step.pk)
    return moved


def go_to_sleep(run: Run, step: StepRun, *, until: datetime, now: datetime, text: str, **more: Any) -> bool:
    """S10: a step that is leased lets go of its worker until a timer rings."""
    timer: dict[str, Any] = {"state": "sleeping", "due_at": until, "lease_until": None}
    return go(run, step, "S10", was=("leased",), now=now, text=text, **timer, **more)


def _event(
    run: Run, transition: str, step: StepRun | None, *, now: datetime, state: str, actor: Actor, text: str
) -> RunEvent:
    return RunEvent(
        run_id=run.pk,
        at=now,
        transition=transition,
        step=step.step if step else "",
        item=step.item if step else 0,
        state=state,
        actor=actor.label[:120],
        text=redact(text)[:500],
    )


def _written(
    run: Run,
    event: RunEvent,
    changes: Mapping[str, Any] | None = None,
    *,
    was: tuple[str, ...] = (),
    first: statements.Write | None = None,
    also: tuple[statements.Write, ...] = (),
) -> bool:
    """Write an event under the run's next number, with what it tells of.

    That is `first`, `changes` of the run, and `also`. False, with nothing written, if `first` does not find its row, or
    the run is in none of the states `was`.
    """
    while True:
        event.seq = run.seq + 1
        where = {"pk": run.pk, "seq": run.seq} | ({"state": was} if was else {})
        raised = statements.changing(Run, changes or {}, "seq", "version", **where)
        before = [first] if first else []
        done = statements.in_turn(*before, raised, statements.adding(event), *also)
        if done > len(before):
            break
        if before and not done:
            return False
        # Who holds the run's lock has read its number; one that was read before the lock is read once more.
        locked = Run.objects.select_for_update().values_list("seq", "state")
        run.seq, state = locked.get(pk=run.pk)
        if was and state not in was:
            return False
        # Written by now, and not to be written again.
        first = None
    run.seq = event.seq
    if run.incident_id is None:
        # No timeline tells the team's lists of it.
        timeline.bump(run.team_id)
    transaction.on_commit(live.wake)
    return True


def note_on(step: StepRun, *, was: tuple[str, ...], **changes: Any) -> bool:
    """Change what a step's row says beside its state, if it is in one of the states `was`; False when it is not."""
    if not _changing(step, was, changes).make():
        return False
    _take_on(step, changes)
    return True


def _changing(step: StepRun, was: tuple[str, ...], changes: dict[str, Any]) -> statements.Write:
    for name in _OF_OTHERS & changes.keys():
        changes[name] = redact(changes[name])
    return statements.changing(StepRun, changes, pk=step.pk, state=was)


def _take_on(row: Run | StepRun, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(row, name, value)


def withdraw_request(step: StepRun, *, now: datetime) -> None:
    """A step goes on without the answer it waited for: its approval request can be answered no more."""
    ApprovalRequest.objects.filter(step_run=step, state="open").update(state="superseded", closed_at=now)


def note(
    run: Run,
    *,
    kind: str,
    text: str,
    actor: Actor = ENGINE,
    evidence: Evidence | None = None,
    pinned: bool = False,
    data: dict[str, Any] | None = None,
    at: datetime | None = None,
    now: datetime | None = None,
) -> None:
    """Write to the incident's timeline, if the run belongs to one; every entry names the run.

    Of a dry run only its start and its end are told, as such: nothing it finds is a fact of the incident. Of one that
    is a step of another nothing is.
    """
    if run.incident is None:
        return
    if run.is_plan:
        if kind != "run" or not pinned or run.parent_step_id is not None:
            return
        text, pinned, data = f"Dry run, nothing was changed. {text}", False, (data or {}) | {"plan": True}
    timeline.record(
        run.incident,
        kind=kind,
        actor=actor,
        text=text,
        at=at,
        now=now,
        evidence=[evidence] if evidence else [],
        pinned=pinned,
        data={"run": str(run.uuid), "runbook": run.runbook.slug} | (data or {}),
    )
