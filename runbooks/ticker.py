"""What every worker process does each second: wake what is ready, recover what was lost, ring what is due.

Any number of tickers may run; each claim is conditional. One row's failure is noted and does not stop the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, Model, OuterRef, QuerySet

from catalog.actors import ENGINE
from common import background, clock, statements
from common.indexed import among
from common.statements import Which
from evaluations import jobs
from incidents import intake, notices, outbox
from runbooks import (
    approvals,
    asking,
    backlog,
    children,
    damage,
    doubt,
    engine,
    execution,
    killswitch,
    locks,
    opening,
    reading,
    sampling,
    stopping,
    transitions,
    trigger,
)
from runbooks.definitions import LAST_SECONDS
from runbooks.models import AT_WORK_STATES, KEY_HOLDING_STATES, OPEN_RUN_STATES, Attempt, Run, StepRun, Worker
from runbooks.planning import ENDINGS, is_winding_down
from runbooks.rounds import Round
from runbooks.setbacks import Setbacks

log = logging.getLogger(__name__)
BATCH = 200
REPUBLISH = timedelta(seconds=15)
# How long a step waits for a worker whose code knows its check or action.
PATIENCE = timedelta(minutes=10)
# What a step of `undo` or `finally` has in all, waiting for its lock and for further tries among it.
ENDING_LASTS = timedelta(seconds=LAST_SECONDS)
AUDIT_EVERY = timedelta(seconds=30)
HINT_EVERY = timedelta(seconds=5)
_done_at: dict[str, datetime] = {}
setbacks = Setbacks()
audited = Round()


def tick(worker: str, queues: tuple[str, ...] = ("engine", "checks", "actions")) -> None:
    """One round; raises OperationalError or InterfaceError only when the database itself is away."""
    now = clock.now()
    # Once a second in every process for ever, so not `update_or_create`: that is a transaction of four statements.
    alive = {"ticked_at": now, "queues": list(queues), "providers": execution.known()}
    if not statements.update(Worker, alive, name=worker):
        Worker.objects.create(name=worker, started_at=now, **alive)
    move_runs(now)
    # One is enough: whoever receives it takes along what waits beside it.
    delivery_id = intake.oldest_due(now)
    if delivery_id is not None:
        background.hint("runbooks.receive", "engine", delivery_id)
    if _is_time("hints", now, HINT_EVERY):
        _hint_again(now)
    if audited.is_under_way or _is_time("audit", now, AUDIT_EVERY):
        _audit(now)


def move_runs(now: datetime) -> None:
    """What of all open runs is ready, lost or due: one question, and further ones for what there is alone."""
    found = _which(*_moments(now))
    if "ready step" in found:
        _publish_ready(now)
    for kind in _KINDS:
        if kind.what in found:
            _each(kind.what, kind.of, kind.ids(now), kind.act)


def _is_time(what: str, now: datetime, every: timedelta) -> bool:
    """Whether this process has not done it for so long; a clock that was set back makes it early, never late."""
    last = _done_at.get(what)
    if last is not None and abs(now - last) < every:
        return False
    _done_at[what] = now
    return True


def _hint_again(now: datetime) -> None:
    """Messages and evaluations that wait although a hint was sent when they came.

    In a backlog, a hint for each of them in every second of every worker would cost more than the work itself.
    """
    for message_id in outbox.due(limit=BATCH, now=now):
        background.hint("incidents.deliver", "engine", message_id)
    for address_id in outbox.late_addresses(now):
        background.hint("runbooks.tell_late", "engine", address_id)
    jobs.resume_lost(now)


def run_pending(worker: str, queues: tuple[str, ...], older_than: float) -> int:
    """Without the broker: do what has waited longer than `older_than` seconds in this thread; how much was done."""
    now = clock.now()
    limit = now - timedelta(seconds=older_than)
    done = 0
    found = _waits(now, limit, now - outbox.LATE)
    if "engine" in queues and found & {"delivery", "message", "late message"}:
        for pk in intake.due(50, received_before=limit):
            trigger.receive(pk)
            done += 1
        for pk in outbox.due(limit=50, now=now, due_before=limit):
            done += outbox.deliver(pk) is not None
        done += backlog.carry_all(now)
    # What was done may have made more ready.
    if not done and "step" not in found:
        return done
    ready = _claimable().filter(ready_at__lt=limit, queue__in=queues).order_by("ready_at", "pk")
    for pk in list(ready.values_list("pk", flat=True)[: 20 + len(setbacks)]):
        if not setbacks.is_resting("ready step", pk, now):
            done += _execute(pk, worker, now)
    return done


# Each worker asks every second.
_waits = Which(
    {
        "delivery": lambda now, before, _: intake.unfinished(now).filter(received_at__lt=before),
        "message": outbox.due_in_time,
        "late message": lambda now, _, late: outbox.due_late(now, late),
        "step": lambda _now, before, _late: StepRun.objects.filter(state="ready", ready_at__lt=before),
    }
)


def _execute(pk: int, worker: str, now: datetime) -> int:
    """One ready step; 0 when it is still ready, so that it rests and the others come first."""
    try:
        execution.execute(pk, worker)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("step run %s failed", pk)
    if StepRun.objects.filter(pk=pk, state="ready", ready_at__lt=now).exists():
        setbacks.failed("ready step", pk, now)
        return 0
    setbacks.succeeded("ready step", pk)
    return 1


def run_evaluations(queues: tuple[str, ...], older_than: float) -> int:
    """The same for evaluations: each takes minutes, in which no delivery and no step may wait behind it."""
    if "checks" not in queues:
        return 0
    now = clock.now()
    ids = jobs.due(now, asked_before=now - timedelta(seconds=older_than))
    for pk in ids:
        jobs.work(pk)
    return len(ids)


def _open_runs() -> QuerySet[Run]:
    """Those that have not ended, by their index: of ended ones there are more every day."""
    return Run.objects.filter(among("state", OPEN_RUN_STATES))


def _claimable() -> QuerySet[StepRun]:
    """What is ready and may be taken up by this process: what paused runs keep back must not crowd out the rest."""
    return StepRun.objects.filter(state="ready", run__state__in=AT_WORK_STATES, provider__in=execution.known())


def _moments(now: datetime) -> tuple[datetime, ...]:
    """Now, and since when something is too old: a hint, a step that nobody knows, a step of an ending."""
    return now, now - REPUBLISH, now - PATIENCE, now - ENDING_LASTS


def _publish_ready(now: datetime) -> None:
    """Rows in `ready` are the outbox: a lost hint is sent again."""
    stale = _claimable().filter(published_at__lt=now - REPUBLISH).order_by("published_at")[: _many()]
    for step in list(stale):
        StepRun.objects.filter(pk=step.pk, state="ready").update(published_at=now)
        background.hint("runbooks.execute", step.queue, step.pk)


def _unheard(_now: Any, hinted_before: Any, *_: Any) -> QuerySet[StepRun]:
    """Also what this process cannot carry out, or a paused run keeps back."""
    return StepRun.objects.filter(state="ready", published_at__lt=hinted_before)


def _expired(now: Any, *_: Any) -> QuerySet[StepRun]:
    return StepRun.objects.filter(state="leased", lease_until__lt=now).order_by("lease_until", "pk")


def _due(now: Any, *_: Any) -> QuerySet[StepRun]:
    return StepRun.objects.filter(among("state", ["sleeping", "blocked"]), due_at__lte=now).order_by("due_at", "pk")


def _to_be_told(now: Any, *_: Any) -> QuerySet[StepRun]:
    return StepRun.objects.filter(state="blocked", tell_at__lte=now).order_by("tell_at", "pk")


def _past_deadline(now: Any, *_: Any) -> QuerySet[Run]:
    return _open_runs().exclude(state="stopping").filter(deadline_at__lte=now).order_by("deadline_at", "pk")


def _lasting(_now: Any, _hinted: Any, _patience: Any, started_before: Any) -> QuerySet[StepRun]:
    """Steps of an ending that wait or are tried again for longer than an ending may last."""
    waiting = StepRun.objects.filter(phase__in=ENDINGS, state__in=["ready", "sleeping", "blocked"])
    rows = waiting.filter(run__in=Run.objects.filter(state="stopping"), started_at__lte=started_before)
    return rows.order_by("started_at", "pk")


def _first_in_line(*_: Any) -> QuerySet[Run]:
    """Queued runs whose key nobody holds: the hint that should have woken them may be lost."""
    holders = Run.objects.filter(
        runbook=OuterRef("runbook"), concurrency_key=OuterRef("concurrency_key"), state__in=KEY_HOLDING_STATES
    )
    return Run.objects.filter(~Exists(holders), state="queued").order_by("deadline_at", "pk")


def _left_alone(_now: Any, _hinted: Any, ready_before: Any, *_: Any) -> QuerySet[StepRun]:
    return StepRun.objects.filter(state="ready", ready_at__lte=ready_before).order_by("ready_at", "pk")


def _nobody_knows(now: datetime) -> list[int]:
    """Steps ready for ten minutes that no living worker's code can carry out (a deploy in between, or a removal)."""
    living = Worker.objects.filter(ticked_at__gt=now - PATIENCE).values_list("providers", flat=True)
    known = {name for names in living for name in names}
    return _some(_left_alone(*_moments(now)).exclude(provider__in=known))


