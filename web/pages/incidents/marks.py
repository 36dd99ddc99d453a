"""What people say about what is recorded: stars, corrected times, and how far it reaches."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from catalog.permissions import Permission
from incidents import impact, notes, pins
from web.pages.forms import back_to, faults_of
from web.pages.incidents import finding, forms
from web.pages.incidents.incident import shown
from web.policy import PersonRequest, allow


@allow(Permission.RESPOND)
@require_POST
def pin(request: PersonRequest, number: int, seq: int) -> HttpResponse:
    """Set the star of one entry, or take it away: `pinned` says which, so that a second tap changes nothing."""
    found = finding.find(request, number, Permission.RESPOND)
    pins.pin(found, seq, pinned=request.POST.get("pinned") == "1", actor=request.actor)
    return redirect(f"{back_to(request, 'incident_timeline', number)}#t-{seq}")


@allow(Permission.RESPOND)
@require_POST
def note_time(request: PersonRequest, number: int, seq: int) -> HttpResponse:
    """Say when what a note tells really was."""
    found = finding.find(request, number, Permission.RESPOND)
    form = forms.NoteTimeForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            said = form.cleaned_data
            notes.correct_time(found, seq, at=said["at"], reason=said["reason"], actor=request.actor)
    if not form.is_valid():
        return shown(request, found, "timeline", time_form=form, corrects=seq)
    messages.success(request, "The time is corrected; the note as it was stays on record.")
    return redirect(f"{reverse('incident_timeline', args=[number])}#t-{found.last_seq}")


@allow(Permission.RESPOND)
@require_POST
def set_impact(request: PersonRequest, number: int) -> HttpResponse:
    """Say one figure of what users feel."""
    found = finding.find(request, number, Permission.RESPOND)
    form = forms.ImpactForm(request.POST)
    if form.is_valid():
        with faults_of(form):
            said = form.cleaned_data
            impact.set_figure(
                found,
                said["name"],
                basis=said["basis"],
                actor=request.actor,
                value=said["value"],
                reason=said["reason"],
                asked=said["asked"],
                evidence=said["evidence"],
            )
    if not form.is_valid():
        return shown(request, found, impact_form=form)
    messages.success(request, f"The impact is set: {impact.NAMES[form.cleaned_data['name']].lower()}.")
    return redirect("incident", number=number)
