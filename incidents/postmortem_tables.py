"""The tables of a draft: seven times with their source, the impact in numbers, and what served when."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

from incidents.models import Evidence, TimelineEntry
from incidents.postmortem_facts import EFFECT_CHECKS, MACHINES, Facts
from incidents.texts import escaped, span, utc

# What an impact is made of (the name of its figure in incidents/impact.py, where one is kept), and who can say it.
IMPACT = (
    ("users", "Users", "Service owner", "how many users were affected, and how was that counted?"),
    ("traffic", "Traffic", "Service owner", "what share of the requests was affected?"),
    ("slices", "Slices", "Model owner", "which slices were affected, and how much?"),
    ("tenants", "Tenants", "Service owner", "which tenants were affected?"),
    ("", "Wrong or unsafe answers", "Model owner", "how many reached users, and how was that counted?"),
    ("cost", "Cost per hour", "Service owner", "what did it cost, in money, per hour and in all?"),
    ("", "Support cases", "Service owner", "how many cases came in because of it?"),
)
# What decides what a service answers, and who knows which of it served: before, during and after.
STATE = (
    ("Model and version", "Model owner", "which version served"),
    ("Prompt or template", "Service owner", "which prompt served"),
    ("Decoding parameters", "Service owner", "which parameters were set"),
    ("Judge and evaluation set", "Model owner", "which judge and set were in use"),
    ("Training and reference data", "Data owner", "which data version was in use"),
    ("Features and preprocessing", "Data owner", "which code and hash was in use"),
    ("Retrieval index", "Data owner", "which index served"),
    ("Tool schemas", "Service owner", "which tools and schemas were offered"),
    ("Traffic and router", "Platform owner", "which share of the traffic went where"),
    ("Provider and its status", "Platform owner", "which provider answered, and in which state"),
    ("Libraries, driver, hardware", "Platform owner", "which versions and hardware ran"),
)


def times(facts: Facts) -> list[dict[str, str]]:
    """When it began, was detected, acknowledged, mitigated, resolved, verified and closed; measured or set by whom."""
    incident, began = facts.incident, facts.began_at
    verified = [row for row in facts.checks(verifying=True) if row.verdict == "pass"]
    last = verified[-1] if verified else None
    found = [
        _time("Impact began", began, began, facts.start()),
        _time("Detected", incident.detected_at, began, facts.detection()),
    ]
    for name, at in (
        ("Acknowledged", incident.acknowledged_at),
        ("Mitigated", incident.mitigated_at),
        ("Resolved", incident.resolved_at),
    ):
        found.append(_time(name, at, began, facts.state_entry(name.lower(), at)))
    found.append(_time("Verified", last.observed_at or last.created_at if last else None, began, last))
    return [*found, _closing(facts)]


def _closing(facts: Facts) -> dict[str, str]:
    """An incident is closed after its postmortem, as a rule: until then nobody needs to be asked."""
    at = facts.incident.closed_at
    moved = facts.last("state") or facts.opening()
    if at is None and moved is not None:
        return {"name": "Closed", "value": "not yet", "source": f"[T{moved.seq}]"}
    return _time("Closed", at, facts.began_at, facts.state_entry("closed", at))


def _time(name: str, at: datetime | None, began: datetime, shown: TimelineEntry | Evidence | None) -> dict[str, str]:
    if at is None or shown is None:
        asked = f"**Incident commander:** what should “{name.lower()}” say, and what shows it?"
        return {"name": name, "value": "unknown", "source": asked}
    after = f" (+{span(at - began)})" if at > began else ""
    return {"name": name, "value": escaped(utc(at) + after), "source": _source(shown)}


def _source(shown: TimelineEntry | Evidence) -> str:
    """Measured, or set by whom (a role) and why."""
    if isinstance(shown, Evidence):
        return f"measured [{shown.key}]"
    if shown.role in MACHINES - {"program"}:
        return f"measured [T{shown.seq}]"
    who = "a program" if shown.role == "program" else f"the {escaped(shown.role or 'responder')}"
    reason = shown.text.partition("UTC): ")[2].rstrip(". ") if shown.data.get("started_at") else ""
    return f"set by {who}{f', because “{escaped(reason)}”' if reason else ''} [T{shown.seq}]"


def impact(facts: Facts) -> list[dict[str, str]]:
    """The numbers, each measured, an estimate, or unknown with whom was or is to be asked."""
    rows = []
    for name, label, role, question in IMPACT:
        figure = facts.impact.get(name)
        if figure and figure.evidence and figure.evidence not in facts.evidence:
            figure = None
        told = facts.figure_entry(name)
        if figure and (figure.value is not None or figure.asked) and (figure.evidence or told):
            marks = [f"[E{figure.evidence}]"] if figure.evidence else []
            marks += [f"[T{told.seq}]"] if told else []
            reason = facts.without_names(figure.reason) if not figure.evidence else ""
            how = figure.basis + (f" (asked {facts.without_names(figure.asked)})" if figure.asked else "")
            source = " ".join([f"“{escaped(reason)}”" if reason else "", *marks]).strip()
            rows.append({"name": label, "value": escaped(figure.words), "how": escaped(how), "source": source})
        else:
            rows.append({"name": label, "value": "unknown", "how": "unknown", "source": f"**{role}:** {question}"})
    return rows


def state(facts: Facts) -> list[dict[str, str]]:
    """What served before, during and after: from comparisons and effects where there are some, questions elsewhere."""
    known = _known(facts)
    rows = [*known]
    named = {row["name"].partition(":")[0] for row in known}
    for name, role, question in STATE:
        if name not in named:
            unknown = dict.fromkeys(("before", "during", "after"), "unknown")
            rows.append({"name": name, **unknown, "source": f"**{role}:** {question}, before, during and after?"})
    order = {name: place for place, (name, _, _) in enumerate(STATE)}
    return sorted(rows, key=lambda row: order.get(row["name"].partition(":")[0], -1))


def _known(facts: Facts) -> list[dict[str, str]]:
    compared = _failed(facts, "eval.compare")
    old = str(compared.result.get("old_version") or "") if compared else ""
    new = str(compared.result.get("new_version") or "") if compared else ""
    found, told = [], False
    for entry in facts.entries:
        before, after = entry.data.get("before"), entry.data.get("after")
        if entry.kind != "effect" or (before is None and after is None):
            continue
        provider = facts.provider_of(entry)
        name = str(entry.data.get("subject") or provider or entry.data.get("step") or "state")
        if isinstance(before, dict) and isinstance(after, dict):
            shared = {key for key in before if before[key] == after.get(key)}
            name = ", ".join(f"{key} {before[key]}" for key in before if key in shared) or name
            before, after = ({k: v for k, v in side.items() if k not in shared} for side in (before, after))
        during = _short(before)
        # The comparison knows what served before the faulty version did.
        is_model = bool(new) and during == new
        served = old if is_model else "unknown"
        marks = f"[T{entry.seq}]" + (f" [{compared.key}]" if is_model and compared else "")
        label = f"Model and version: {name}" if provider.startswith("model.") or is_model else name
        told = told or label.startswith("Model")
        found.append(_row(label, served, during, _short(after), marks))
    if compared and new and not told:
        found.insert(0, _row("Model and version", old, new, "unknown", f"[{compared.key}]"))
    status = _failed(facts, "status.poll")
    if status:
        said = str(status.value or "degraded")
        found.append(_row("Provider and its status", "unknown", said, "unknown", f"[{status.key}]"))
    return found


def _row(name: str, before: str, during: str, after: str, source: str) -> dict[str, str]:
    """What changed is set bold where it changed."""
    cells = [escaped(cell) or "unknown" for cell in (before, during, after)]
    shown = [cells[0], *(_changed(was, cell) for was, cell in pairwise(cells))]
    return dict(zip(("name", "before", "during", "after", "source"), [escaped(name), *shown, source], strict=True))


def _changed(was: str, cell: str) -> str:
    return f"**{cell}**" if "unknown" not in (was, cell) and was != cell else cell


def _short(value: Any) -> str:
    if isinstance(value, dict):
        parts = [str(part) if key == "value" else f"{key} {part}" for key, part in value.items()]
        return ", ".join(parts)[:120] or "nothing"
    return "unknown" if value is None else str(value)[:120]


def _failed(facts: Facts, provider: str) -> Evidence | None:
    found = [row for row in facts.checks(verifying=False) if row.provider == provider and row.verdict == "fail"]
    return found[-1] if found else None


def felt(facts: Facts) -> list[Evidence]:
    """What live signals say that users felt."""
    rows = facts.checks(verifying=False)
    return [row for row in rows if row.verdict == "fail" and row.provider in EFFECT_CHECKS[:2]]
