"""The question whether one exact action may be applied: what, why, what was checked, who may say so, until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.permissions import Permission
from common import clock
from common.errors import Invalid
from incidents.models import Evidence
from runbooks import approvals as verbs
from runbooks import principals, reading, repeating
from runbooks.models import ApprovalRequest, Effect
from runbooks.steps import ActionStep
from web.pages import exhibits, words
from web.pages.forms import faults_of
from web.policy import (
    PersonRequest,
    allow,
    approval_needs_proof,
    reauthenticate_first,
    team_object_or_404,
)

WHY_LINES = 3


@dataclass(frozen=True)
class Stage:
    """One stage of what happens after the decision."""

    word: str
    at: Any
    done: bool


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


def context_of(request: PersonRequest, row: ApprovalRequest, **changed: forms.Form) -> dict[str, Any]:
    """Everything the page shows; `changed` replaces a form that has faults."""
    step, run = row.step_run, row.step_run.run
    definition = reading.step_of(run, step)
    now = clock.now()
    rechecks = list(definition.step.recheck) if isinstance(definition.step, ActionStep) else []
    checks = list(run.steps.filter(step__in=rechecks)) if rechecks else []
    problems = list(
        Evidence.objects.filter(run_id=run.pk, kind="check", verdict="fail").order_by("-id")[: WHY_LINES * 2]
    )
    top = next((r for r in run.diagnosis.get("ranked", []) if r.get("id") == run.diagnosis.get("top")), None)
    if top:
        cited = [line["step"] for line in top.get("lines", []) if line.get("points", 0) > 0]
        problems = [item for item in problems if item.step in cited] or problems
    asked = principals.people(row.principals, team=run.team)
    total = (row.due_at - row.requested_at).total_seconds()
    left = max(0.0, (row.due_at - now).total_seconds())
    before, after = row.preview.get("before"), row.preview.get("after")
    before, after = (value if isinstance(value, dict) else {} for value in (before, after))
    effect = Effect.objects.filter(step_run=step, generation=row.generation).first()
    target = target_of(row)
    mine = row.decisions.filter(user_id=request.user.pk).first()
    may_decide = permissions.can(request.actor, Permission.APPROVE, run.team)
    may_decide = may_decide and principals.is_among(request.actor, row.principals, team=run.team)
    return {
        "request_row": row,
        "step": step,
        "run": run,
        "incident": run.incident,
        "definition": definition,
        "risk": definition.risk,
        "sentence": str(row.preview.get("sentence") or step.name),
        "lines": [line for line in row.preview.get("lines", []) if isinstance(line, list | tuple) and len(line) == 2],
        "warnings": row.preview.get("warnings", []),
        # What the other side alone can tell afterwards, such as the flag's next version, is no part of the choice.
        "differences": [(key, before.get(key), after[key]) for key in after if before.get(key) != after[key]],
        "params": sorted((step.params or {}).items()),
        "why": [exhibits.exhibit(item, run.incident) for item in problems[:WHY_LINES]],
        "top": top,
        "checks": [(check, words.step_face(check)) for check in checks],
        "asked": asked,
        "decisions": list(row.decisions.all()),
        "mine": mine,
        "left": left,
        "share_left": round(100 * left / total) if total else 0,
        "is_open": row.state == "open" and left > 0,
        "may_decide": may_decide,
        "may_break": permissions.can(request.actor, Permission.BREAK_GLASS, run.team)
        and (mine is None or (mine.approve and not mine.break_glass)),
        "needs_proof": approval_needs_proof(request),
        "approve_form": ApproveForm(initial={"digest": row.digest}, target=target),
        "reject_form": RejectForm(initial={"digest": row.digest}, auto_id="reject_%s"),
        "break_form": BreakGlassForm(initial={"digest": row.digest}, target=target, auto_id="break_%s"),
        "stages": _stages(row, effect),
        "effect": effect,
        "effect_word": words.effect_word(effect) if effect else "",
        "step_face": words.step_face(step),
        "newer": ApprovalRequest.objects.filter(step_run=step, state="open").exclude(pk=row.pk).first(),
        "can_ask_again": run.is_open
        and row.state == "expired"
        and ((step.state == "blocked" and step.blocked_on == "ask") or step.state == "settled"),
        **changed,
    }


def _stages(row: ApprovalRequest, effect: Effect | None) -> list[Stage]:
    if row.state != "approved":
        return []
    confirmed = effect is not None and effect.state == "confirmed"
    return [
        Stage("recorded", row.closed_at, done=True),
        Stage("sent", effect.sent_at if effect else None, done=bool(effect and effect.sent_at)),
        Stage("confirmed", effect.ended_at if effect and confirmed else None, done=confirmed),
    ]


class faults_of_invalid_only(faults_of):  # noqa: N801  reads as a phrase
    """A changed digest or a second click is a Conflict of the whole page, not a fault of the form."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Take Invalid alone."""
        return isinstance(error, Invalid) and super().__exit__(kind, error, trace)


@allow(Permission.SEE)
def approval(request: PersonRequest, uuid: object) -> HttpResponseBase:
    """The page; it stays when the request is closed, and says what became of it. A POST decides."""
    row = find(request, uuid)
    if request.method != "POST":
        return render(request, "approvals/approval.html", context_of(request, row))
    decision = request.POST.get("decision", "")
    if decision == "reject":
        return _reject(request, row)
    if decision not in ("approve", "break_glass"):
        raise Invalid("Nothing was decided.", fix="Press one of the buttons: approve or reject.")
    return _approve(request, row, breaking=decision == "break_glass")


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
        with faults_of_invalid_only(form):
            verbs.approve(
                row.step_run,
                digest=said["digest"],
                actor=request.actor,
                note=said["note"],
                break_glass=breaking,
                reason=said.get("break_reason", ""),
            )
            return redirect("approval", uuid=row.uuid)
    context = context_of(request, row, **{"break_form" if breaking else "approve_form": form})
    return render(request, "approvals/approval.html", context, status=422)


def _reject(request: PersonRequest, row: ApprovalRequest) -> HttpResponse:
    """No, with a reason."""
    form = RejectForm(request.POST, auto_id="reject_%s")
    if form.is_valid():
        with faults_of_invalid_only(form):
            verbs.reject(
                row.step_run,
                digest=form.cleaned_data["digest"],
                actor=request.actor,
                reason=form.cleaned_data["reason"],
            )
            return redirect("approval", uuid=row.uuid)
    return render(request, "approvals/approval.html", context_of(request, row, reject_form=form), status=422)


@allow(Permission.ANSWER)
@require_POST
def ask_again(request: PersonRequest, uuid: object) -> HttpResponse:
    """Expired is not dead: the action is read anew and asked anew."""
    row = find(request, uuid, Permission.ANSWER)
    step = row.step_run
    repeating.ask_again(step, actor=request.actor)
    return redirect("run", uuid=step.run.uuid)
