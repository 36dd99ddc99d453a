"""The question whether one exact action may be applied: what, why, what was checked, who may say so, until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from django import forms
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict
from incidents.models import Evidence
from runbooks import approvals as verbs
from runbooks import principals, reading, repeating
from runbooks.models import ApprovalRequest, Effect, Run, StepRun
from web.pages import exhibits, words
from web.pages.approvals import facts
from web.pages.forms import faults_of
from web.policy import (
    PersonRequest,
    allow,
    approval_needs_proof,
    reauthenticate_first,
    team_object_or_404,
)

WHY_LINES = 3


class ApproveForm(forms.Form):
    """Yes, to exactly what was shown; at high risk the target is typed."""

    digest = forms.CharField(max_length=64, widget=forms.HiddenInput)
    note = forms.CharField(label="Note", required=False, max_length=2000)

    def __init__(self, *args: Any, target: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.target = target
        if target:
            self.fields["typed"] = forms.CharField(
                label=f"Type {target} to confirm", max_length=200, widget=forms.TextInput(attrs={"autocomplete": "off"})
            )

    def clean_typed(self) -> str:
        """What was typed must be the target itself."""
        typed: str = self.cleaned_data["typed"].strip()
        if typed != self.target:
            raise forms.ValidationError(f"This is not {self.target}. Nothing was applied.")
        return typed


class RejectForm(forms.Form):
    """No, with a reason."""

    digest = forms.CharField(max_length=64, widget=forms.HiddenInput)
    reason = forms.CharField(label="Why not", max_length=2000)


class BreakGlassForm(ApproveForm):
    """Yes, alone, with a reason that the team reads."""

    break_reason = forms.CharField(label="Why nobody else can approve now", max_length=500)


def find(request: PersonRequest, uuid: object, permission: Permission = Permission.SEE) -> ApprovalRequest:
    """The request, of a team of this person."""
    rows = ApprovalRequest.objects.select_related(
        "step_run", "step_run__run", "step_run__run__incident", "step_run__run__runbook", "step_run__run__revision"
    ).select_related("step_run__run__service", "step_run__run__team")
    return team_object_or_404(rows, request.actor, permission=permission, team="step_run__run__team", uuid=uuid)


def target_of(row: ApprovalRequest) -> str:
    """What has to be typed at high risk: the version (or else the service) that the action leads to; "" otherwise."""
    run = row.step_run.run
    if reading.step_of(run, row.step_run).risk != "high":
        return ""
    after = row.preview.get("after")
    found = after.get("version") or after.get("value") if isinstance(after, dict) else None
    if isinstance(found, str | int) and str(found).strip():
        return str(found).strip()
    return run.service.slug if run.service else run.runbook.slug


def context_of(request: PersonRequest, row: ApprovalRequest, **changed: Any) -> dict[str, Any]:
    """Everything the page shows; `changed` replaces a form that has faults, or says what came in between."""
    step, run = row.step_run, row.step_run.run
    now = clock.now()
    total = (row.due_at - row.requested_at).total_seconds()
    left = max(0.0, (row.due_at - now).total_seconds())
    is_open = row.state == "open" and left > 0
    effect = Effect.objects.filter(step_run=step, generation=row.generation).first()
    top = next((r for r in run.diagnosis.get("ranked", []) if r.get("id") == run.diagnosis.get("top")), None)
    return {
        "request_row": row,
        "step": step,
        "run": run,
        "incident": run.incident,
        "risk": reading.step_of(run, step).risk,
        "sentence": str(row.preview.get("sentence") or step.name),
        "left": left,
        "share_left": round(100 * left / total) if total else 0,
        "is_open": is_open,
        # Its time is over although the ticker has not come to it yet: it can be answered no more.
        "state": "expired" if row.state == "open" and not is_open else row.state,
        "top": top,
        "why": [exhibits.exhibit(item, run.incident) for item in _why(run, top)],
        "if_you_do": facts.if_you_do(row),
        "if_you_do_not": facts.if_you_do_not(row),
        "checked": facts.checked(row),
        "rechecks": facts.rechecks(row),
        "unsent": facts.unsent(row, effect),
        "effect": effect,
        "effect_word": words.effect_word(effect) if effect else "",
        "notice": "",
        **_shown_change(row),
        **_who(request, row),
        **_afterwards(row, effect, now),
        **_ways(row),
        **_forms(request, row),
        **changed,
    }


def _shown_change(row: ApprovalRequest) -> dict[str, Any]:
    before, after = row.preview.get("before"), row.preview.get("after")
    before, after = (value if isinstance(value, dict) else {} for value in (before, after))
    return {
        "lines": [line for line in row.preview.get("lines", []) if isinstance(line, list | tuple) and len(line) == 2],
        "warnings": row.preview.get("warnings", []),
        # What the other side alone can tell afterwards, such as the flag's next version, is no part of the choice.
        "differences": [(key, before.get(key), after[key]) for key in after if before.get(key) != after[key]],
        "params": sorted((row.step_run.params or {}).items()),
    }


def _who(request: PersonRequest, row: ApprovalRequest) -> dict[str, Any]:
    """The people asked, what they said, who comes next, and what the reader may do."""
    run = row.step_run.run
    decisions = list(row.decisions.all())
    mine = next((decision for decision in decisions if decision.user_id == request.user.pk), None)
    may_decide = permissions.can(request.actor, Permission.APPROVE, run.team)
    return {
        "asked": principals.people(row.principals, team=run.team),
        "decisions": decisions,
        "given": sum(decision.approve for decision in decisions),
        "escalations": facts.escalations(row),
        "mine": mine,
        "may_decide": may_decide and principals.is_among(request.actor, row.principals, team=run.team),
        "may_break": permissions.can(request.actor, Permission.BREAK_GLASS, run.team)
        and (mine is None or (mine.approve and not mine.break_glass)),
        "needs_proof": approval_needs_proof(request),
    }


def _afterwards(row: ApprovalRequest, effect: Effect | None, now: datetime) -> dict[str, Any]:
    """The five-minute clock with its stages, and what others found after a person's act."""
    stages = facts.stages(row, effect)
    until = row.closed_at + facts.CLOCK if row.closed_at else None
    return {
        "stages": stages,
        "reached": next((stage for stage in reversed(stages) if stage.done), None),
        "next_stage": next((stage for stage in stages if not stage.done), None),
        "clock_until": until,
        "clock_left": max(0.0, (until - now).total_seconds()) if until else 0.0,
        "since_act": _since(row.step_run.run, effect),
    }


