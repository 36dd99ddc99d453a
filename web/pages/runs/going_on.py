"""Going on from a step of an ended run: what is taken over, the inputs to change, one button."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog.permissions import Permission
from runbooks import going_on, reading
from web.pages.answering import InputsForm
from web.pages.forms import faults_of
from web.pages.runs.run import find, find_step
from web.policy import PersonRequest, allow


@allow(Permission.RUN)
def go_on(request: PersonRequest, uuid: object, step: str, item: int) -> HttpResponse:
    """See what a new run takes over (GET), and start it (POST)."""
    run = find(request, uuid, Permission.RUN)
    found = find_step(request, uuid, step, item, Permission.RUN)
    definitions = reading.written(run.revision).get("inputs")
    form = InputsForm(
        request.POST if request.method == "POST" else None,
        definitions=definitions if isinstance(definitions, dict) else {},
        given=run.inputs,
    )
    for field in form.fields.values():
        # What is left empty stays as it was.
        field.required = False
    if request.method == "POST" and form.is_valid():
        with faults_of(form):
            new = going_on.from_step(run, found, given=form.values(), actor=request.actor)
            messages.success(request, f"A new run goes on from «{found.name}».")
            return redirect("run", uuid=new.uuid)
    taken, possible = going_on.before(run, found), going_on.may_go_on(run, found, list(found.effects.all()))
    context = {"run": run, "step": found, "form": form, "taken": taken, "may_go_on": possible}
    return render(request, "runs/go_on.html", context, status=422 if form.errors else 200)
