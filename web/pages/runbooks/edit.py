"""Writing a runbook: CodeMirror where there is JavaScript, a textarea where there is none, one linter behind both."""

from __future__ import annotations

from typing import Any

from csp.constants import NONCE
from csp.decorators import csp_update
from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog import permissions
from catalog.models import Team
from catalog.permissions import Permission
from runbooks import children, compare, revisions, schema
from runbooks.models import Runbook
from web.pages.findings import Findings, YamlField, typed
from web.pages.forms import faults_of, team_field, teams_with
from web.pages.runbooks import completion
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
# CodeMirror writes a style element: the pages with an editor, and no others, let one with their nonce be.
styles = csp_update({"style-src": [NONCE]})


class TextForm(forms.Form):
    """The text, what was changed in it, and from which revision the writer began (0: none)."""

    text = YamlField(label="YAML", rows=28)
    note = forms.CharField(label="What changed and why", required=False, max_length=300)
    begun_from = forms.IntegerField(
        required=False, min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput(attrs={"autocomplete": "off"})
    )


def _findings(found: Runbook | None, text: str, team: Team | None) -> Findings:
    """Those that keeping the text for `team` would give."""
    # Under another id a shipped runbook becomes the team's copy, so the file's name is not held against it.
    name = f"{found.slug}.yaml" if found and found.team else "new"
    principals = revisions.principals_of(team) if team else None
    return Findings(
        schema.check(text, file=name, principals=principals, others=children.others(team)) if text.strip() else []
    )


def _page(
    request: PersonRequest,
    found: Runbook | None,
    form: TextForm,
    team: Team | None,
    *,
    status: int = 200,
    overtaken: dict[str, Any] | None = None,
) -> HttpResponse:
    """The editor."""
    context: dict[str, Any] = {
        "runbook": found,
        "form": form,
        "found": _findings(found, typed(form), team),
        "overtaken": overtaken,
        "kept_here": request.method == "POST",
        "completions": completion.runbook_words(request.actor),
    }
    return render(request, "runbooks/edit.html", context, status=status)


def _overtaken(found: Runbook | None, form: TextForm) -> dict[str, Any] | None:
    """Who kept what in the meantime, and what keeping the writer's text would change in it; None if nobody did."""
    begun_from = form.cleaned_data.get("begun_from")
    newest = found.revisions.first() if found else None
    if found is None or newest is None or begun_from is None or newest.number == begun_from:
        return None
    base = found.revisions.filter(number=begun_from).first()
    # Keeping it once more is then a decision made with the other text in sight.
    form.data = {**form.data, "begun_from": str(newest.number)}
    return {
        "newest": newest,
        "base": base,
        "theirs": compare.revisions(base, newest) if base else None,
        "mine": compare.texts(newest.text, form.cleaned_data["text"]),
    }


def _save(request: PersonRequest, found: Runbook | None, form: TextForm, team: Team) -> HttpResponse:
    said = form.cleaned_data
    with faults_of(form):
        saved = revisions.save(
            found,
            text=said["text"],
            actor=request.actor,
            team=team,
            note=said["note"],
            source="editor",
            begun_from=said["begun_from"],
        )
        messages.success(request, f"Revision {saved.number} is kept. Runs use it once it is published.")
        return redirect("runbook", slug=saved.runbook.slug)
    overtaken = _overtaken(found, form)
    return _page(request, found, form, team, status=409 if overtaken else 422, overtaken=overtaken)


@allow(Permission.DRAFT_RUNBOOK)
@styles  # type: ignore[arg-type]  # its stub knows of no parts of the address
def edit(request: PersonRequest, slug: str) -> HttpResponse:
    """Edit: "Check" shows the findings only, "Keep" stores a revision."""
    found = find(request, slug, Permission.DRAFT_RUNBOOK)
    team = _team_of(request, found)
    if request.method != "POST":
        newest = found.revisions.first()
        text = newest.text if newest else START
        if found.team is None and not permissions.can(request.actor, Permission.ORG_ADMIN):
            text = revisions.as_copy(found, text, team)
        initial = {"text": text, "begun_from": newest.number if newest else 0}
        return _page(request, found, TextForm(initial=initial), team)
    form = TextForm(request.POST)
    if not form.is_valid() or "check" in request.POST:
        return _page(request, found, form, team, status=200 if form.is_valid() else 422)
    return _save(request, found, form, team)


def _team_of(request: PersonRequest, found: Runbook) -> Team:
    """The team that a text of this runbook is kept for: of a shipped one, the writer's own."""
    return found.team or teams_with(request.user, Permission.DRAFT_RUNBOOK)[0]


class NewForm(TextForm):
    """The same with the team that the new runbook belongs to."""

    field_order = ("team", "text", "note", "begun_from")

    def __init__(self, *args: Any, request: PersonRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"] = team_field(teams_with(request.user, Permission.DRAFT_RUNBOOK))
        self.order_fields(self.field_order)


@allow(Permission.DRAFT_RUNBOOK)
@styles  # type: ignore[arg-type]  # its stub knows of no parts of the address
def new(request: PersonRequest) -> HttpResponse:
    """A new runbook, from a small example."""
    if request.method != "POST":
        return _page(request, None, NewForm(initial={"text": START, "begun_from": 0}, request=request), None)
    form = NewForm(request.POST, request=request)
    if not form.is_valid():
        return _page(request, None, form, None, status=422)
    team = team_or_404(request.actor, form.cleaned_data["team"], permission=Permission.DRAFT_RUNBOOK)
    if "check" in request.POST:
        return _page(request, None, form, team)
    return _save(request, None, form, team)


@allow(Permission.DRAFT_RUNBOOK)
@require_POST
def lint(request: PersonRequest, slug: str) -> HttpResponse:
    """The findings of a text that is not kept, for the editor."""
    found = find(request, slug, Permission.DRAFT_RUNBOOK)
    return _findings(found, _sent(request), _team_of(request, found)).answer()


@allow(Permission.DRAFT_RUNBOOK)
@require_POST
def lint_new(request: PersonRequest) -> HttpResponse:
    """The same for a new runbook of the team that the form names."""
    # Who has one team need not name it.
    slug = request.POST.get("team") or teams_with(request.user, Permission.DRAFT_RUNBOOK)[0].slug
    team = team_or_404(request.actor, slug, permission=Permission.DRAFT_RUNBOOK)
    return _findings(None, _sent(request), team).answer()


def _sent(request: PersonRequest) -> str:
    return request.POST.get("text", "").replace("\r\n", "\n")
