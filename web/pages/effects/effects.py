"""The kill switch: whether effects are stopped, by whom and why; stopping them, and allowing them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog.models import KillSwitch
from catalog.permissions import Permission
from runbooks import killswitch
from runbooks.models import StepRun
from web.pages import words
from web.pages.forms import faults_of
from web.policy import PersonRequest, allow, holds_anywhere, visible

EARLIER = 10


class ReasonForm(forms.Form):
    """Why; everybody reads it."""

    reason = forms.CharField(label="Why", max_length=500)


def _waiting(request: PersonRequest) -> QuerySet[StepRun]:
    rows = visible(killswitch.waiting_actions(), request.actor, team="run__team")
    return rows.select_related("run", "run__incident", "run__runbook")


def _page(request: PersonRequest, form: ReasonForm | None = None, *, status: int = 200) -> HttpResponse:
    held = killswitch.engaged()
    waiting = _waiting(request)
    context: dict[str, Any] = {
        "held": held,
        "form": form or ReasonForm(),
        "may_stop": holds_anywhere(request.actor, Permission.STOP_EFFECTS),
        "may_allow": holds_anywhere(request.actor, Permission.ALLOW_EFFECTS),
        "waiting": [(step, words.step_face(step)) for step in waiting[:50]],
        "waiting_count": waiting.count(),
        # Of what other teams have, only how much it is.
        "everywhere": killswitch.waiting_actions().count(),
        "earlier": list(KillSwitch.objects.filter(engaged=False)[:EARLIER]),
    }
    return render(request, "effects/effects.html", context, status=status)


@allow(Permission.SIGNED_IN)
def effects(request: PersonRequest) -> HttpResponse:
    """The page."""
    return _page(request)


@allow(Permission.STOP_EFFECTS)
@require_POST
def stop(request: PersonRequest) -> HttpResponse:
    """Stop all of them."""
    return _turned(
        request, killswitch.pull, "All effects are stopped: nothing is changed until they are allowed again."
    )


@allow(Permission.ALLOW_EFFECTS)
@require_POST
def allow_again(request: PersonRequest) -> HttpResponse:
    """Let what waits look at everything anew, and go on."""
    return _turned(
        request, killswitch.release, "Effects are allowed again: what waited is looked at anew, then goes on."
    )


def _turned(request: PersonRequest, verb: Callable[..., object], sentence: str) -> HttpResponse:
    """The switch is turned for a reason; the page says so, or what is wrong."""
    form = ReasonForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            verb(reason=form.cleaned_data["reason"], actor=request.actor)
            messages.success(request, sentence)
            return redirect("effects")
    return _page(request, form, status=422)
