"""One step as the run's page shows it: question, answer, what it took, what it rests on, and what people may do."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.db.models import Q
from django.urls import reverse
from markupsafe import Markup

from common.expressions import ExpressionError
from incidents.models import Evidence
from runbooks import acting, autonomy, damage, doubt, going_on, items, reading, repeating, watched
from runbooks.definitions import Definition
from runbooks.models import ApprovalRequest, Attempt, Effect, Lock, Run, RunEvent, StepRun
from runbooks.steps import ManualStep
from web.pages import exhibits, signals, words
from web.pages.answering import PREFIX, manual_form
from web.pages.runs import watches
from web.pages.waiting import waits_for_person

# A number that an interval in brackets follows, else the first with a unit, else the first that stands by itself.
_NUMBER = r"(?<![\w.])[−+-]?\d(?:[\d.,]*\d)?"
_BEFORE = re.compile(_NUMBER + r"(?:\s?(?:%|points|ms|s)(?!\w))?(?=:?\s*\[)")
_MEASURED = re.compile(_NUMBER + r"\s?(?:%|points(?!\w)|ms(?!\w)|s(?!\w))")
_PLAIN = re.compile(_NUMBER + r"(?![\w.]\w)")
_INTERVAL = re.compile(r"\[[−+-]?\d[^\[\]]{0,60}\]")
# So long a step's log is, and of so many samples of a watch it tells.
EVENTS, RECENT = 60, 20


@dataclass(frozen=True)
class Waiting:
    """Somebody in the line for a lock."""

    run: Run
    name: str
    since: datetime | None


@dataclass(frozen=True)
class ChildRun:
    """A run that a step was; of a dry run also what each of its steps came to, since nobody reads on for that."""

    run: Run
    face: words.Face
    steps: list[tuple[StepRun, words.Face]]


@dataclass(frozen=True)
class StepRow:
    """One step as the page shows it."""

    step: StepRun
    name: str
    # With `foreach`: which element, such as "2 of 5: eu-west".
    part: str
    face: words.Face
    doc: str
    instruction: str
    answer: Markup
    exhibit: exhibits.Exhibit | None
    dashboard: str
    attempts: list[Attempt]
    resumed: list[datetime]
    effects: list[tuple[Effect, str]]
    doubtful: Effect | None
    might_double: bool
    asks_anew: bool
    approval: ApprovalRequest | None
    approvals: list[ApprovalRequest]
    form: forms.Form | None
    took: float | None
    limit: int | None
    params: str
    rule: str
    waits: bool
    may_skip: bool
    # The runs that this step was, one for each time it was run.
    children: list[ChildRun]
    may_rerun: bool
    may_go_on: bool
    also: list[str]
    after: int
    lock: Lock | None
    line: list[Waiting]
    overrides: list[Evidence]
    # The address of Act now with what takes this effect back.
    undo: str
    watch: watches.View | None
    log: list[RunEvent] = field(default_factory=list)


def emphasised(text: str) -> Markup:
    """A sentence with its number bold and its interval quieter; the text itself is escaped."""
    number = _BEFORE.search(text) or _MEASURED.search(text) or _PLAIN.search(text)
    interval = _INTERVAL.search(text)
    parts: list[tuple[int, int, str]] = []
    if number is not None:
        parts.append((number.start(), number.end(), "<b>{}</b>"))
    if interval is not None and (number is None or interval.start() >= number.end()):
        parts.append((interval.start(), interval.end(), '<span class="interval-text">{}</span>'))
    built, at = Markup(), 0
    for start, end, form in parts:
        built += Markup("{}").format(text[at:start]) + Markup(form).format(text[start:end])  # noqa: S704  our own two
        at = end
    return built + Markup("{}").format(text[at:])


def rows(run: Run, steps: list[StepRun], typed: dict[str, forms.Form], now: datetime) -> list[StepRow]:
    """All of them, with a fixed number of queries however many there are."""
    gathered = _Gathered(run, steps, now)
    return [gathered.row(step, typed.get(f"{step.step}-{step.item}")) for step in steps]


def _older(steps: list[StepRun], standings: dict[int, watched.Standing]) -> tuple[Q, Q]:
    """Attempts and events of all but the newest samples of a watch: the samples themselves tell what came of them."""
    attempts, events = Q(pk__in=[]), Q(pk__in=[])
    for step in steps:
        samples = standings[step.pk].samples if step.pk in standings else []
        if len(samples) > RECENT:
            since = samples[-RECENT].due_at
            attempts |= Q(step_run=step, started_at__lt=since)
            events |= Q(step=step.step, item=step.item, at__lt=since)
    return attempts, events


def _by_step(found: Iterable[Any]) -> dict[int, list[Any]]:
    held: dict[int, list[Any]] = defaultdict(list)
    for row in found:
        held[row.step_run_id].append(row)
    return held


def _children(run: Run, steps: list[StepRun]) -> dict[int, list[ChildRun]]:
    """The runs that these steps were, by the step's key."""
    found: dict[int, list[ChildRun]] = defaultdict(list)
    if not any(step.kind == "runbook" for step in steps):
        return found
    inside: dict[int, list[StepRun]] = defaultdict(list)
    if run.is_plan:
        for row in StepRun.objects.filter(run__parent_step__in=steps).order_by("position", "item"):
            inside[row.run_id].append(row)
    for child in Run.objects.filter(parent_step__in=steps).select_related("runbook", "revision").order_by("pk"):
        told = [(row, words.step_face(row)) for row in inside[child.pk]]
        found[child.parent_step_id or 0].append(ChildRun(child, words.run_face(child), told))
    return found


