"""What forms of all pages share: showing a verb's refusal at the field it is about, choices from rows, times in UTC."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from django import forms
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from catalog import permissions
from catalog.actors import person
from catalog.models import Service, Team, User
from catalog.permissions import Permission
from common.errors import Conflict, Invalid


class faults_of:  # noqa: N801  reads as a phrase: with faults_of(form):
    """A block whose Invalid (or Conflict) becomes faults of the form, so that the page shows it with what was typed.

    After the block `form.is_valid()` tells whether it went well. Every other DomainError goes on to the middleware.
    """

    def __init__(self, form: forms.Form) -> None:
        self.form = form

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Take Invalid and Conflict."""
        if not isinstance(error, Invalid | Conflict):
            return False
        fields = error.extra.get("fields")
        sentence = f"{error.sentence} {error.fix}".strip()
        if isinstance(fields, dict) and fields:
            for name, fault in fields.items():
                self.form.add_error(name if name in self.form.fields else None, str(fault))
        else:
            self.form.add_error(None, sentence)
        return True


class UtcTime(forms.DateTimeField):
    """A time typed by a person, in UTC: `2026-11-21 03:14`, or as the browser's own control sends it."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault(
            "input_formats", ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"]
        )
        kwargs.setdefault("widget", forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"))
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> datetime | None:
        """The time with zone UTC; one without a zone is taken as UTC."""
        found = super().to_python(value)
        if isinstance(found, datetime) and found.tzinfo is None:
            return found.replace(tzinfo=UTC)
        return found


class JsonField(forms.CharField):
    """A JSON object typed into a textarea; an empty one is {}."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 6, "class": "code", "spellcheck": "false"}))
        kwargs.setdefault("required", False)
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        """The object, or a fault that names line and column."""
        text = super().clean(value)
        if not text.strip():
            return {}
        try:
            loaded = json.loads(text)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(
                f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None
        if not isinstance(loaded, dict):
            raise forms.ValidationError('A JSON object is needed, e.g. {"url": "https://…"}.')
        return loaded


def team_field(teams: Iterable[Team]) -> forms.ChoiceField:
    """A choice among teams by slug."""
    return forms.ChoiceField(choices=[(team.slug, team.name) for team in teams], label="Team")


def service_field(
    team_ids: Iterable[int], *, required: bool = False, empty: str = "not known yet"
) -> forms.ChoiceField:
    """A choice among the services of these teams by slug."""
    rows = Service.objects.filter(team__in=list(team_ids)).values_list("slug", "title")
    return forms.ChoiceField(
        choices=[("", empty), *((slug, f"{title} ({slug})") for slug, title in rows)],
        label="Service",
        required=required,
    )


def member_field(team: Team, *, required: bool = True, label: str = "Owner") -> forms.ChoiceField:
    """A choice among the people of a team by user name."""
    rows = User.objects.filter(memberships__team=team, is_active=True).distinct()
    return forms.ChoiceField(
        choices=[("", "nobody yet"), *((user.username, user.label) for user in rows)], label=label, required=required
    )


def teams_with(user: User, permission: Permission) -> list[Team]:
    """The teams in which a person holds a permission, by slug."""
    return permissions.teams_where(person(user), permission)


def back_to(request: HttpRequest, name: str, *args: object) -> str:
    """Where a small form came from if it says so (`next`, our own addresses only), else the named page."""
    wanted = request.POST.get("next", "")
    if wanted and url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        return wanted
    return reverse(name, args=args)
