"""Compiling a postmortem's first draft from the facts alone: each sentence has its evidence, or asks a role."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from incidents import texts
from incidents.citations import cite
from incidents.models import ActionItem, Evidence, TimelineEntry
from incidents.postmortem_facts import MACHINES, Facts
from incidents.postmortem_whys import Why, whys
from incidents.texts import escaped, span, utc

KEY_MOMENTS = 20
GAP = timedelta(minutes=10)
GAPS_ASKED = 5
QUOTED = 300
# What a page says for a verdict; YAML words stay in YAML.
WORDS = {
    "fail": "Problem found",
    "pass": "Ruled out",
    "inconclusive": "Can't tell",
    "error": "Couldn't measure",
    "skipped": "Skipped",
}
# Kinds of entries by how much a reader needs them as key moments; pinned ones come before all.
_WEIGHT = {"state": 0, "effect": 0, "approval": 1, "answer": 1, "diagnosis": 1, "note": 2, "gate": 3, "run": 3}
# Told in the appendix only: they are about the response's own paperwork.
_FOLDED = {"message", "postmortem"}


@dataclass(frozen=True)
class Draft:
    """A compiled draft: the Markdown and its whys as data."""

    body: str
    whys: list[Why]


def compile_draft(facts: Facts) -> Draft:
    """The draft of these facts. Pure: the same facts give the same text, and a fact taken away takes its sentences."""
    levels = whys(facts)
    moments, folded = _moments(facts)
    effects = [entry for entry in facts.entries if entry.kind == "effect"]
    body = texts.render(
        "postmortems/draft.md",
        incident=facts.incident,
        kind_words=facts.incident.get_incident_type_display(),
        service=facts.service,
        header=_header(facts),
        summary=_summary(facts),
        impact=_impact(facts),
        detection=_detection(facts),
        moments=moments,
        checks=_checks(facts),
        response=[_line(facts, row) for row in facts.entries if row.kind in ("approval", "effect", "answer", "gate")],
        state_rows=_state_rows(facts, effects),
        whys=[_why_lines(level) for level in levels],
        verification=_verification(facts, effects),
        items=[_item(facts, item) for item in facts.items if item.state != "declined"],
        declined=[_declined(facts, item) for item in facts.items if item.state == "declined"],
        folded=[_line(facts, entry) for entry in folded],
        evidence=[_evidence_row(facts, row) for row in facts.evidence.values()],
    )
    return Draft(body, levels)


def _header(facts: Facts) -> list[dict[str, str]]:
    """Facts with their source; a moment that nobody recorded becomes a question."""
    incident, began = facts.incident, facts.began_at
    first, seen = facts.opening(), facts.detection()
    times = [entry for entry in facts.entries if entry.data.get("started_at")]
    start = times[-1] if times else seen
    severity = [entry for entry in facts.entries if entry.kind == "state" and "severity" in entry.data]
    acknowledged = facts.state_entry("acknowledged", incident.acknowledged_at)
    mitigated = facts.state_entry("mitigated", incident.mitigated_at)
    resolved = facts.state_entry("resolved", incident.resolved_at)
    people = {entry.role: entry for entry in facts.entries if entry.role not in MACHINES and entry.role}
    return [
        _fact("Service", facts.service, first),
        _fact("Type", incident.get_incident_type_display(), first),
        _fact(
            "Severity",
            f"SEV{incident.severity} ({incident.get_severity_display()})",
            severity[-1] if severity else first,
        ),
        _fact("Impact began", _when(began), start),
        _fact("Detected", _when(incident.detected_at, began), seen),
        _fact("Acknowledged", _when(incident.acknowledged_at, began), acknowledged),
        _fact("Mitigated", _when(incident.mitigated_at, began), mitigated),
        _fact("Resolved", _when(incident.resolved_at, began), resolved),
        _fact("Time to detect", _between(began, incident.detected_at), seen),
        _fact("Time to acknowledge", _between(incident.detected_at, incident.acknowledged_at), acknowledged),
        _fact("Time to mitigate", _between(began, incident.mitigated_at), mitigated),
        _fact("Time to resolve", _between(began, incident.resolved_at), resolved),
        {
            "name": "Took part, by role",
            "value": ", ".join(people) or "nobody yet",
            "source": " ".join(f"[T{entry.seq}]" for entry in people.values())
            or "**Incident commander:** who else took part?",
        },
    ]


def _fact(name: str, value: str, entry: TimelineEntry | None) -> dict[str, str]:
    if entry is None or value == "unknown":
        asked = f"**Incident commander:** what should “{name.lower()}” say, and what shows it?"
        return {"name": name, "value": "unknown", "source": asked}
    return {"name": name, "value": escaped(value), "source": f"[T{entry.seq}]"}


def _when(moment: datetime | None, began: datetime | None = None) -> str:
    if moment is None:
        return "unknown"
    after = f" (+{span(moment - began)})" if began is not None and moment > began else ""
    return utc(moment) + after


def _between(begin: datetime | None, end: datetime | None) -> str:
    return span(end - begin) if begin is not None and end is not None else "unknown"


def _summary(facts: Facts) -> list[str]:
    incident, began = facts.incident, facts.began_at
    first = facts.detection()
    over = facts.state_entry("resolved", incident.resolved_at) or facts.state_entry("mitigated", incident.mitigated_at)
    end = incident.resolved_at or incident.mitigated_at
    found = []
    if first is not None:
        kind = incident.get_incident_type_display()
        what = f"an incident ({kind})" if incident.incident_type == "other" else f"an incident of type {kind}"
        text = f"{facts.service} had {what} of severity {incident.severity} from {utc(began)}"
        marks = [f"T{first.seq}"]
        if end is not None and over is not None:
            word = "resolved" if incident.resolved_at else "mitigated"
            text += f" until it was {word} at {utc(end)}, {span(end - began)} later"
            marks.append(f"T{over.seq}")
        found.append(cite(escaped(text[:1].upper() + text[1:]), marks))
    effect = facts.effect()
    if effect is not None:
        found.append(_evidence_sentence(facts, effect))
    acts = [entry for entry in facts.entries if entry.kind == "effect" and entry.data.get("state") != "intended"]
    if acts:
        found.append(_sentence(facts, acts[-1]))
    return found or ["**Incident commander:** what happened, to whom, and how did it end?"]


def _impact(facts: Facts) -> list[str]:
    failed = [row for row in facts.evidence.values() if row.kind == "check" and row.verdict == "fail"]
    measured = [_evidence_sentence(facts, row) for row in failed if row.provider != "change.rank"]
    return [
        *measured,
        "**Service owner:** how many users, requests and tenants were affected, and how was that counted?",
        "**Service owner:** how many wrong or unsafe answers reached users, and what did the incident cost?",
    ]


def _detection(facts: Facts) -> list[str]:
    found, alert = [], facts.detection()
    if alert is not None:
        delay = facts.incident.detected_at - facts.began_at
        found.append(f"It was detected {span(delay)} after the impact began [T{alert.seq}].")
        if facts.alert_count:
            noun = "alert belongs" if facts.alert_count == 1 else "alerts belong"
            found.append(f"{facts.alert_count} {noun} to this incident [T{alert.seq}].")
    change = facts.first("change")
    if facts.change_count and change is not None:
        found.append(f"{facts.change_count} changes were recorded in the 72 hours before it [T{change.seq}].")
    elif facts.change_count:
        found.append(
            f"**Service owner:** which of the {facts.change_count} changes in the 72 hours before it took part?"
        )
    found.append("**On-call:** which signal showed it first, and what would halve the time to see it?")
    return found


def _moments(facts: Facts) -> tuple[list[str], list[TimelineEntry]]:
    """At most KEY_MOMENTS lines for the reader, with questions in the gaps; and all the entries folded away."""
    open_ones = [entry for entry in facts.entries if entry.kind not in _FOLDED and _stands(facts, entry)]
    chosen = sorted(open_ones, key=lambda entry: (_weight(facts, entry), entry.at, entry.seq))[:KEY_MOMENTS]
    shown = {entry.seq for entry in chosen}
    lines: list[str] = []
    ordered = sorted(chosen, key=lambda entry: (entry.at, entry.seq))
    widest = sorted(pairwise(ordered), key=lambda pair: pair[0].at - pair[1].at)[:GAPS_ASKED]
    asked = {after.seq for before, after in widest if after.at - before.at > GAP}
    previous: TimelineEntry | None = None
    for entry in ordered:
        if previous is not None and entry.seq in asked:
            between = f"{utc(previous.at, '%H:%M')} and {utc(entry.at, '%H:%M')}"
            lines.append(f"**On-call:** what happened here, between {between} ({span(entry.at - previous.at)})?")
        lines.append(_line(facts, entry))
        previous = entry
    return lines, [entry for entry in facts.entries if entry.seq not in shown and _stands(facts, entry)]


def _weight(facts: Facts, entry: TimelineEntry) -> int:
    if entry.pinned:
        return -1
    if entry.kind == "alert":
        return 0 if entry is facts.first("alert") else 4
    if entry.kind == "check":
        failed = any(facts.evidence[number].verdict == "fail" for number in facts.known(entry.evidence))
        return 2 if failed else 4
    return _WEIGHT.get(entry.kind, 5)


def _stands(facts: Facts, entry: TimelineEntry) -> bool:
    """A check's entry says what its evidence says, so it goes when that is not here."""
    return entry.kind != "check" or not entry.evidence or bool(facts.known(entry.evidence))


