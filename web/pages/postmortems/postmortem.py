"""One postmortem: the text as readers see it, its whys, checklist and items; editing without losing anybody's words."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog.models import User
from catalog.permissions import Permission
from common.errors import Conflict, NotFound
from incidents import citations, postmortem_export, postmortem_lint
from incidents import postmortems as verbs
from incidents.models import Postmortem
from web.pages import figures
from web.pages.forms import faults_of, member_field
from web.pages.incidents import finding
from web.pages.postmortems import editor
from web.pages.postmortems.finding import find
from web.pages.postmortems.sections import new_window
from web.policy import PersonRequest, allow


class TextForm(forms.Form):
    """The text, and the edition it started from."""

    body = forms.CharField(
        label="Text",
        required=False,
        strip=False,
        # Only the verb says what is too long: browsers count a line's end as one character and send two.
        widget=forms.Textarea(attrs={"rows": 30, "class": "document", "maxlength": verbs.BODY_LENGTH}),
    )
    edition = forms.IntegerField(widget=forms.HiddenInput, min_value=0)

    def clean_body(self) -> str:
        """Browsers send CR LF; the text keeps LF."""
        text: str = self.cleaned_data["body"]
        return text.replace("\r\n", "\n")


@allow(Permission.SEE)
def postmortem(request: PersonRequest, number: int) -> HttpResponse:
    """The page: the editor for whoever may write, else (or with `?view=read`) the text as readers see it."""
    found = find(request, number)
    wanted = request.GET.get("view", "read" if found.state in verbs.SETTLED_STATES else "write")
    edit = request.GET.get("edit", "")
    context = editor.context(request, found, edit=edit, window=request.GET.get("window", "")[:40] or new_window())
    if found.body and (not context["may_write"] or (wanted == "read" and not edit)):
        return render(request, "postmortems/read.html", context)
    return render(request, "postmortems/postmortem.html", context)


@allow(Permission.SEE)
def parts(request: PersonRequest, number: int) -> HttpResponse:
    """The editor's parts alone, for a page that is open and has heard of a change."""
    found = find(request, number)
    return render(request, "postmortems/_parts.html", editor.context(request, found))


def _whole(found: Postmortem) -> dict[str, Any]:
    """What stands beside the whole text."""
    return {
        "postmortem": found,
        "incident": found.incident,
        "questions": citations.open_questions(found.body),
        "findings": postmortem_lint.findings(found.body) if found.body else [],
    }


@allow(Permission.EDIT_POSTMORTEM)
def edit(request: PersonRequest, number: int) -> HttpResponse:
    """Edit; with an old edition both texts are shown and nothing is lost."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    if request.method != "POST":
        form = TextForm(initial={"body": found.body, "edition": found.edition})
        return render(request, "postmortems/edit.html", _whole(found) | {"form": form})
    form = TextForm(request.POST)
    if form.is_valid():
        said = form.cleaned_data
        with faults_of(form):
            try:
                verbs.save(found, body=said["body"], edition=said["edition"], actor=request.actor)
            except Conflict as conflict:
                return _conflict(request, found, said["body"], conflict)
            messages.success(request, "Saved.")
            return redirect("postmortem", number=number)
    return render(request, "postmortems/edit.html", _whole(found) | {"form": form}, status=422)


def _conflict(request: PersonRequest, found: Postmortem, mine: str, conflict: Conflict) -> HttpResponse:
    """The one place where a page keeps a DomainError: a plain error page would lose what was typed."""
    found.refresh_from_db()
    context = {
        "postmortem": found,
        "incident": found.incident,
        "sentence": conflict.sentence,
        "mine": mine,
        "theirs": found.body,
        "last": found.editions.first(),
        "form": TextForm(initial={"body": mine, "edition": found.edition}),
    }
    return render(request, "postmortems/conflict.html", context, status=409)


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def draft(request: PersonRequest, number: int) -> HttpResponse:
    """Write the draft from the timeline; the address is the incident's number, so it works before there is a row."""
    incident = finding.find(request, number, Permission.EDIT_POSTMORTEM)
    made = verbs.draft(incident, actor=request.actor, regenerate=bool(request.POST.get("regenerate")))
    left = made.offers.filter(state="open").count()
    words = "The draft is written from the timeline. Blanks and questions are yours to fill."
    if left:
        words = f"New evidence stands beside edited words in {left} places: take it or keep what you have."
    messages.success(request, words)
    return redirect("postmortem", number=number)


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def state(request: PersonRequest, number: int) -> HttpResponse:
    """Move it on, or back."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    wanted = request.POST.get("state", "")
    if wanted not in dict(Postmortem.STATES):
        raise NotFound("A postmortem has no such state.", fix="Choose one of those on its page.")
    verbs.set_state(found, wanted, actor=request.actor, reason=request.POST.get("reason", "")[:500])
    messages.success(request, f"The postmortem is {dict(Postmortem.STATES)[wanted]} now.")
    return redirect("postmortem", number=number)


class OwnerForm(forms.Form):
    """Who writes it, or who reviews it."""

    def __init__(self, *args: Any, found: Postmortem, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"] = member_field(found.incident.team)


class ReviewerForm(forms.Form):
    """Who reviews it; nobody yet, too."""

    def __init__(self, *args: Any, found: Postmortem, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reviewer"] = member_field(found.incident.team, required=False, label="Reviewer")


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def owner(request: PersonRequest, number: int) -> HttpResponse:
    """Say who writes it; they are told as the clock runs."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    form = OwnerForm(request.POST, found=found)
    if form.is_valid():
        with faults_of(form):
            verbs.assign(found, owner=User.objects.get(username=form.cleaned_data["owner"]), actor=request.actor)
    if form.is_valid():
        messages.success(request, f"{form.cleaned_data['owner']} owns this postmortem.")
    else:
        messages.error(request, "Choose one of the team's people.")
    return redirect("postmortem", number=number)


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def reviewer(request: PersonRequest, number: int) -> HttpResponse:
    """Say who reviews it."""
    found = find(request, number, Permission.EDIT_POSTMORTEM)
    form = ReviewerForm(request.POST, found=found)
    if form.is_valid():
        person = User.objects.filter(username=form.cleaned_data["reviewer"]).first()
        with faults_of(form):
            verbs.review_by(found, reviewer=person, actor=request.actor)
            messages.success(request, f"{person.label if person else 'Nobody yet'} reviews it.")
    for fault in form.errors.get("reviewer", []):
        messages.error(request, str(fault))
    return redirect("postmortem", number=number)


@allow(Permission.SEE)
def export(request: PersonRequest, number: int, form: str) -> HttpResponse:
    """The text as a file: md, html (printable) or json."""
    found = find(request, number)
    name = f"{found.incident.key.lower()}-postmortem"
    if form == "md":
        response = HttpResponse(postmortem_export.markdown(found), content_type="text/markdown; charset=utf-8")
    elif form == "json":
        response = HttpResponse(
            json.dumps(postmortem_export.data(found), indent=2, ensure_ascii=False, default=str),
            content_type="application/json",
        )
    elif form == "html":
        response = HttpResponse(
            postmortem_export.html(found, figures=figures.of_postmortem(found)), content_type="text/html; charset=utf-8"
        )
    else:
        raise NotFound(f"There is no export as {form}.", fix="Use md, html or json.")
    kind = "inline" if form == "html" else "attachment"
    response["Content-Disposition"] = f'{kind}; filename="{name}.{form}"'
    return response
