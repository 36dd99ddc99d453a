"""The small forms of an incident's page."""

from __future__ import annotations

from typing import Any

from django import forms

from incidents import impact
from incidents.models import Incident
from web.pages.forms import UtcTime, service_field


class NoteForm(forms.Form):
    """A note; it may be about an earlier time."""

    text = forms.CharField(
        label="Note",
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "What you see, did or think. Markdown works."}),
    )
    at = UtcTime(label="About an earlier time (UTC)", required=False)


class ReasonForm(forms.Form):
    """One sentence."""

    reason = forms.CharField(label="Reason", max_length=500)


class RemarkForm(forms.Form):
    """One sentence that may be left out."""

    note = forms.CharField(label="Note", max_length=2000, required=False)


class SeverityForm(forms.Form):
    """Another severity, and why."""

    severity = forms.TypedChoiceField(
        choices=[(level, f"SEV{level} {word}") for level, word in Incident.SEVERITIES], coerce=int, label="Severity"
    )
    reason = forms.CharField(label="Why", max_length=500, required=False)


class ServiceForm(forms.Form):
    """The service it is about."""

    def __init__(self, *args: Any, team_id: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["service"] = service_field([team_id], required=True, empty="choose")

    @property
    def has_choice(self) -> bool:
        """Whether the team has a service at all; without one there is nothing to bind to."""
        return len(self.fields["service"].choices) > 1  # type: ignore[attr-defined]  # it is a ChoiceField


class TimesForm(forms.Form):
    """When it really began, and how one knows."""

    started_at = UtcTime(label="Began at (UTC)")
    reason = forms.CharField(label="How do you know", max_length=500)


class NoteTimeForm(forms.Form):
    """When what a note tells really was."""

    at = UtcTime(label="It was at (UTC)")
    reason = forms.CharField(label="How do you know", max_length=500)


class ImpactForm(forms.Form):
    """One figure of what users feel."""

    name = forms.ChoiceField(choices=list(impact.NAMES.items()), label="Figure")
    basis = forms.ChoiceField(
        choices=[("estimate", "estimate"), ("measured", "measured"), ("unknown", "unknown, somebody is asked")],
        label="It is",
    )
    value = forms.CharField(
        label="Value",
        max_length=1000,
        required=False,
        help_text="1200 users · 12.5 per cent · language=de, tier=free · acme, globex · 240 EUR",
    )
    evidence = forms.CharField(
        label="Measured by evidence", max_length=12, required=False, help_text="E12; empty: measured elsewhere"
    )
    reason = forms.CharField(label="How do you know", max_length=500, required=False)
    asked = forms.CharField(label="Who was asked", max_length=120, required=False, help_text="While it is unknown.")

    def clean_evidence(self) -> int | None:
        """The number of `E12`."""
        text = str(self.cleaned_data["evidence"]).strip().upper().removeprefix("E")
        if not text:
            return None
        if not text.isascii() or not text.isdecimal() or len(text) > 8:
            raise forms.ValidationError("Write it as E12.")
        return int(text)
