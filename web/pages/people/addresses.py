"""Where a team is told things."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from catalog import people as verbs
from catalog.models import Address, Team, User
from catalog.permissions import Permission
from common.errors import NotFound
from incidents.channels import channel_for
from web.pages.forms import faults_of
from web.policy import PersonRequest, allow, team_or_404


class AddressForm(forms.Form):
    """Where to be told things."""

    url = forms.CharField(
        label="Address",
        max_length=2000,
        help_text="mailto:oncall@example.com, slack://…, or a webhook's https:// address.",
    )
    label = forms.CharField(label="Called", max_length=80, required=False)

    def keep(self, *, user: User | None = None, team: Team | None = None) -> bool:
        """Store it for a person or a team; False with faults in the form if it is not an address of any channel."""
        if self.is_valid():
            with faults_of(self):
                url = self.cleaned_data["url"].strip()
                channel = channel_for(url)
                verbs.add_address(
                    url=url,
                    label=self.cleaned_data["label"],
                    channel=channel.name,
                    hint=channel.check(url),
                    user=user,
                    team=team,
                )
        return self.is_valid()


@allow(Permission.CONFIGURE)
@require_POST
def add(request: PersonRequest, team: str) -> HttpResponse:
    """Say where the team is told things."""
    where = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    form = AddressForm(request.POST)
    if form.keep(team=where):
        messages.success(request, "The team is told there from now on.")
    for faults in form.errors.values():
        for fault in faults:
            messages.error(request, str(fault))
    return redirect("people")


@allow(Permission.CONFIGURE)
@require_POST
def remove(request: PersonRequest, team: str, pk: int) -> HttpResponse:
    """No longer tell the team there."""
    where = team_or_404(request.actor, team, permission=Permission.CONFIGURE)
    found = Address.objects.filter(pk=pk, team=where).select_related("team").first()
    if found is None:
        raise NotFound("The team has no such address.", fix="Reload the list of people.")
    verbs.remove_address(found, actor=request.actor)
    messages.success(request, "Removed.")
    return redirect("people")
