"""Forms made from the inputs of a runbook or the fields of a manual step."""

from __future__ import annotations

from typing import Any

from django import forms

from runbooks.fields import Input
from web.pages.forms import UtcTime

PREFIX = "in-"


def input_field(name: str, definition: dict[str, Any]) -> forms.Field:
    """The field for one input definition of the language: type, enum, limits, default, help.

    Durations, lists and maps are typed as text; the verb judges every value again.
    """
    kind = str(definition.get("type", "string"))
    default = definition.get("default")
    has_default = default is not None
    required = definition.get("required")
    shared: dict[str, Any] = {
        "label": name.replace("_", " "),
        "required": bool(required) if required is not None else not has_default,
        "help_text": str(definition.get("description") or ""),
        "initial": default,
    }
    choices = definition.get("enum")
    if kind == "boolean":
        return forms.BooleanField(**{**shared, "required": False})
    if isinstance(choices, list) and choices:
        empty = [] if shared["required"] else [("", "not given")]
        return forms.ChoiceField(choices=[*empty, *((str(item), str(item)) for item in choices)], **shared)
    if kind == "integer":
        return forms.IntegerField(min_value=definition.get("min"), max_value=definition.get("max"), **shared)
    if kind == "number":
        return forms.FloatField(min_value=definition.get("min"), max_value=definition.get("max"), **shared)
    if kind == "datetime":
        return UtcTime(**shared)
    if kind in ("list", "map"):
        shared["help_text"] = f"{shared['help_text']} As JSON.".strip()
        return forms.CharField(widget=forms.Textarea(attrs={"rows": 3, "class": "code"}), **shared)
    if kind == "duration":
        shared["help_text"] = f"{shared['help_text']} For example 30m or 1h30m.".strip()
    if definition.get("sensitive"):
        # Never written back into a page, also when another field has a fault.
        shared["help_text"] = f"{shared['help_text']} Kept encrypted, shown to nobody.".strip()
        hidden = forms.PasswordInput(attrs={"autocomplete": "off"}, render_value=False)
        return forms.CharField(max_length=2000, strip=False, widget=hidden, **shared)
    return forms.CharField(max_length=2000, **shared)


class InputsForm(forms.Form):
    """A form with one field per definition, prefixed so that no name collides with our own."""

    def __init__(
        self, *args: Any, definitions: dict[str, Any], given: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, definition in definitions.items():
            if isinstance(definition, dict):
                self.fields[PREFIX + name] = input_field(name, definition)
                if given and given.get(name) is not None and not definition.get("sensitive"):
                    self.initial[PREFIX + name] = given[name]

    def values(self) -> dict[str, Any]:
        """What was given, by the definition's own names; what was left empty is left out."""
        return {
            name.removeprefix(PREFIX): value
            for name, value in self.cleaned_data.items()
            if name.startswith(PREFIX) and value not in (None, "")
        }

    def add_error(self, field: str | None, error: Any) -> None:
        """Faults that name an input land at its field."""
        if field is not None and PREFIX + field in self.fields:
            field = PREFIX + field
        super().add_error(field, error)


def manual_form(fields: dict[str, Input], posted: Any = None) -> InputsForm:
    """The form of a manual step."""
    plain = {name: field.model_dump(mode="json", by_alias=True) for name, field in fields.items()}
    return InputsForm(posted, definitions=plain)
