"""What people do to an incident: each a POST of its own, back to the incident's page."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from catalog.models import Service
from catalog.permissions import Permission
from common.errors import NotFound
from incidents import lifecycle
from incidents.models import Gate, Incident
from web.pages.forms import back_to, faults_of
from web.pages.incidents import finding
from web.pages.incidents.forms import NoteForm, ReasonForm, RemarkForm, ServiceForm, SeverityForm, TimesForm
from web.pages.incidents.incident import shown
from web.policy import PersonRequest, allow, team_object_or_404


def _done(request: PersonRequest, incident: Incident, sentence: str) -> HttpResponse:
    messages.success(request, sentence)
    return redirect("incident", number=incident.number)


@allow(Permission.RESPOND)
@require_POST
def acknowledge(request: PersonRequest, number: int) -> HttpResponse:
    """Somebody looks after it."""
    found = finding.find(request, number, Permission.RESPOND)
    lifecycle.acknowledge(found, actor=request.actor)
    return _done(request, found, f"You acknowledged {found.key}.")


@allow(Permission.RESPOND)
@require_POST
def take_over(request: PersonRequest, number: int) -> HttpResponse:
    """Become its commander."""
    found = finding.find(request, number, Permission.RESPOND)
    lifecycle.take_over(found, actor=request.actor)
    return _done(request, found, f"You command {found.key} now.")


def _with_note(request: PersonRequest, number: int, verb: Callable[..., object], sentence: str) -> HttpResponse:
    found = finding.find(request, number, Permission.RESPOND)
    form = RemarkForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            verb(found, actor=request.actor, note=form.cleaned_data["note"])
    if form.is_valid():
        return _done(request, found, sentence.format(found.key))
    return shown(request, found, remark_form=form)


@allow(Permission.RESPOND)
@require_POST
def mitigate(request: PersonRequest, number: int) -> HttpResponse:
    """Users no longer feel it; the postmortem's clock starts."""
    return _with_note(request, number, lifecycle.mitigate, "{} is mitigated; the postmortem's 48 hours run.")


@allow(Permission.RESPOND)
@require_POST
def resolve(request: PersonRequest, number: int) -> HttpResponse:
    """It is over."""
    return _with_note(request, number, lifecycle.resolve, "{} is resolved.")


@allow(Permission.RESPOND)
@require_POST
def reopen(request: PersonRequest, number: int) -> HttpResponse:
    """It is not over after all."""
    found = finding.find(request, number, Permission.RESPOND)
    form = ReasonForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            lifecycle.reopen(found, actor=request.actor, reason=form.cleaned_data["reason"])
    if form.is_valid():
        return _done(request, found, f"{found.key} is open again.")
    return shown(request, found, reason_form=form)


@allow(Permission.RESPOND)
@require_POST
def close(request: PersonRequest, number: int) -> HttpResponse:
    """Nothing is left to do about it."""
    found = finding.find(request, number, Permission.RESPOND)
    lifecycle.close(found, actor=request.actor, reason=request.POST.get("reason", "")[:500])
    return _done(request, found, f"{found.key} is closed.")


@allow(Permission.RESPOND)
@require_POST
def severity(request: PersonRequest, number: int) -> HttpResponse:
    """Another severity."""
    found = finding.find(request, number, Permission.RESPOND)
    form = SeverityForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            lifecycle.set_severity(
                found,
                severity=form.cleaned_data["severity"],
                actor=request.actor,
                reason=form.cleaned_data["reason"],
            )
    if form.is_valid():
        return _done(request, found, f"{found.key} is SEV{form.cleaned_data['severity']} now.")
    return shown(request, found, severity_form=form)


@allow(Permission.RESPOND)
@require_POST
def bind_service(request: PersonRequest, number: int) -> HttpResponse:
    """Say which service it is about."""
    found = finding.find(request, number, Permission.RESPOND)
    form = ServiceForm(request.POST, team_id=found.team_id)
    if form.is_valid():
        chosen = team_object_or_404(
            Service.objects.filter(team=found.team_id), request.actor, slug=form.cleaned_data["service"]
        )
        with faults_of(form):
            lifecycle.bind_service(found, service=chosen, actor=request.actor)
    if form.is_valid():
        return _done(request, found, f"{found.key} is about {form.cleaned_data['service']}.")
    return shown(request, found, service_form=form)


@allow(Permission.RESPOND)
@require_POST
def times(request: PersonRequest, number: int) -> HttpResponse:
    """Correct when it began."""
    found = finding.find(request, number, Permission.RESPOND)
    form = TimesForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            lifecycle.set_times(
                found,
                actor=request.actor,
                reason=form.cleaned_data["reason"],
                started_at=form.cleaned_data["started_at"],
            )
    if form.is_valid():
        return _done(request, found, f"The beginning of {found.key} is corrected.")
    return shown(request, found, times_form=form)


@allow(Permission.RESPOND)
@require_POST
def note(request: PersonRequest, number: int) -> HttpResponse:
    """Write something down."""
    found = finding.find(request, number, Permission.RESPOND)
    form = NoteForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            lifecycle.add_note(found, text=form.cleaned_data["text"], actor=request.actor, at=form.cleaned_data["at"])
    if not form.is_valid():
        return shown(request, found, note_form=form)
    # A note sent by forms.js clears its own form; the timeline comes by the live update.
    if request.headers.get("HX-Request") == "true":
        return HttpResponse(status=204)
    return redirect(back_to(request, "incident", number))


@allow(Permission.RESPOND)
@require_POST
def gate(request: PersonRequest, number: int, gate: int) -> HttpResponse:
    """Answer a closing condition."""
    found = finding.find(request, number, Permission.RESPOND)
    row = Gate.objects.filter(incident=found, pk=gate).first()
    if row is None:
        raise NotFound("There is no such condition on this incident.", fix="Reload its page.")
    form = RemarkForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            lifecycle.answer_gate(row, answer=form.cleaned_data["note"], actor=request.actor)
    if form.is_valid():
        return _done(request, found, f"Answered: {row.title}")
    return shown(request, found, "postmortem", remark_form=form)