def _ways(row: ApprovalRequest) -> dict[str, Any]:
    """Where one can go from here: the newer request, asking again, the same by Act now, the way back."""
    step, run = row.step_run, row.step_run.run
    how, back = facts.undo(row)
    given = "".join(f"&in-{name}={quote(str(value))}" for name, value in (step.params or {}).items())
    rests_on = repeating.speaks_for(run, step)
    return {
        "undo_how": how,
        "undo_url": _act_url(row, f"&{back}") if back else "",
        "act_url": _act_url(row, given),
        "newer": ApprovalRequest.objects.filter(step_run=step, state="open").exclude(pk=row.pk).first(),
        "is_asked_anew": step.generation > row.generation and not step.is_terminal,
        "can_ask_again": repeating.may_ask_again(run, step, row) and step.generation == row.generation,
        "again_checks": list(run.steps.filter(step__in=rests_on, kind="check").values_list("name", flat=True)),
    }


def _forms(request: PersonRequest, row: ApprovalRequest) -> dict[str, forms.Form]:
    begun, target = {"digest": row.digest}, target_of(row)
    return {
        "approve_form": ApproveForm(initial=begun, target=target),
        "reject_form": RejectForm(initial=begun, auto_id="reject_%s"),
        "break_form": BreakGlassForm(initial=begun, target=target, auto_id="break_%s"),
    }


def _why(run: Run, top: dict[str, Any] | None) -> list[Evidence]:
    """The problems that speak for the cause, newest first; without a cause all problems that were found."""
    problems = list(Evidence.objects.filter(run_id=run.pk, kind="check", verdict="fail").order_by("-id")[:50])
    if top:
        cited = [line["step"] for line in top.get("lines", []) if line.get("points", 0) > 0]
        problems = [item for item in problems if item.step in cited] or problems
    newest: dict[str, Evidence] = {}
    for item in problems:
        newest.setdefault(item.step, item)
    return list(newest.values())[:WHY_LINES]


def _act_url(row: ApprovalRequest, given: str) -> str:
    """Act now on the incident, with this action chosen."""
    incident = row.step_run.run.incident
    return f"{reverse('act_now', args=[incident.number])}?action={row.step_run.provider}{given}" if incident else ""


def _since(run: Run, effect: Effect | None) -> list[tuple[StepRun, words.Face]]:
    """What other runs of the incident found after a change that a person made beside them."""
    if not run.is_act or effect is None or effect.ended_at is None or run.incident_id is None:
        return []
    rows = StepRun.objects.filter(
        run__incident=run.incident_id, kind="check", state="settled", settled_at__gt=effect.ended_at
    ).exclude(run=run.pk)
    return [(step, words.step_face(step)) for step in rows.order_by("settled_at")[:10]]