def _definitions(run: Run) -> dict[str, Definition]:
    """The steps as written, by id; none where the runbook cannot be read, of which the page says why."""
    try:
        return reading.spec_of(run).by_id
    except reading.Unreadable:
        return {}


class _Gathered:
    """What the rows of one run need, read once."""

    def __init__(self, run: Run, steps: list[StepRun], now: datetime) -> None:
        self.run, self.steps, self.now = run, steps, now
        self.definitions = _definitions(run)
        self.is_damaged = bool(damage.of(run, steps))
        self.context = {} if self.is_damaged else reading.names(run, steps, now)
        self.cards = exhibits.exhibits_by_id([step.evidence_id for step in steps if step.evidence_id], run.incident)
        self.watches = watched.standings(run, steps)
        self.newest = watches.newest(self.watches)
        older_attempts, older_events = _older(steps, self.watches)
        self.attempts = _by_step(Attempt.objects.filter(step_run__in=steps).exclude(older_attempts))
        self.effects = _by_step(Effect.objects.filter(step_run__in=steps))
        asked = ApprovalRequest.objects.filter(step_run__in=steps).prefetch_related("decisions")
        self.requests = _by_step(asked)
        self.children = _children(run, steps)
        self.locks = _by_step(Lock.objects.filter(step_run__in=steps))
        self.overrides: dict[str, list[Evidence]] = defaultdict(list)
        for row in Evidence.objects.filter(run_id=run.pk, kind__in=["override", "answer"]).order_by("id"):
            self.overrides[row.step].append(row)
        self.events: dict[tuple[str, int], list[RunEvent]] = defaultdict(list)
        for event in run.events.exclude(step="").exclude(older_events).order_by("seq"):
            self.events[event.step, event.item].append(event)
        names = {step.lock_name for step in steps if step.lock_name and not step.is_terminal}
        self.line: dict[str, list[StepRun]] = defaultdict(list)
        self.holders: dict[str, Lock] = {}
        if names:
            queue = StepRun.objects.filter(lock_name__in=names, blocked_on="lock").order_by("lock_asked_at", "pk")
            for step in queue.select_related("run", "run__runbook", "run__revision"):
                self.line[step.lock_name].append(step)
            holding = Lock.objects.filter(name__in=names).select_related("step_run__run__runbook")
            self.holders = {lock.name: lock for lock in holding}

    def row(self, step: StepRun, typed: forms.Form | None) -> StepRow:
        """One of them."""
        definition = self.definitions.get(step.step)
        asked: list[ApprovalRequest] = self.requests.get(step.pk, [])
        attempts: list[Attempt] = self.attempts.get(step.pk, [])
        ledger: list[Effect] = self.effects.get(step.pk, [])
        exhibit = self.cards.get(step.evidence_id or 0)
        needs_form = step.state == "blocked" and step.blocked_on == "human"
        doubtful = next((effect for effect in ledger if effect.generation == step.generation), None)
        may_rerun = repeating.may_rerun(self.run, step) and step.blocked_on != "approval" and not self.is_damaged
        parts = [other for other in self.steps if other.step == step.step]
        is_part = definition is not None and definition.step.foreach is not None and items.is_spread(step, parts)
        return StepRow(
            step=step,
            name=definition.name if definition and is_part else step.name,
            part=f"{step.item + 1} of {len(parts)}: {items.label(step.item_value)}" if is_part else "",
            face=words.step_face(step, is_watch=step.pk in self.watches),
            doc=str(definition.step.doc or "") if definition else "",
            instruction=_instruction(definition, self.context),
            answer=emphasised(step.summary or step.pending_note),
            exhibit=exhibit,
            dashboard=self._dashboard(exhibit),
            attempts=attempts,
            resumed=_resumed(attempts),
            effects=[(effect, words.effect_word(effect)) for effect in ledger],
            doubtful=doubtful if step.state == "unknown" else None,
            might_double=step.state == "unknown" and doubt.might_double(step),
            asks_anew=step.state == "unknown" and definition is not None and autonomy.asks(self.run, definition),
            approval=next((row for row in asked if row.state == "open"), None),
            approvals=asked,
            form=typed or (manual_form(definition.fields) if needs_form and definition else None),
            took=_took(step, self.now) if step.pk not in self.watches or step.is_terminal else None,
            limit=definition.timeout or None
            if definition and step.kind in ("check", "action", "runbook") and step.pk not in self.watches
            else None,
            params=json.dumps(step.params, indent=2, ensure_ascii=False, default=str) if step.params else "",
            rule=_rule(definition),
            waits=waits_for_person(step),
            may_skip=self.run.is_open
            and step.state in ("pending", "sleeping", "blocked")
            and not (step.state == "blocked" and step.blocked_on == "child"),
            children=self.children.get(step.pk, []),
            may_rerun=may_rerun,
            may_go_on=going_on.may_go_on(self.run, step, ledger),
            also=[row.name for row in repeating.followers(self.run, step, self.steps)] if may_rerun else [],
            after=sum(other.phase == step.phase and other.state == "pending" for other in self.steps),
            lock=self.holders.get(step.lock_name) if not step.is_terminal else None,
            line=[
                Waiting(other.run, other.run.label, other.lock_asked_at)
                for other in self.line.get(step.lock_name, [])
                if other.pk != step.pk
            ],
            # Evidence knows no element, but what people said names the row.
            overrides=[said for said in self.overrides.get(step.step, []) if not is_part or step.name in said.summary],
            undo="" if self.is_damaged else _undo(self.run, step, self.steps, ledger, self.context),
            watch=self._watch(step, definition),
            log=self.events.get((step.step, step.item), [])[-EVENTS:],
        )

    def _watch(self, step: StepRun, definition: Definition | None) -> watches.View | None:
        """Its samples, where it is a watch."""
        standing = self.watches.get(step.pk)
        if standing is None or definition is None:
            return None
        return watches.view(step, definition, standing, self.context, self.newest.get(step.pk), self.now)

    def _dashboard(self, exhibit: exhibits.Exhibit | None) -> str:
        """The service's dashboard at the time that was measured."""
        service = self.run.service
        if service is None or not service.dashboard_url or exhibit is None:
            return ""
        start, end = exhibit.evidence.window_from, exhibit.evidence.window_to
        if start is None or end is None:
            return service.dashboard_url
        return signals.at_window(service.dashboard_url, start, end)


