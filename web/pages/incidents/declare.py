"""Declaring an incident by hand; the address may fill in the form (`?title=…&severity=2&service=…&drill=1`)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog.models import Service
from catalog.permissions import Permission
from incidents import lifecycle
from incidents.models import Incident
from web.pages.forms import UtcTime, faults_of, service_field, team_field, teams_with
from web.policy import PersonRequest, allow, team_object_or_404, team_or_404


class DeclareForm(forms.Form):
    """What is wrong, as far as known."""

    title = forms.CharField(max_length=500, label="What is wrong", help_text="One line that makes sense at 3 a.m.")
    severity = forms.TypedChoiceField(
        choices=[(level, f"SEV{level} {word}") for level, word in Incident.SEVERITIES], coerce=int, initial=3
    )
    incident_type = forms.ChoiceField(choices=Incident.TYPES, label="Kind", initial="other")
    summary = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), required=False, max_length=10_000)
    started_at = UtcTime(label="Began at (UTC)", required=False, help_text="Empty: now.")
    is_drill = forms.BooleanField(label="This is an exercise", required=False)
    field_order = ("title", "service", "severity", "incident_type", "summary", "started_at", "team", "is_drill")

    def __init__(self, *args: Any, request: PersonRequest, **kwargs: Any) -> None:
        teams = teams_with(request.user, Permission.RESPOND)
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.fields["service"] = service_field([team.pk for team in teams])
        self.order_fields(self.field_order)


@allow(Permission.RESPOND)
def declare(request: PersonRequest) -> HttpResponse:
    """The form, and declaring."""
    if request.method != "POST":
        given: dict[str, str | bool] = {
            name: request.GET[name] for name in DeclareForm.field_order if name in request.GET
        }
        given |= {"is_drill": True} if request.GET.get("drill") else {}
        return render(request, "incidents/declare.html", {"form": DeclareForm(initial=given, request=request)})
    form = DeclareForm(request.POST, request=request)
    if form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.RESPOND)
        service = (
            team_object_or_404(Service.objects.all(), request.actor, slug=said["service"]) if said["service"] else None
        )
        if service is not None:
            team = service.team
        with faults_of(form):
            found = lifecycle.declare(
                team=team,
                title=said["title"],
                severity=said["severity"],
                actor=request.actor,
                service=service,
                summary=said["summary"],
                incident_type=said["incident_type"],
                started_at=said["started_at"],
                is_drill=said["is_drill"],
            )
            return redirect("incident", number=found.number)
    return render(request, "incidents/declare.html", {"form": form}, status=422)