def _some(rows: QuerySet[Any]) -> list[int]:
    return list(rows.values_list("pk", flat=True)[: _many()])


def _many() -> int:
    """How many rows of a kind one tick looks at: those that rest do not count."""
    return BATCH + len(setbacks)


def _each(what: str, of: type[Model], ids: list[int], act: Callable[[int, datetime], None]) -> None:
    """Each row in its own transaction; a failure is logged with the row, which then rests while the others go on.

    `of` says whose ids these are. A run that cannot be read says so on its incident and waits for a person.
    """
    for pk in ids:
        now = clock.now()
        if setbacks.is_resting(what, pk, now):
            continue
        try:
            with transaction.atomic():
                act(pk, now)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            setbacks.failed(what, pk, now)
            if not _is_damaged(of, pk):
                log.exception("%s of row %s failed", what, pk)
        else:
            setbacks.succeeded(what, pk)


def _is_damaged(of: type[Model], pk: int) -> bool:
    """Whether the reason is known, and told: rows that this version cannot make sense of."""
    try:
        run_id = pk if of is Run else StepRun.objects.values_list("run_id", flat=True).get(pk=pk)
        return damage.say(run_id)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("the damage of row %s could not be told", pk)
        return False


def _locked(pk: int) -> tuple[Run, StepRun]:
    run = transitions.lock_run_of(pk)
    return run, transitions.step_of(pk)


