"""Describing a service in the browser: the same file, linter and loader as the folder in git, for who has no shell."""

from __future__ import annotations

from typing import Any

from csp.constants import NONCE
from csp.decorators import csp_update
from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import loader
from catalog.models import Connection, Team
from catalog.permissions import Permission
from common.yaml import MAX_BYTES
from runbooks import autonomy
from web.pages.findings import Findings, YamlField, typed
from web.pages.forms import faults_of, team_field, teams_with
from web.pages.services import completion
from web.policy import PersonRequest, allow, team_or_404

START = """spec: 1
service: my-service
title: What people call it
description: What it does, for whom.
tier: 2                            # 1 hurts users at once, 3 can wait
{signals}"""
SIGNALS = """signals:
  error_rate:
    connection: {connection}
    query: sum(rate(http_requests_total{{code=~"5.."}}[5m])) / sum(rate(http_requests_total[5m]))
    worse: up
"""
styles = csp_update({"style-src": [NONCE]})


class ServiceForm(forms.Form):
    """The file, typed or chosen, and the team that it is loaded for."""

    text = YamlField(label="YAML", rows=22)
    file = forms.FileField(
        label="Or choose the file",
        required=False,
        help_text="It takes the place of the text above, which then shows it.",
    )
    field_order = ("team", "text", "file")
    # The text may be empty where a file is chosen.
    use_required_attribute = False

    def __init__(self, *args: Any, teams: list[Team], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams)
        self.fields["text"].required = "file" not in self.files
        self.fields["text"].error_messages["required"] = "Write the file here, or choose one."
        self.order_fields(self.field_order)

    def clean(self) -> dict[str, Any]:
        """A chosen file is the text from here on, also where the form is shown again."""
        said = super().clean() or {}
        file: UploadedFile[bytes] | None = said.get("file")
        if file is not None:
            try:
                said["text"] = str(file.read(MAX_BYTES + 1), "utf-8-sig").replace("\r\n", "\n")
            except UnicodeDecodeError:
                self.add_error("file", "This is not UTF-8 text.")
                return said
            self.data = {**self.data, "text": said["text"]}
        return said


def _page(request: PersonRequest, form: ServiceForm, team: Team | None, *, status: int = 200) -> HttpResponse:
    text = typed(form)
    found = loader.check(text, file="service", team=team) if team and text.strip() else []
    context = {
        "form": form,
        "found": Findings(found),
        "refused": request.method == "POST",
        "completions": completion.service_words(team),
        "connections": Connection.objects.filter(team=team).count() if team else 0,
    }
    return render(request, "services/new.html", context, status=status)


@allow(Permission.CONFIGURE)
@styles  # type: ignore[arg-type]  # its stub knows of no parts of the address
def new(request: PersonRequest) -> HttpResponse:
    """The page: "Check only" shows the findings, "Load it" makes the service or brings it up to date."""
    teams = teams_with(request.user, Permission.CONFIGURE)
    if request.method != "POST":
        first = teams[0] if teams else None
        connection = Connection.objects.filter(team=first, connector="prometheus").first()
        signals = SIGNALS.format(connection=connection.slug) if connection else ""
        return _page(request, ServiceForm(teams=teams, initial={"text": START.format(signals=signals)}), first)
    form = ServiceForm(request.POST, request.FILES, teams=teams)
    team = next((team for team in teams if team.slug == request.POST.get("team")), None)
    if not form.is_valid() or team is None or "check" in request.POST:
        return _page(request, form, team, status=200 if form.is_valid() else 422)
    with faults_of(form):
        service = loader.load(form.cleaned_data["text"], file="browser", team=team, actor=request.actor)
        autonomy.note_loaded([service], actor=request.actor)
        messages.success(request, f"{service.title} is loaded. Keep the file in git: it stays the true source.")
        return redirect("service", slug=service.slug)
    return _page(request, form, team, status=422)


@allow(Permission.CONFIGURE)
@require_POST
def lint(request: PersonRequest) -> HttpResponse:
    """The findings of a file that is not loaded, for the editor."""
    # Who has one team need not name it.
    slug = request.POST.get("team") or teams_with(request.user, Permission.CONFIGURE)[0].slug
    team = team_or_404(request.actor, slug, permission=Permission.CONFIGURE)
    text = request.POST.get("text", "").replace("\r\n", "\n")
    return Findings(loader.check(text, file="service", team=team) if text.strip() else []).answer()