class decided(faults_of):  # noqa: N801  reads as a phrase
    """A block in which somebody decides: Invalid becomes a fault of the form, Conflict a notice of the whole page."""

    conflict = ""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Take both; everything else goes on to the middleware."""
        if isinstance(error, Conflict):
            self.conflict = f"{error.sentence} {error.fix}"
            return True
        return super().__exit__(kind, error, trace)


@allow(Permission.SEE)
def approval(request: PersonRequest, uuid: object) -> HttpResponseBase:
    """The page; it stays when the request is closed, and says what became of it. A POST decides."""
    row = find(request, uuid)
    if request.method != "POST":
        return render(request, "approvals/approval.html", context_of(request, row))
    decision = request.POST.get("decision", "")
    if decision not in ("approve", "reject", "break_glass"):
        return _shown(request, row, "Nothing was decided. Press one of the buttons: approve or reject.", status=422)
    said = row.decisions.filter(user_id=request.user.pk).first()
    if said is not None and decision == ("approve" if said.approve else "reject"):
        # A second tap of the same person for the same: the first result is what there is to show.
        return redirect("approval", uuid=row.uuid)
    if decision == "reject":
        return _reject(request, row)
    return _approve(request, row, breaking=decision == "break_glass")


def _shown(
    request: PersonRequest, row: ApprovalRequest, notice: str = "", *, status: int, **changed: Any
) -> HttpResponse:
    """The page as things stand now, with what came in between or a form that has faults; never a dead end."""
    context = context_of(request, find(request, row.uuid), notice=notice, **changed)
    return render(request, "approvals/approval.html", context, status=status)


def _approve(request: PersonRequest, row: ApprovalRequest, *, breaking: bool) -> HttpResponseBase:
    """Yes, after a fresh sign-in; with break-glass alone and with a reason."""
    if breaking or approval_needs_proof(request):
        again = reauthenticate_first(request, back_to=reverse("approval", args=[row.uuid]))
        if again is not None:
            return again
    target = target_of(row)
    form = (
        BreakGlassForm(request.POST, target=target, auto_id="break_%s")
        if breaking
        else ApproveForm(request.POST, target=target)
    )
    if form.is_valid():
        said = form.cleaned_data
        answer = decided(form)
        with answer:
            verbs.approve(
                row.step_run,
                digest=said["digest"],
                actor=request.actor,
                note=said["note"],
                break_glass=breaking,
                reason=said.get("break_reason", ""),
            )
            return redirect("approval", uuid=row.uuid)
        if answer.conflict:
            return _shown(request, row, answer.conflict, status=409)
    return _faulty(request, row, "break_form" if breaking else "approve_form", form)


def _reject(request: PersonRequest, row: ApprovalRequest) -> HttpResponse:
    """No, with a reason."""
    form = RejectForm(request.POST, auto_id="reject_%s")
    if form.is_valid():
        answer = decided(form)
        with answer:
            verbs.reject(
                row.step_run,
                digest=form.cleaned_data["digest"],
                actor=request.actor,
                reason=form.cleaned_data["reason"],
            )
            return redirect("approval", uuid=row.uuid)
        if answer.conflict:
            return _shown(request, row, answer.conflict, status=409)
    return _faulty(request, row, "reject_form", form)


def _faulty(request: PersonRequest, row: ApprovalRequest, name: str, form: forms.Form) -> HttpResponse:
    """The page with what is wrong at its field; a form without its hidden digest is no answer to what was shown."""
    if "digest" in form.errors:
        return _shown(
            request, row, "The answer was incomplete; nothing was applied. Read it and decide anew.", status=422
        )
    changed: dict[str, Any] = {name: form}
    return _shown(request, row, status=422, **changed)


@allow(Permission.ANSWER)
@require_POST
def ask_again(request: PersonRequest, uuid: object) -> HttpResponse:
    """Expired is not dead: what it rests on is checked again, then it is read and asked anew."""
    row = find(request, uuid, Permission.ANSWER)
    answer = decided(forms.Form({}))
    with answer:
        repeating.ask_again(row.step_run, actor=request.actor)
    if answer.conflict:
        return _shown(request, row, answer.conflict, status=409)
    newest = ApprovalRequest.objects.filter(step_run=row.step_run, state="open").first()
    return redirect("approval", uuid=(newest or row).uuid)