def _line(facts: Facts, entry: TimelineEntry) -> str:
    after = entry.at - facts.began_at
    offset = f"T+{span(after)}" if after.total_seconds() >= 0 else f"T-{span(-after)}"
    return f"**{utc(entry.at, '%H:%M:%S')}** ({offset}) {_sentence(facts, entry)}"


def _sentence(facts: Facts, entry: TimelineEntry) -> str:
    marks = [f"T{entry.seq}", *(f"E{number}" for number in facts.known(entry.evidence))]
    text = " ".join(facts.without_names(entry.text).split())
    if entry.kind == "message":
        told = entry.data.get("recipients")
        people = f"{len(told)} addresses were told" if isinstance(told, list) and told else "A message was settled"
        return cite(f"{people} ({escaped(entry.data.get('kind', 'message'))})", marks)
    if entry.kind == "note":
        # A person's words are quoted, so that nobody takes them for the document's own.
        quoted = text.replace("“", "'").replace("”", "'")
        quoted = quoted if len(quoted) <= QUOTED else quoted[:QUOTED].rstrip() + "…"
        return cite(f"Note by the {escaped(entry.role or 'responder')}: “{escaped(quoted)}”", marks)
    return cite(escaped(text), marks)


def _evidence_sentence(facts: Facts, row: Evidence) -> str:
    return cite(escaped(facts.without_names(row.summary)), [row.key])