def _recover(pk: int, now: datetime) -> None:
    """S12 to S14, S20: the worker of this step is gone."""
    run, step = _locked(pk)
    if step.state != "leased" or step.lease_until is None or step.lease_until >= now:
        return
    if step.kind == "action" and step.stage != "preview":
        doubt.recover(run, step, now=now)
        return
    Attempt.objects.filter(step_run=step, fence=step.fence, outcome="running").update(outcome="lost", ended_at=now)
    if is_winding_down(run.state, step.phase):
        engine.move_on(run, now=now)
        return
    definition = reading.step_of(run, step)
    if (watched := sampling.of(run, step, definition)) is not None:
        sampling.lost(run, watched, now=now)
    else:
        engine.after_lost_worker(run, step, again="S12" if step.attempts < definition.attempts else None, now=now)


def _ring(pk: int, now: datetime) -> None:
    """S11 and the timeouts of people: a timer has come."""
    run, step = _locked(pk)
    if step.due_at is None or step.due_at > now:
        return
    if step.state == "sleeping" and step.kind == "wait":
        engine.settle(
            run, step, was=("sleeping",), verdict="pass", summary="The time is over.", now=now, transition="S11"
        )
        engine.move_on(run, now=now)
    elif step.state == "sleeping" and step.stage == "apply" and not locks.holds(step):
        # It let go of its lock for the pause, so it lines up again.
        locks.line_up(run, step, was=("sleeping",), now=now, transition="S11")
    elif step.state == "sleeping":
        transitions.go_ready(run, step, "S11", was=("sleeping",), now=now)
    elif step.blocked_on == "approval":
        approvals.expire(run, step, now=now)
    elif step.blocked_on == killswitch.BLOCKED_ON:
        killswitch.look_again(run, step, now=now)
    elif step.blocked_on == "child":
        engine.cut_off_child(run, step, now=now)
    elif step.blocked_on == "human":
        engine.settle(
            run,
            step,
            was=("blocked",),
            verdict="inconclusive",
            reason="timeout",
            summary="Nobody answered in time.",
            now=now,
        )
        engine.move_on(run, now=now)


def _tell_again(pk: int, now: datetime) -> None:
    """Half of an approval's time is over, or an escalation's turn has come."""
    run, step = _locked(pk)
    if step.state != "blocked" or step.tell_at is None or step.tell_at > now:
        return
    if step.blocked_on == "child":
        engine.move_on(run, now=now)
        children.look_again(step, now=now)
    elif step.blocked_on == "approval":
        approvals.tell_again(run, step, now=now)
    else:
        opening.tell_again(run, step, now=now)