def _undo(run: Run, step: StepRun, steps: list[StepRun], ledger: list[Effect], context: dict[str, Any]) -> str:
    """Where a person takes an effect back, filled in with what its runbook says."""
    back = acting.way_back(run, step, steps, ledger, context)
    if back is None or run.incident is None:
        return ""
    action, given = back
    typed = {f"{PREFIX}{name}": value for name, value in given.items()}
    query = urlencode({"action": action, **typed, "reason": f"Undo: {step.name}"[:500]})
    return f"{reverse('act_now', args=[run.incident.number])}?{query}"


def _instruction(definition: Definition | None, context: dict[str, Any]) -> str:
    """What a manual step asks for, with its values; the plain text where a value is not there yet."""
    if definition is None or not isinstance(definition.step, ManualStep):
        return ""
    try:
        return definition.render_manual(context)
    except ExpressionError:
        return definition.step.manual


def _resumed(attempts: list[Attempt]) -> list[datetime]:
    """When a try began after one whose worker was lost."""
    pairs = pairwise(attempts)
    return [after.started_at for before, after in pairs if before.outcome == "lost"]


def _took(step: StepRun, now: datetime) -> float | None:
    """Seconds from the first try to the end, or so far while somebody works on it."""
    began = step.t0 or step.started_at
    if began is None or step.verdict == "skipped":
        return None
    if step.settled_at is not None:
        return max(0.0, (step.settled_at - began).total_seconds())
    return max(0.0, (now - began).total_seconds()) if step.state == "leased" else None


def _rule(definition: Definition | None) -> str:
    """The conditions that decide, as the runbook says them."""
    step = definition.step if definition else None
    said = [(word, getattr(step, word, None)) for word in ("fail_if", "pass_if")]
    return "; ".join(f"{word} {source}" for word, source in said if source)
