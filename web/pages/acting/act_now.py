"""Act now: choose an action, say why, see what would change, ask for it; the run and its approval follow."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import redirect, render

from catalog.permissions import Permission
from incidents.models import Incident
from runbooks import acting
from runbooks.actions.base import Preview
from runbooks.models import OPEN_RUN_STATES, ApprovalRequest, Run
from web.pages.answering import PREFIX, InputsForm, input_field
from web.pages.forms import faults_of
from web.pages.incidents import finding
from web.policy import PersonRequest, allow

_KINDS = {"array": "list", "object": "map"}
# A text that may be so long is written on several lines.
LONG_TEXT = 500


class ActForm(InputsForm):
    """The parameters of one action, as its schema says, and the reason."""

    def __init__(self, *args: Any, offer: acting.Offer, **kwargs: Any) -> None:
        super().__init__(*args, definitions={}, **kwargs)
        required = offer.schema.get("required", [])
        for name, schema in offer.schema.get("properties", {}).items():
            self.fields[PREFIX + name] = _field(name, schema, offer.choices.get(name, []), needed=name in required)
        self.fields["reason"] = forms.CharField(
            label="Why",
            max_length=500,
            help_text="One sentence; whoever approves reads it, and it stands on the timeline.",
            widget=forms.TextInput(attrs={"autocomplete": "off"}),
        )

    def clean(self) -> dict[str, Any]:
        """Lists and maps are typed as JSON."""
        said: dict[str, Any] = super().clean() or {}
        for name, field in self.fields.items():
            if getattr(field, "is_json", False) and said.get(name):
                try:
                    said[name] = json.loads(said[name])
                except (json.JSONDecodeError, RecursionError):
                    self.add_error(name, "This is not JSON.")
        return said


def _field(name: str, schema: dict[str, Any], choices: list[tuple[str, str]], *, needed: bool) -> forms.Field:
    """One field from the action's JSON Schema; the verb judges every value again."""
    kinds = [schema, *schema.get("anyOf", [])]
    kind = next((one["type"] for one in kinds if one.get("type", "null") != "null"), "string")
    default = schema.get("default")
    definition = {
        "type": _KINDS.get(kind, kind),
        "default": default,
        "required": needed,
        "enum": schema.get("enum"),
        "min": schema.get("minimum"),
        "max": schema.get("maximum") if kind in ("integer", "number") else None,
        "description": schema.get("description", ""),
    }
    field = input_field(name, definition)
    if kind in ("array", "object"):
        field.is_json = True  # type: ignore[attr-defined]  # read by ActForm.clean
    elif kind == "string" and choices:
        field = forms.ChoiceField(label=field.label, choices=choices, required=needed, initial=default)
    elif kind == "string" and schema.get("maxLength", 0) > LONG_TEXT:
        field = forms.CharField(
            label=field.label,
            required=needed,
            max_length=schema["maxLength"],
            initial=default,
            widget=forms.Textarea(attrs={"rows": 4}),
        )
    field.label = name.replace("_", " ").capitalize()
    return field


def _context(request: PersonRequest, incident: Incident, **more: Any) -> dict[str, Any]:
    running = Run.objects.real().filter(incident=incident, state__in=OPEN_RUN_STATES).exclude(revision__source="act")
    return {
        "incident": incident,
        "offers": acting.offers(incident),
        "chosen": None,
        "form": None,
        "preview": None,
        "differences": [],
        "running": list(running.select_related("runbook")),
        **more,
    }


@allow(Permission.RUN)
def act_now(request: PersonRequest, number: int) -> HttpResponse:
    """Choose (GET), see what it would change (POST `preview`), ask for it (POST `act`)."""
    incident = finding.find(request, number, Permission.RUN)
    name = (request.POST if request.method == "POST" else request.GET).get("action", "")
    if not name:
        return render(request, "acting/act_now.html", _context(request, incident))
    chosen = acting.offer(incident, name)
    if request.method != "POST":
        given = {key: value for key, value in request.GET.items() if key.startswith(PREFIX) or key == "reason"}
        form = ActForm(offer=chosen, initial=given)
        return render(request, "acting/act_now.html", _context(request, incident, chosen=chosen, form=form))
    form = ActForm(request.POST, offer=chosen)
    preview: Preview | None = None
    if form.is_valid():
        said: dict[str, Any] = {"action": name, "given": form.values(), "actor": request.actor}
        with faults_of(form):
            if request.POST.get("step") == "act":
                return _acted(acting.act(incident, reason=form.cleaned_data["reason"], **said))
            preview = acting.preview(incident, **said)
    context = _context(request, incident, chosen=chosen, form=form, preview=preview, differences=_changes(preview))
    return render(request, "acting/act_now.html", context, status=200 if preview else 422)


def _acted(run: Run) -> HttpResponse:
    """To the approval if it is asked already, else to the run, which says what happens."""
    asked = ApprovalRequest.objects.filter(step_run__run=run, state="open").first()
    return redirect("approval", uuid=asked.uuid) if asked else redirect("run", uuid=run.uuid)


def _changes(preview: Preview | None) -> list[tuple[str, Any, Any]]:
    if preview is None:
        return []
    return [(key, preview.before.get(key), value) for key, value in preview.after.items()]