def _end_late(pk: int, now: datetime) -> None:
    """Nothing of an ending keeps a run from its end; what it was meant to do is told as not done."""
    run, step = _locked(pk)
    minutes = ENDING_LASTS.seconds // 60
    engine.settle(
        run,
        step,
        was=("ready", "sleeping", "blocked"),
        verdict="error",
        reason="timeout",
        summary=f"Not done within {minutes} minutes. {step.summary}".strip(),
        now=now,
    )
    engine.move_on(run, now=now)


def _activate(pk: int, now: datetime) -> None:
    engine.move_on(transitions.lock_run(pk), now=now)


def _give_up(pk: int, now: datetime) -> None:
    """A check or action that no release at work knows: the run is not failed, a person says what to do."""
    run, step = _locked(pk)
    summary = f"No worker knows `{step.provider}`; it waited {PATIENCE.seconds // 60} minutes."
    asking.ask(run, step, was=("ready",), verdict="error", reason="provider_missing", summary=summary, now=now)


def _expire_run(pk: int, now: datetime) -> None:
    """The deadline is over: the run is stopped, and its owner told."""
    run = transitions.lock_run(pk)
    stopping.begin(run, reason="its deadline passed", now=now, ends="expired")
    engine.move_on(run, now=now)


def ring_timers_of(run_id: int) -> None:
    """What has come due in one run, for whoever carries it out beside the workers (`manage.py runbook plan`)."""
    mine = set(StepRun.objects.filter(run=run_id).values_list("pk", flat=True))
    _each("due timer", StepRun, [pk for pk in _some(_due(clock.now())) if pk in mine], _ring)


def _take_lock(pk: int, now: datetime) -> None:
    run, step = _locked(pk)
    if step.state == "blocked" and step.blocked_on == "lock":
        locks.take(run, step, now=now)


class Kind(NamedTuple):
    """One reason for which a row is looked at: whether there are such rows, which, and what is done to each."""

    what: str
    of: type[Model]
    rows: Callable[..., QuerySet[Any]]
    act: Callable[[int, datetime], None]
    chosen: Callable[[datetime], list[int]] | None = None

    def ids(self, now: datetime) -> list[int]:
        """The rows, by their numbers, of all that `rows` finds or as `chosen` among them."""
        return self.chosen(now) if self.chosen else _some(self.rows(*_moments(now)))


# In this order.
_KINDS = (
    Kind("expired lease", StepRun, _expired, _recover),
    Kind("due timer", StepRun, _due, _ring),
    Kind("telling again", StepRun, _to_be_told, _tell_again),
    Kind("deadline", Run, _past_deadline, _expire_run),
    Kind("ending that lasts", StepRun, _lasting, _end_late),
    Kind("queued run", Run, _first_in_line, _activate),
    Kind("free lock", StepRun, locks.waiting_for_free, _take_lock, lambda _: locks.next_waiting()),
    Kind("unknown provider", StepRun, _left_alone, _give_up, _nobody_knows),
)
_which = Which({"ready step": _unheard} | {kind.what: kind.rows for kind in _KINDS})


def _audit(now: datetime) -> None:
    """No lock without a holder at work, and no active run that nothing will ever move (A1, A4)."""
    if not audited.is_under_way:
        locks.drop_orphans()
        setbacks.forget(now)
    found = wedged(audited.window())
    if found:
        _each("wedged run", Run, found, _activate)
        # Also those whose move failed: a run that cannot be moved is one that somebody must hear of.
        _each("alarm of a wedged run", Run, wedged(found), _alarm)


def wedged(those: list[int] | None = None) -> list[int]:
    """Active runs without any step at work or waiting, of all or of `those`; of all there may be 10,000 to look at."""
    alive = StepRun.objects.filter(run=OuterRef("pk"), state__in=["ready", "leased", "sleeping", "blocked", "unknown"])
    rows = _open_runs() if those is None else Run.objects.filter(pk__in=those)
    rows = rows.filter(~Exists(alive), state__in=AT_WORK_STATES).order_by("deadline_at", "pk")
    return list(rows.values_list("pk", flat=True))


def _alarm(run_id: int, _: datetime) -> None:
    run = Run.objects.select_related("team", "incident", "runbook").get(pk=run_id)
    notices.tell(
        team=run.team,
        kind="engine_down",
        key=f"wedged:{run.uuid}",
        subject=f"A run of {run.runbook.slug} is wedged: nothing will move it",
        body="No step of it is at work, waiting or due. Please cancel it and report this.",
        link=f"/runs/{run.uuid}",
        incident=run.incident,
        actor=ENGINE,
    )
