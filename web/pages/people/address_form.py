"""The form of an address, for a person and for a team."""

from __future__ import annotations

from django import forms

from catalog import people as verbs
from catalog.models import Team, User
from incidents.channels import channel_for
from web.pages.forms import faults_of


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
