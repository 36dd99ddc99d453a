"""Action items: what will be done so that it does not happen again, by whom and until when."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from catalog.models import Team, User
from catalog.permissions import Permission
from common import clock
from common.errors import NotFound
from incidents import action_items as verbs
from incidents.models import ActionItem
from web.pages.forms import faults_of, member_field
from web.pages.incidents import finding
from web.pages.paging import paged
from web.policy import PersonRequest, allow, team_object_or_404, visible

PRIORITIES = [(0, "P0: today"), (1, "P1: this week"), (2, "P2: this month"), (3, "P3: later")]
VIEWS = ("mine", "open", "overdue", "all")


class ItemForm(forms.Form):
    """One item; owner and date are never missing."""

    title = forms.CharField(max_length=300, label="What will be done", help_text="Begins with a verb.")
    kind = forms.ChoiceField(choices=ActionItem.KINDS)
    priority = forms.TypedChoiceField(choices=PRIORITIES, coerce=int, initial=2)
    due_on = forms.DateField(label="Until", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    closing_check = forms.CharField(
        max_length=500,
        required=False,
        label="How one can tell that it is done",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    cause = forms.TypedChoiceField(
        choices=[("", "not said"), *((level, f"Why {level}") for level in range(1, 6))],
        coerce=int,
        empty_value=None,
        required=False,
        label="Which of the five whys it answers",
    )
    tracker = forms.CharField(
        max_length=500,
        required=False,
        label="Tracker",
        help_text="A link to where the work is followed, if elsewhere.",
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
    )
    field_order = ("title", "kind", "priority", "owner", "due_on", "closing_check", "cause", "tracker")

    def __init__(self, *args: Any, team: Team, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["owner"] = member_field(team)
        self.order_fields(self.field_order)

    def values(self) -> dict[str, Any]:
        """The keyword arguments of the verbs."""
        said = dict(self.cleaned_data)
        return said | {"owner": User.objects.filter(username=said["owner"]).first()}


def find(request: PersonRequest, uuid: object, permission: Permission = Permission.SEE) -> ActionItem:
    """The item, of a team of this person."""
    rows = ActionItem.objects.select_related("incident", "owner", "team")
    return team_object_or_404(rows, request.actor, permission=permission, uuid=uuid)


def _chosen(request: PersonRequest, view: str) -> QuerySet[ActionItem]:
    rows = visible(ActionItem.objects.select_related("owner", "incident"), request.actor)
    if view == "mine":
        return rows.filter(owner=request.user, state__in=verbs.OPEN_STATES)
    if view == "open":
        return rows.filter(state__in=verbs.OPEN_STATES)
    if view == "overdue":
        return rows.filter(verbs.due_before(clock.now().date()))
    return rows


@allow(Permission.SEE)
def items(request: PersonRequest) -> HttpResponse:
    """The list, the most urgent first."""
    view = request.GET.get("view", "open")
    view = view if view in VIEWS else "open"
    page = paged(request, _chosen(request, view).order_by("due_on", "priority", "id"))
    context = {"page": page, "view": view, "views": VIEWS, "today": clock.now().date()}
    return render(request, "action_items/listing.html", context)


@allow(Permission.EDIT_POSTMORTEM)
def new(request: PersonRequest, number: int) -> HttpResponse:
    """Write an item for an incident."""
    incident = finding.find(request, number, Permission.EDIT_POSTMORTEM)
    posted = request.method == "POST"
    form = ItemForm(request.POST if posted else None, team=incident.team)
    if posted and form.is_valid():
        with faults_of(form):
            verbs.add(incident, actor=request.actor, **form.values())
            messages.success(request, "The action item is kept.")
            return redirect("incident", number=number)
    context = {"form": form, "incident": incident, "item": None}
    return render(request, "action_items/item.html", context, status=422 if posted else 200)


@allow(Permission.SEE)
def item(request: PersonRequest, uuid: object) -> HttpResponse:
    """The page; whoever edits postmortems also saves here."""
    posted = request.method == "POST"
    found = find(request, uuid, Permission.EDIT_POSTMORTEM if posted else Permission.SEE)
    begun = {name: getattr(found, name) for name in ItemForm.base_fields if hasattr(found, name)}
    begun["owner"] = found.owner.username
    form = ItemForm(request.POST if posted else None, team=found.team, initial=begun)
    if posted and form.is_valid():
        with faults_of(form):
            verbs.edit(found, actor=request.actor, **form.values())
            messages.success(request, "Kept.")
            return redirect("action", uuid=uuid)
    context = {"form": form, "incident": found.incident, "item": found, "today": clock.now().date()}
    return render(request, "action_items/item.html", context, status=422 if posted else 200)


@allow(Permission.EDIT_POSTMORTEM)
@require_POST
def act(request: PersonRequest, uuid: object, verb: str) -> HttpResponse:
    """Commit, begin, complete, verify or decline it."""
    found = find(request, uuid, Permission.EDIT_POSTMORTEM)
    known = {"commit": verbs.commit, "begin": verbs.begin, "complete": verbs.complete, "verify": verbs.verify}
    if verb == "decline":
        verbs.decline(found, reason=request.POST.get("reason", "")[:500], actor=request.actor)
    elif verb in known:
        known[verb](found, actor=request.actor)
    else:
        raise NotFound("There is no such thing to do with an action item.", fix="Use the buttons on its page.")
    messages.success(request, "Recorded.")
    return redirect("action", uuid=uuid)
