"""Evaluation sets: the list, and loading one from a file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog.models import Team
from catalog.permissions import Permission
from evaluations import sets as verbs
from evaluations.models import EvaluationSet
from web.pages.forms import faults_of, team_field, teams_with
from web.policy import PersonRequest, allow, team_or_404, visible


class LoadForm(forms.Form):
    """A file of cases, and the set that they go into."""

    slug = forms.SlugField(label="Name", max_length=60, help_text="What the service's file calls it.")
    title = forms.CharField(label="Title", max_length=120, required=False)
    file = forms.FileField(
        label="Cases",
        help_text="JSON Lines, one case a line. A request holds 5 MiB: load more in parts, or by the command.",
    )
    field_order = ("team", "slug", "title", "file")

    def __init__(self, *args: Any, teams: list[Team]) -> None:
        super().__init__(*args)
        self.fields["team"] = team_field(teams)
        self.order_fields(self.field_order)

    def clean_file(self) -> str:
        """Its text."""
        file: UploadedFile[bytes] = self.cleaned_data["file"]
        if (file.size or 0) > verbs.MAX_CHARACTERS:
            raise forms.ValidationError("The set is larger than 20 MiB. Load it in parts.")
        try:
            return str(file.read(), "utf-8-sig")
        except UnicodeDecodeError:
            raise forms.ValidationError("This is not UTF-8 text.") from None


def _page(request: PersonRequest, form: LoadForm, status: int = 200) -> HttpResponse:
    rows = visible(EvaluationSet.objects.select_related("team"), request.actor)
    rows = verbs.counted(rows).order_by("slug")
    return render(request, "evaluations/sets.html", {"sets": rows, "form": form}, status=status)


@allow(Permission.SEE)
def sets(request: PersonRequest) -> HttpResponse:
    """The list."""
    return _page(request, LoadForm(teams=teams_with(request.user, Permission.CONFIGURE)))


@allow(Permission.CONFIGURE)
@require_POST
def load(request: PersonRequest) -> HttpResponse:
    """Make a set, or add to it what it lacks."""
    form = LoadForm(request.POST, request.FILES, teams=teams_with(request.user, Permission.CONFIGURE))
    if form.is_valid():
        said = form.cleaned_data
        team = team_or_404(request.actor, said["team"], permission=Permission.CONFIGURE)
        with faults_of(form):
            loaded = verbs.load(team, slug=said["slug"], title=said["title"], text=said["file"], actor=request.actor)
            messages.success(request, str(loaded))
            return redirect("evaluation_sets")
    return _page(request, form, status=422)
