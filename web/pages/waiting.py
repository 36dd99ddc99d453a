"""What waits for a person: approvals, manual steps, questions, effects in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.urls import reverse

from runbooks.models import OPEN_RUN_STATES, ApprovalRequest, StepRun

WAITING = Q(state="blocked", blocked_on__in=["approval", "human", "ask"]) | Q(state="unknown")


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
    return Ask(step, step.name, "Answer", page, None, step.due_at)