def _checks(facts: Facts) -> list[dict[str, Any]]:
    """What was looked at, by verdict: what was found first, what could not be told next, what was ruled out last."""
    rows = [row for row in facts.evidence.values() if row.kind in ("check", "recheck")]
    groups = []
    for verdict in ("fail", "inconclusive", "error", "pass", "skipped", ""):
        found = [row for row in rows if row.verdict == verdict]
        if found:
            word = WORDS.get(verdict, "Measured without a verdict")
            groups.append({"word": word, "lines": [_evidence_sentence(facts, row) for row in found]})
    return groups


def _state_rows(facts: Facts, effects: list[TimelineEntry]) -> list[dict[str, str]]:
    """What the effects changed, before and after."""
    found = []
    for entry in effects:
        before, after = entry.data.get("before"), entry.data.get("after")
        if before is None and after is None:
            continue
        name = str(entry.data.get("subject") or facts.provider_of(entry) or entry.data.get("step") or "state")
        found.append(
            {
                "name": escaped(name),
                "before": escaped(_short(before)),
                "after": escaped(_short(after)),
                "source": f"[T{entry.seq}]",
            }
        )
    return found


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())[:120] or "nothing"
    return "unknown" if value is None else str(value)[:120]


def _why_lines(level: Why) -> dict[str, Any]:
    """One level as Markdown: its statement with references, its reasons, and its question when it asks one."""
    marks = [f"E{number}" for number in level["evidence"]] + [f"T{seq}" for seq in level["entries"]]
    own = [] if level["lines"] and level["entries"] else marks
    shown = own or [f"T{seq}" for seq in level["entries"]]
    return {
        "level": level["level"],
        "branch": level["branch"],
        "statement": cite(escaped(level["statement"]), shown) if level["statement"] else "",
        "lines": [
            cite(f"{line['side'][:1].upper()}{line['side'][1:]}: {escaped(line['text'])}", [f"E{line['evidence']}"])
            for line in level["lines"]
        ],
        "asks": f"**{level['ask_role']}:** {level['question']}" if level["ask_role"] else "",
    }


