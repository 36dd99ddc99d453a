"""What waits for a person: approvals, manual steps, questions, effects in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.urls import reverse

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Group, Team
from catalog.permissions import Permission
from runbooks.models import OPEN_RUN_STATES, ApprovalRequest, StepRun

PEOPLE = ("approval", "human", "ask")
WAITING = Q(state="blocked", blocked_on__in=PEOPLE) | Q(state="unknown")


def waits_for_person(step: StepRun) -> bool:
    """The same of a step at hand."""
    return step.state == "unknown" or (step.state == "blocked" and step.blocked_on in PEOPLE)


@dataclass(frozen=True)
class Ask:
    """One thing that a person is asked, with the page that answers it."""

    step: StepRun
    sentence: str
    button: str
    url: str
    since: datetime | None
    due_at: datetime | None
    approval: ApprovalRequest | None = None


def steps_waiting(team_ids: list[int]) -> QuerySet[StepRun]:
    """Steps of open runs of these teams that wait for a person."""
    return (
        StepRun.objects.filter(WAITING, run__team__in=team_ids, run__state__in=OPEN_RUN_STATES)
        .select_related("run", "run__incident", "run__service", "run__runbook")
        .order_by("due_at", "id")
    )


def asks(steps: list[StepRun]) -> list[Ask]:
    """What each waiting step asks; one query for the approvals of all."""
    requests = {
        request.step_run_id: request
        for request in ApprovalRequest.objects.filter(step_run__in=[s.pk for s in steps], state="open")
    }
    return [_ask(step, requests.get(step.pk)) for step in steps]


def _ask(step: StepRun, request: ApprovalRequest | None) -> Ask:
    page = reverse("run", args=[step.run.uuid]) + f"#{step.step}-{step.item}"
    if request is not None:
        sentence = str(request.preview.get("sentence") or step.name)
        return Ask(
            step,
            sentence,
            "Look and decide",
            reverse("approval", args=[request.uuid]),
            request.requested_at,
            request.due_at,
            request,
        )
    if step.state == "unknown":
        return Ask(step, f"Did it happen? {step.summary or step.name}", "Say what happened", page, None, None)
    if step.blocked_on == "ask":
        return Ask(step, f"What now? {step.summary or step.name}", "Decide", page, None, step.due_at)
    # An action that a person is to do elsewhere says what.
    asks = step.summary if step.kind == "action" and step.summary else step.name
    return Ask(step, asks, "Answer", page, None, step.due_at)


class Reader:
    """Whom the asks of a page are for: the reader, or others. Reads the reader's roles and groups once."""

    def __init__(self, actor: Actor) -> None:
        user = actor.user
        self.may_approve = {team.pk for team in permissions.teams_where(actor, Permission.APPROVE)}
        self.may_answer = {team.pk for team in permissions.teams_where(actor, Permission.ANSWER)}
        self.name = user.username if user else ""
        self.groups = set(Group.objects.filter(members=user).values_list("team_id", "slug")) if user else set()
        mine = permissions.teams_of(user) if user else []
        self.teams = dict(Team.objects.filter(pk__in=mine).values_list("pk", "slug"))

    def is_asked(self, ask: Ask) -> bool:
        """Whether the ask is for this reader: a group or role of theirs is named, and they may answer it."""
        team = ask.step.run.team_id
        if ask.approval is None:
            return team in self.may_answer
        return team in self.may_approve and any(self._am(name, team) for name in ask.approval.principals)

    def _am(self, principal: str, team: int) -> bool:
        # As runbooks.principals.people reads the names.
        kind, _, slug = principal.partition(":")
        if kind == "user":
            return slug == self.name
        if kind == "role":
            return (team, slug) in self.groups
        return (slug in ("default", self.teams.get(team)) and team in self.teams) or slug in self.teams.values()
