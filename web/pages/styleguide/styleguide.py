"""Every part that pages are made of, once in each theme: what a change of tokens or macros is looked at on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render

from catalog.permissions import Permission
from common import clock
from incidents.models import Evidence, Incident, TimelineEntry
from web.pages import words
from web.pages.exhibits import Exhibit, exhibit
from web.pages.incidents import finding
from web.policy import PersonRequest, allow

COLOURS = {
    "grounds": ["canvas", "surface", "sunken", "line", "edge"],
    "inks": ["ink", "ink-2", "ink-3", "accent"],
    "verdicts and states": ["fail", "pass", "unsure", "error", "running", "waits", "skipped"],
    "severities": ["sev-1", "sev-2", "sev-3", "sev-4"],
}
STATES = [
    words.Face("queued", "Queued"),
    words.Face("running", "Running"),
    words.Face("waits", "Waiting for Ana"),
    words.Face("clock", "Until 03:32"),
    words.Face("cancelled", "Cancelled"),
]


class SampleForm(forms.Form):
    """One field of each kind, one of them with a fault."""

    name = forms.CharField(label="Name", max_length=40, help_text="What people call it.")
    level = forms.ChoiceField(label="Severity", choices=Incident.SEVERITIES)
    text = forms.CharField(label="Note", required=False, widget=forms.Textarea(attrs={"rows": 2}))
    told = forms.BooleanField(label="Tell the team", required=False)


@dataclass(frozen=True)
class Sample:
    """The parts for one theme: what carries an id differs, since both are on one page."""

    theme: str
    form: SampleForm
    card: Exhibit
    rows: list[finding.Row]


def _card(number: int, now: datetime) -> Exhibit:
    minutes = range(60)
    row = Evidence(
        number=number,
        kind="check",
        provider="eval.compare",
        verdict="fail",
        summary="v43 scores 0.78 where v42 scored 0.91: −0.13, n = 900; worse on language=de.",
        rule="drop > limit",
        threshold={"limit": -0.02, "source": "ours"},
        query='avg_over_time(accuracy{service="rag-chat"}[5m])',
        window_from=now - timedelta(hours=1),
        window_to=now,
        value=-0.13,
        samples=900,
        observed_at=now - timedelta(minutes=4),
        source="evaluation set gold",
        result={
            "statistic": {"difference": -0.13, "interval": [-0.17, -0.09]},
            # Three minutes without data: the line breaks there.
            "series": {
                "accuracy": [
                    [now.timestamp() + 60 * m, None if m in (20, 21, 22) else 0.91 - 0.13 * (m > 40)] for m in minutes
                ]
            },
        },
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        created_at=now,
    )
    return exhibit(row)


def _rows(first: int, now: datetime) -> list[finding.Row]:
    told = [
        ("alert", "Accuracy of rag-chat fell on labelled traffic", "alertmanager", False),
        ("check", "v43 scores 0.78 where v42 scored 0.91", "engine", True),
        ("approval", "Asks for approval: roll back rag-chat, v43 → v42", "engine", False),
        ("effect", "Flag chat-model switched to v42", "engine", True),
        ("note", "Looks like the **retrieval index**; Ben asks the owners.", "Ana", False),
    ]
    entries = [
        TimelineEntry(
            seq=first + nth, at=now - timedelta(minutes=30 - 4 * nth), recorded_at=now, kind=kind, text=text,
            actor=actor, evidence=[nth + 1], data={"verdict": "fail"} if kind == "check" else {},
        )
        for nth, (kind, text, actor, _) in enumerate(told)
    ]  # fmt: skip
    silence = timedelta(minutes=47)
    return [
        finding.Row(entry, told[nth][3], "Today" if nth == 0 else "", silence if nth == 4 else None)
        for nth, entry in enumerate(entries)
    ]


@allow(Permission.SIGNED_IN)
def styleguide(request: PersonRequest) -> HttpResponse:
    """The page."""
    now = clock.now()
    samples = []
    for place, theme in enumerate(("light", "dark")):
        form = SampleForm({"name": "", "level": "2"}, auto_id=f"{theme}_%s")
        samples.append(Sample(theme, form, _card(place + 1, now), _rows(10 * place + 1, now)))
    context: dict[str, Any] = {
        "samples": samples,
        "colours": COLOURS,
        "states": STATES,
        "incident": Incident(number=0, started_at=now - timedelta(minutes=31), detected_at=now),
        "superseded": set(),
        "nobody": lambda permission, team: False,
        **dict.fromkeys(("latest", "hidden", "kind", "corrects"), ""),
        "until": now + timedelta(minutes=26),
    }
    return render(request, "styleguide/styleguide.html", context)
