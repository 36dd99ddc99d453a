"""What people do to a run and its steps: each a POST, back to the run's page."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.permissions import Permission
from runbooks import execution, reading, repeating
from runbooks import runs as verbs
from runbooks.models import Run, StepRun
from web.pages.answering import manual_form
from web.pages.forms import faults_of
from web.pages.runs.run import context_of, find, find_step
from web.policy import PersonRequest, allow


class DecisionForm(forms.Form):
    """The answer to a parked verdict or to an effect in doubt."""

    decision = forms.CharField(max_length=20)
    verdict = forms.CharField(max_length=20, required=False)
    note = forms.CharField(max_length=2000, required=False)


def _back(request: PersonRequest, run: Run, sentence: str) -> HttpResponse:
    messages.success(request, sentence)
    return redirect("run", uuid=run.uuid)


@allow(Permission.RUN)
@require_POST
def cancel(request: PersonRequest, uuid: object) -> HttpResponse:
    """End it."""
    found = find(request, uuid, Permission.RUN)
    verbs.cancel(found, actor=request.actor, reason=request.POST.get("reason", "")[:300])
    return _back(request, found, "The run is being cancelled; what was already sent is waited for.")


@allow(Permission.RUN)
@require_POST
def pause(request: PersonRequest, uuid: object) -> HttpResponse:
    """Start nothing new."""
    found = find(request, uuid, Permission.RUN)
    verbs.pause(found, actor=request.actor, reason=request.POST.get("reason", "")[:300])
    return _back(request, found, "The run is paused; nothing new starts.")


@allow(Permission.RUN)
@require_POST
def resume(request: PersonRequest, uuid: object) -> HttpResponse:
    """Go on."""
    found = find(request, uuid, Permission.RUN)
    verbs.resume(found, actor=request.actor, reason=request.POST.get("reason", "")[:300])
    return _back(request, found, "The run goes on.")


@allow(Permission.ANSWER)
@require_POST
def answer(request: PersonRequest, uuid: object, step: str, item: int) -> HttpResponse:
    """Answer a manual step, a parked verdict, or an effect in doubt."""
    found = find_step(request, uuid, step, item, Permission.ANSWER)
    if found.state == "blocked" and found.blocked_on == "human":
        return _manual(request, found)
    form = DecisionForm(request.POST)
    if form.is_valid():
        said = form.cleaned_data
        verbs.answer(found, actor=request.actor, decision=said["decision"], verdict=said["verdict"], note=said["note"])
        return _back(request, found.run, f"Recorded: {said['decision'].replace('_', ' ')}.")
    messages.error(request, "Nothing was recorded: choose one of the answers.")
    return redirect("run", uuid=found.run.uuid)


def _manual(request: PersonRequest, step: StepRun) -> HttpResponse:
    decision = request.POST.get("decision", "done")[:20]
    form = manual_form(reading.step_of(step.run, step).fields, request.POST)
    if decision != "done" or form.is_valid():
        with faults_of(form):
            verbs.answer(
                step,
                actor=request.actor,
                fields=form.values() if decision == "done" else {},
                decision=decision,
                note=request.POST.get("note", "")[:2000],
            )
            return _back(request, step.run, f"Recorded for «{step.name}».")
    context = context_of(step.run, {f"{step.step}-{step.item}": form})
    return render(request, "runs/run.html", context, status=422)


@allow(Permission.ANSWER)
@require_POST
def skip(request: PersonRequest, uuid: object, step: str, item: int) -> HttpResponse:
    """Leave it out, with a reason."""
    found = find_step(request, uuid, step, item, Permission.ANSWER)
    verbs.skip(found, actor=request.actor, reason=request.POST.get("reason", "")[:500])
    return _back(request, found.run, f"Skipped «{found.name}».")


@allow(Permission.ANSWER)
@require_POST
def read_now(request: PersonRequest, uuid: object, step: str, item: int) -> HttpResponse:
    """Read the state of an effect in doubt again; runs.js does it by itself when the reading is old."""
    found = find_step(request, uuid, step, item, Permission.ANSWER)
    execution.read_now(found, actor=request.actor)
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(status=204)
    return redirect(f"{reverse('run', args=[found.run.uuid])}#{found.step}-{found.item}")


@allow(Permission.RUN)
@require_POST
def rerun(request: PersonRequest, uuid: object, step: str, item: int) -> HttpResponse:
    """Ask again."""
    found = find_step(request, uuid, step, item, Permission.RUN)
    repeating.rerun(found, actor=request.actor)
    return _back(request, found.run, f"«{found.name}» runs again.")
