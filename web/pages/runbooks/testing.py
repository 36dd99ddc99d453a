"""The tests of a runbook in the browser: read, written in the same editor as the runbook, and played."""

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
from catalog.permissions import Permission
from common.yaml import Finding
from runbooks.models import Runbook
from runbooks.testing import kept
from runbooks.testing.cases import Case, Event, Expect, Stub, Tests
from web.pages.findings import Findings, YamlField, typed
from web.pages.forms import faults_of
from web.pages.runbooks.runbooks import find
from web.policy import PersonRequest, allow, holds_anywhere

# As for the runbook's own editor (edit.py).
styles = csp_update({"style-src": [NONCE]})
_DRAFT = Permission.DRAFT_RUNBOOK
_FIELDS = {name: None for model in (Tests, Case, Stub, Event, Expect) for name in model.model_fields}
COMPLETIONS = {
    "keys": {
        "top": [{"label": name, "apply": f"{name}: "} for name in Tests.model_fields],
        "step": [{"label": name, "apply": f"{name}: "} for name in _FIELDS],
    },
    "values": {},
}


class TestsForm(forms.Form):
    """The text of the tests."""

    __test__ = False

    text = YamlField(label="YAML", rows=28)


def _page(request: PersonRequest, found: Runbook, form: TestsForm | None = None, status: int = 200) -> HttpResponse:
    row, text = kept.of(found), kept.text_of(found)
    may_write = found.team is not None and permissions.can(request.actor, Permission.DRAFT_RUNBOOK, found.team)
    if may_write and form is None:
        form = TestsForm(initial={"text": text or kept.beginning(found)})
    shown = typed(form) if form else text
    context: dict[str, Any] = {
        "runbook": found,
        "text": text,
        "form": form,
        "found": Findings(kept.check(found, shown)) if shown.strip() else Findings([]),
        "row": row,
        "report": row.report if row else {},
        "said": [Finding(**one) for one in (row.report if row else {}).get("findings", [])],
        "newest": kept.newest(found),
        "may_play": bool(text) and (may_write or (not found.team and holds_anywhere(request.actor, _DRAFT))),
        "completions": COMPLETIONS,
        "kept_here": request.method == "POST",
    }
    return render(request, "runbooks/tests.html", context, status=status)


@allow(Permission.SEE)
@styles  # type: ignore[arg-type]  # its stub knows of no parts of the address
def tests(request: PersonRequest, slug: str) -> HttpResponse:
    """The page; a POST keeps the text."""
    if request.method != "POST":
        return _page(request, find(request, slug))
    found = find(request, slug, Permission.DRAFT_RUNBOOK)
    form = TestsForm(request.POST)
    if form.is_valid() and "check" not in request.POST:
        with faults_of(form):
            kept.keep(found, text=form.cleaned_data["text"], actor=request.actor)
            messages.success(request, "The tests are kept.")
            return redirect("runbook_tests", slug=slug)
    return _page(request, found, form, status=200 if form.is_valid() else 422)


@allow(Permission.DRAFT_RUNBOOK)
@require_POST
def play(request: PersonRequest, slug: str) -> HttpResponse:
    """Play them on the newest revision; the page then shows what they said."""
    found = find(request, slug, Permission.DRAFT_RUNBOOK)
    row = kept.play(found, actor=request.actor)
    if row.report.get("passed"):
        messages.success(request, f"All cases passed on revision {row.report_revision}.")
    else:
        messages.error(request, f"The tests failed on revision {row.report_revision}.")
    return redirect("runbook_tests", slug=slug)


@allow(Permission.DRAFT_RUNBOOK)
@require_POST
def lint(request: PersonRequest, slug: str) -> HttpResponse:
    """The findings of a text that is not kept, for the editor."""
    found = find(request, slug, Permission.DRAFT_RUNBOOK)
    return Findings(kept.check(found, request.POST.get("text", "").replace("\r\n", "\n"))).answer()