def _verification(facts: Facts, effects: list[TimelineEntry]) -> list[str]:
    """What was measured after the last effect."""
    if effects:
        since = effects[-1].at
        later = [row for row in facts.evidence.values() if row.created_at > since and row.kind in ("check", "recheck")]
        stopped = [entry for entry in facts.entries if entry.kind == "alert" and entry.at > since]
        found = [_evidence_sentence(facts, row) for row in later] + [_sentence(facts, row) for row in stopped[-1:]]
        if found:
            return found
    return ["**On-call:** which measurement shows that it is over, and since when?"]


def _item(facts: Facts, item: ActionItem) -> dict[str, str]:
    return {
        "title": escaped(item.title),
        "kind": item.kind,
        "priority": f"P{item.priority}",
        "owner": escaped(item.owner.label),
        "due": item.due_on.isoformat(),
        "state": item.get_state_display(),
        "check": escaped(item.closing_check) or "unknown",
        "source": _item_source(facts, item),
    }


def _item_source(facts: Facts, item: ActionItem) -> str:
    marks = [f"E{number}" for number in facts.known(item.evidence)]
    told = [entry for entry in facts.entries if entry.data.get("item") == str(item.uuid)]
    marks += [f"T{entry.seq}" for entry in told[:1]]
    return _marks(marks) or "**Postmortem owner:** what does this item follow from?"


def _declined(facts: Facts, item: ActionItem) -> str:
    told = [entry for entry in facts.entries if entry.data.get("item") == str(item.uuid)]
    if not told:
        return f"**Reviewer:** does the reason for declining “{escaped(item.title).rstrip('?.!')}” still hold?"
    return cite(
        f"Declined: {escaped(facts.without_names(f'{item.title}. Reason: {item.reason}'))}", [f"T{told[-1].seq}"]
    )


def _evidence_row(facts: Facts, row: Evidence) -> dict[str, str]:
    window = f"{utc(row.window_from, '%H:%M')}–{utc(row.window_to, '%H:%M')}" if row.window_from else ""
    return {
        "key": f"[{row.key}]",
        "what": escaped(row.step or row.provider or row.kind),
        "word": WORDS.get(row.verdict, row.kind),
        "summary": escaped(facts.without_names(row.summary)),
        "query": escaped(row.query[:200]),
        "window": window,
        "hash": row.sha256[:12],
    }


def _marks(references: Iterable[str]) -> str:
    return " ".join(f"[{reference}]" for reference in dict.fromkeys(references))
