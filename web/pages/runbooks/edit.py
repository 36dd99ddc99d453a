"""Writing a runbook in a plain textarea, with the same findings that `runbook lint` gives, by line and column."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog import permissions
from catalog.models import Team
from catalog.permissions import Permission
from runbooks import revisions, schema
from runbooks.models import Runbook
from web.pages.forms import faults_of, team_field, teams_with
from web.pages.runbooks.runbooks import find
from web.policy import PersonRequest, allow, team_or_404

START = """spec: 1
id: my_runbook
title: What it is about, in one line
incident_type: other
owner: team:default
inputs:
  service: {type: string}
phases:
  check:
    - id: errors
      name: Are there more errors than usual?
      check: metric.query
      with: {signal: error_rate}
      fail_if: value > 0.05
      pass_if: value <= 0.05
"""


class TextForm(forms.Form):
    """The text and what was changed in it."""

    text = forms.CharField(
        label="YAML",
        strip=False,
        widget=forms.Textarea(attrs={"rows": 28, "class": "code", "spellcheck": "false", "wrap": "off"}),
    )
    note = forms.CharField(label="What changed and why", required=False, max_length=300)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The reader of YAML says what is wrong with the text, by line and column: size and NUL too.
        self.fields["text"].validators = []

    def clean_text(self) -> str:
        """Browsers send CR LF; the text keeps the line ends of YAML files."""
        text: str = self.cleaned_data["text"]
        return text.replace("\r\n", "\n")


def _page(
    request: PersonRequest, found: Runbook | None, form: TextForm, team: Team | None, *, status: int = 200
) -> HttpResponse:
    """The editor; the findings are those that saving for `team` would give."""
    text = str(form["text"].value() or "").replace("\r\n", "\n")
    # Under another id a shipped runbook becomes the team's copy, so the file's name is not held against it.
    name = f"{found.slug}.yaml" if found and found.team else "new"
    principals = revisions.principals_of(team) if team else None
    findings = schema.check(text, file=name, principals=principals) if text.strip() else []
    context: dict[str, Any] = {
        "runbook": found,
        "form": form,
        "findings": findings,
        "errors": sum(finding.severity == "error" for finding in findings),
    }
    return render(request, "runbooks/edit.html", context, status=status)


def _save(request: PersonRequest, found: Runbook | None, form: TextForm, team: Team) -> HttpResponse | None:
    with faults_of(form):
        saved = revisions.save(
            found,
            text=form.cleaned_data["text"],
            actor=request.actor,
            team=team,
            note=form.cleaned_data["note"],
            source="editor",
        )
        messages.success(request, f"Revision {saved.number} is kept. Runs use it once it is published.")
        return redirect("runbook", slug=saved.runbook.slug)
    return None


@allow(Permission.DRAFT_RUNBOOK)
def edit(request: PersonRequest, slug: str) -> HttpResponse:
    """Edit: "Check" shows the findings only, "Keep" stores a revision."""
    found = find(request, slug, Permission.DRAFT_RUNBOOK)
    team = found.team or teams_with(request.user, Permission.DRAFT_RUNBOOK)[0]
    if request.method != "POST":
        newest = found.revisions.first()
        text = newest.text if newest else START
        if found.team is None and not permissions.can(request.actor, Permission.ORG_ADMIN):
            text = revisions.as_copy(found, text, team)
        return _page(request, found, TextForm(initial={"text": text}), team)
    form = TextForm(request.POST)
    if not form.is_valid() or "check" in request.POST:
        return _page(request, found, form, team, status=200 if form.is_valid() else 422)
    return _save(request, found, form, team) or _page(request, found, form, team, status=422)


class NewForm(TextForm):
    """The same with the team that the new runbook belongs to."""

    def __init__(self, *args: Any, request: PersonRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams_with(request.user, Permission.DRAFT_RUNBOOK))


@allow(Permission.DRAFT_RUNBOOK)
def new(request: PersonRequest) -> HttpResponse:
    """A new runbook, from a small example."""
    if request.method != "POST":
        return _page(request, None, NewForm(initial={"text": START}, request=request), None)
    form = NewForm(request.POST, request=request)
    if not form.is_valid():
        return _page(request, None, form, None, status=422)
    team = team_or_404(request.actor, form.cleaned_data["team"], permission=Permission.DRAFT_RUNBOOK)
    if "check" in request.POST:
        return _page(request, None, form, team)
    return _save(request, None, form, team) or _page(request, None, form, team, status=422)
