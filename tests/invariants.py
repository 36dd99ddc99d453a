"""What must hold after every step of the engine, whatever died, came twice or came late (promises P3 to P6, P9, P10).

`broken()` reads the rows alone, so a test may ask it of its own database or of that of a running set-up
(`manage.py shell -c "from tests import invariants; print(invariants.broken())"`). `Memory` adds what one look cannot
tell: that a run keeps its revision and inputs, and that nothing which has ended moves again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from common import clock
from incidents.models import Incident
from runbooks import execution, ledger, reading, ticker
from runbooks.models import (
    KEY_HOLDING_STATES,
    OPEN_RUN_STATES,
    VERDICTS,
    ApprovalRequest,
    Effect,
    Lock,
    Run,
    RunEvent,
    StepRun,
)
from runbooks.planning import ENDINGS, UNDO

AT_WORK = ("ready", "leased", "sleeping", "blocked", "unknown")
# Past this a row that should have moved counts as forgotten (auditor invariants A2, A3, A6).
READY_LIMIT, LEASE_LIMIT = timedelta(seconds=60), timedelta(seconds=90)
Faults = Iterable[str]


def broken(*, ticked: bool = False, worked: bool = False) -> list[str]:
    """Every promise that the rows break, a sentence each.

    `ticked`: a worker has just ticked, so no lease and no request is past its time. `worked`: workers have had the time
    to take what is ready.
    """
    now = clock.now()
    rules: list[Callable[[datetime], Faults]] = [
        _p3_one_incident_per_key,
        _p4_one_effect_per_key,
        _p5_somebody_moves_every_run,
        _p10_nothing_unapproved,
        _rows_are_of_one_piece,
        _elements_stand_in_order,
        _a_child_has_one_who_waits,
        _a1_no_wedged_run,
        _a4_no_lock_of_the_dead,
    ]
    if ticked:
        rules += [_a3_no_old_lease, _a5_no_open_approval_past_due, _a7_no_news_of_a_child_unheard]
    if worked:
        rules += [_a2_no_old_ready, _a6_no_effect_sent_for_ever]
    return [f"{rule.__name__.lstrip('_')}: {fault}" for rule in rules for fault in rule(now)]


def hold(*, ticked: bool = False, worked: bool = False) -> None:
    """Fail with every broken promise."""
    found = broken(ticked=ticked, worked=worked)
    assert not found, "\n".join(found)


def _p3_one_incident_per_key(_: datetime) -> Faults:
    open_ones = Incident.objects.exclude(state__in=["resolved", "closed"]).exclude(group_key="")
    keys = Counter(open_ones.values_list("team", "group_key"))
    yield from (f"{count} open incidents have the key {key}" for (_, key), count in keys.items() if count > 1)
    holders = Run.objects.filter(state__in=KEY_HOLDING_STATES).exclude(concurrency_key="")
    held = Counter(holders.values_list("runbook", "concurrency_key"))
    yield from (f"{count} runs hold the key {key}" for (_, key), count in held.items() if count > 1)


def _p4_one_effect_per_key(_: datetime) -> Faults:
    for effect in Effect.objects.select_related("step_run"):
        if effect.effect_class == "once" and effect.times_sent > 1:
            yield f"{effect.step_run.step} of class once was sent {effect.times_sent} times under one key"
        if effect.state == "confirmed" and effect.ended_at is None:
            yield f"the effect of {effect.step_run.step} is confirmed at no time"
    made = Counter(Effect.objects.values_list("step_run", "generation"))
    yield from (f"step row {pk} has {count} effects of one generation" for (pk, _), count in made.items() if count > 1)


def once_each(happened: Mapping[str, int]) -> None:
    """P4 as the world sees it: per key one effect, where the other side does not make one of several by itself."""
    plain = set(Effect.objects.filter(effect_class__in=["once", "probe"]).values_list("key", flat=True))
    twice = {key: count for key, count in happened.items() if key in plain and count > 1}
    assert not twice, f"done more than once: {twice}"


def _p5_somebody_moves_every_run(_: datetime) -> Faults:
    """Each step at work has exactly one mover: a worker, a queue, a timer, or named people with a deadline (P5, P6)."""
    steps = StepRun.objects.filter(state__in=AT_WORK, run__state__in=OPEN_RUN_STATES)
    for step in steps.select_related("run", "run__revision"):
        movers = [name for name, moves in MOVERS.items() if moves(step)]
        if len(movers) != 1:
            yield f"{step.step} is {step.state} {step.blocked_on} and moved by {movers or 'nobody'}"
    for run in Run.objects.filter(state="queued"):
        before = Run.objects.filter(runbook=run.runbook_id, concurrency_key=run.concurrency_key, pk__lt=run.pk)
        if not before.filter(state__in=OPEN_RUN_STATES).exists() and run not in ticker._first_in_line():
            yield f"run {run.pk} is queued behind nobody"


def _child_of(step: StepRun) -> QuerySet[Run]:
    return step.children.filter(parent_generation=step.generation)


def _asks_people(step: StepRun) -> bool:
    """A named person or group, and a time at which that ends (P6)."""
    if step.blocked_on == "approval":
        request = ApprovalRequest.objects.filter(step_run=step, state="open").first()
        return bool(request and request.principals and request.due_at == step.due_at)
    if step.blocked_on == "human":
        return bool((step.params or {}).get("asked")) and step.due_at is not None
    if step.state == "unknown" or step.blocked_on == "ask":
        return bool(reading.spec_of(step.run).owner) and step.due_at is None
    return False


MOVERS: dict[str, Callable[[StepRun], bool]] = {
    "a queue": lambda step: step.state == "ready" and step.ready_at is not None and step.queue != "",
    "a live lease": lambda step: step.state == "leased" and step.lease_until is not None and step.worker != "",
    "a timer": lambda step: step.state == "sleeping" and step.due_at is not None,
    "people": lambda step: step.state in ("blocked", "unknown") and _asks_people(step),
    "a lock": lambda step: step.blocked_on == "lock" and step.lock_name != "" and step.lock_asked_at is not None,
    "a child": lambda step: step.blocked_on == "child" and step.tell_at is not None and _child_of(step).exists(),
}


def _p10_nothing_unapproved(_: datetime) -> Faults:
    """What was sent and needs approval has one: of this very action, by enough people, or with the glass broken."""
    for effect in Effect.objects.filter(times_sent__gt=0).select_related(
        "step_run__run__revision", "step_run__run__team"
    ):
        step = effect.step_run
        definition = reading.step_of(step.run, step)
        if definition.approval is None:
            # What takes an approved action back was shown and approved with it.
            if definition.risk == "high" and step.phase not in ENDINGS:
                yield f"{step.step} is of high risk and was sent without being asked about"
            continue
        asked = ApprovalRequest.objects.filter(step_run=step, generation=effect.generation, state="approved").first()
        if asked is None:
            yield f"{step.step} was sent and never approved"
            continue
        given = asked.decisions.filter(approve=True)
        people = given.values("user_id").distinct().count()
        if people < asked.needed and not given.filter(break_glass=True).exists():
            yield f"{step.step} was sent with {people} of {asked.needed} approvals"
        if asked.four_eyes and settings.BACKSTOP.two_person_on:
            own = {step.run.requester_id} & set(given.filter(break_glass=False).values_list("user_id", flat=True))
            if own and people < 2:
                yield f"{step.step} was approved by the one who asked for it"
        # The digest binds to the generation that was approved, and the step may be asked for anew by now.
        if step.generation == effect.generation:
            bound = ledger.approval_digest(step.run, step, asked.preview, asked.new_fact)
            if effect.params == step.params and asked.digest != bound:
                yield f"{step.step} was approved as something else"


def _rows_are_of_one_piece(_: datetime) -> Faults:
    """A verdict exactly when settled; an ended run with ended steps, no open request; events without gaps."""
    for step in StepRun.objects.select_related("run"):
        if (step.state == "settled") != (step.verdict in VERDICTS):
            yield f"{step.step} is {step.state} with the verdict {step.verdict!r}"
        if step.state != "leased" and step.lease_until is not None:
            yield f"{step.step} is {step.state} and leased until {step.lease_until}"
        if not step.run.is_open and not step.is_terminal:
            yield f"{step.step} is {step.state} in a run that is {step.run.state}"
        is_asked = step.approvals.filter(state="open").exists()
        if is_asked != (step.state == "blocked" and step.blocked_on == "approval"):
            yield f"{step.step} is {step.state} {step.blocked_on} and its request is {'open' if is_asked else 'closed'}"
    for run_id, seq in Run.objects.values_list("pk", "seq"):
        numbers = list(RunEvent.objects.filter(run=run_id).order_by("seq").values_list("seq", flat=True))
        if numbers != list(range(1, seq + 1)):
            yield f"run {run_id} has the events {numbers} of {seq}"


def _elements_stand_in_order(_: datetime) -> Faults:
    """Only with `foreach` a step has several rows: 0 to n-1, each with its element."""
    # An action is taken back for the elements that it changed something for, so those may have gaps.
    several = StepRun.objects.filter(item__gt=0).exclude(phase=UNDO).values_list("run", "step").distinct()
    for run_id, name in several:
        rows = list(StepRun.objects.filter(run=run_id, step=name).order_by("item").select_related("run__revision"))
        if [row.item for row in rows] != list(range(len(rows))):
            yield f"{name} has the rows {[row.item for row in rows]}"
        if reading.step_of(rows[0].run, rows[0]).step.foreach is None or any(row.item_value is None for row in rows):
            yield f"{name} has {len(rows)} rows with the elements {[row.item_value for row in rows]}"


def _a_child_has_one_who_waits(_: datetime) -> Faults:
    """A run of a step is of the same team, incident and kind; while it is open the step waits for it, for no other."""
    for child in Run.objects.filter(parent_step__isnull=False).select_related("parent_step__run"):
        step = child.parent_step
        assert step is not None, "asked for"
        above = step.run
        if (child.team_id, child.incident_id, child.is_plan) != (above.team_id, above.incident_id, above.is_plan):
            yield f"run {child.pk} is of another team, incident or kind than run {above.pk}, of which it is a step"
        waits = step.state == "blocked" and step.blocked_on == "child" and step.generation == child.parent_generation
        if child.is_open and not waits:
            yield f"run {child.pk} is {child.state}, and {step.step} is {step.state} {step.blocked_on}"
        if child.is_open and not above.is_open:
            yield f"run {child.pk} is {child.state}, and run {above.pk}, of which it is a step, is {above.state}"


def _a1_no_wedged_run(_: datetime) -> Faults:
    yield from (f"run {pk} has no step at work" for pk in ticker.wedged())


def _a2_no_old_ready(now: datetime) -> Faults:
    for step in StepRun.objects.filter(state="ready", run__state__in=["active", "stopping"]):
        # One that no worker's code knows waits for a deploy, ten minutes at most (case 22).
        limit = READY_LIMIT if execution.knows(step.provider) else ticker.PATIENCE + READY_LIMIT
        if step.ready_at is not None and step.ready_at < now - limit:
            yield f"{step.step} is ready since {step.ready_at} and nobody takes it"


def _a3_no_old_lease(now: datetime) -> Faults:
    for step in StepRun.objects.filter(state="leased", lease_until__lt=now - LEASE_LIMIT):
        yield f"{step.step} is leased until {step.lease_until}, long ago"


def _a4_no_lock_of_the_dead(_: datetime) -> Faults:
    for lock in Lock.objects.select_related("step_run"):
        if lock.step_run.is_terminal or lock.step_run.blocked_on == "approval":
            yield f"{lock.name} is held by {lock.step_run.step}, which is {lock.step_run.state}"


def _a5_no_open_approval_past_due(now: datetime) -> Faults:
    for asked in ApprovalRequest.objects.filter(state="open", due_at__lte=now):
        yield f"the request {asked.pk} is open past its time"


def _a6_no_effect_sent_for_ever(now: datetime) -> Faults:
    for effect in Effect.objects.filter(state="sent").select_related("step_run__run__revision"):
        step = effect.step_run
        limit = timedelta(seconds=2 * reading.step_of(step.run, step).timeout)
        moves = step.state in ("sleeping", "blocked", "ready")
        if not moves and (effect.sent_at is None or effect.sent_at < now - limit - LEASE_LIMIT):
            yield f"{step.step} was sent at {effect.sent_at} and nothing came of it"


def _a7_no_news_of_a_child_unheard(now: datetime) -> Faults:
    for step in StepRun.objects.filter(state="blocked", blocked_on="child", tell_at__lte=now):
        yield f"{step.step} was to look at its run at {step.tell_at} and did not"
    for step in StepRun.objects.filter(state="blocked", blocked_on="child", due_at__lte=now):
        yield f"{step.step} gave its run until {step.due_at}"


class Memory:
    """What must not change from one look to the next: P9, and the ends of runs, steps and effects."""

    def __init__(self) -> None:
        self.pinned: dict[int, tuple[Any, ...]] = {}
        self.ended: dict[int, tuple[Any, ...]] = {}
        self.confirmed: set[str] = set()
        self.events: Counter[int] = Counter()

    def look(self) -> None:
        """Compare with the last look, and remember this one."""
        for run in Run.objects.select_related("revision"):
            pinned = (run.revision_id, run.revision.sha256, run.inputs, run.started_by)
            assert self.pinned.setdefault(run.pk, pinned) == pinned, f"run {run.pk} changed what it runs (P9)"
            if not run.is_open:
                end = (run.state, run.outcome, run.ended_at)
                assert self.ended.setdefault(run.pk, end) == end, f"run {run.pk} ended twice"
            assert run.seq >= self.events[run.pk], f"run {run.pk} forgot an event"
            self.events[run.pk] = run.seq
        confirmed = set(Effect.objects.filter(state="confirmed").values_list("key", flat=True))
        assert self.confirmed <= confirmed, "an effect that had happened has not happened"
        self.confirmed = confirmed
