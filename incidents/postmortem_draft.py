"""Compiling a postmortem's first draft from the facts alone: each sentence has its evidence, or asks a role."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from incidents import postmortem_tables, texts
from incidents.citations import cite
from incidents.models import ActionItem, Evidence, TimelineEntry
from incidents.postmortem_facts import MACHINES, WORDS, Facts
from incidents.postmortem_moments import evidence_sentence, line, sentence, told
from incidents.postmortem_whys import Why, whys
from incidents.texts import code, escaped, span, utc

# Evidence of something done is no verdict on a question.
_DONE = {"pass": "Done", "fail": "Refused", "inconclusive": "In doubt", "error": "Not done"}


@dataclass(frozen=True)
class Draft:
    """A compiled draft: the Markdown and its whys as data."""

    body: str
    whys: list[Why]


def compile_draft(facts: Facts) -> Draft:
    """The draft of these facts. Pure: the same facts give the same text, and a fact taken away takes its sentences."""
    levels = whys(facts)
    moments, folded = told(facts)
    body = texts.render(
        "postmortems/draft.md",
        incident=facts.incident,
        header=_header(facts),
        summary=_summary(facts),
        impact=[evidence_sentence(facts, row) for row in postmortem_tables.felt(facts)],
        impact_rows=postmortem_tables.impact(facts),
        detection=_detection(facts),
        moments=moments,
        checks=_checks(facts),
        response=_response(facts),
        state_rows=postmortem_tables.state(facts),
        whys=[_why_lines(level) for level in levels],
        verification=_verification(facts),
        items=[_item(facts, item) for item in facts.items if item.state != "declined"],
        declined=[_declined(facts, item) for item in facts.items if item.state == "declined"],
        folded=folded,
        evidence=[_evidence_row(facts, row) for row in facts.evidence.values()],
    )
    return Draft(re.sub(r"\n{3,}", "\n\n", body), levels)


def _header(facts: Facts) -> list[dict[str, str]]:
    """Facts with their source; a moment that nobody recorded becomes a question."""
    incident, began = facts.incident, facts.began_at
    first, seen = facts.opening(), facts.detection()
    severity = [entry for entry in facts.entries if entry.kind == "state" and "severity" in entry.data]
    acknowledged = facts.state_entry("acknowledged", incident.acknowledged_at)
    mitigated = facts.state_entry("mitigated", incident.mitigated_at)
    resolved = facts.state_entry("resolved", incident.resolved_at)
    people: dict[str, TimelineEntry] = {}
    for entry in facts.entries:
        if entry.role and entry.role not in MACHINES:
            people.setdefault(entry.role, entry)
    return [
        _fact("Service", facts.service, first),
        _fact("Type", incident.get_incident_type_display(), first),
        _fact("Severity", _severity(facts, severity), severity[-1] if severity else first),
        *postmortem_tables.times(facts),
        _fact("Time to detect", _between(began, incident.detected_at), seen),
        _fact("Time to acknowledge", _between(incident.detected_at, incident.acknowledged_at), acknowledged),
        _fact("Time to mitigate", _between(began, incident.mitigated_at), mitigated),
        _fact("Time to resolve", _between(began, incident.resolved_at), resolved),
        {
            "name": "Took part, by role",
            "value": ", ".join(people) or "nobody yet",
            "source": _marks(f"T{entry.seq}" for entry in people.values())
            or "**Incident commander:** who else took part?",
        },
    ]


def _severity(facts: Facts, changes: list[TimelineEntry]) -> str:
    """The severity, with what it was before each change."""
    incident = facts.incident
    past = [f"SEV{entry.data['severity_was']}" for entry in changes if entry.data.get("severity_was")]
    before = f", before: {', '.join(past)}" if past else ""
    return f"SEV{incident.severity} ({incident.get_severity_display()}){before}"


def _fact(name: str, value: str, entry: TimelineEntry | None) -> dict[str, str]:
    if entry is None or value == "unknown":
        asked = f"**Incident commander:** what should “{name.lower()}” say, and what shows it?"
        return {"name": name, "value": "unknown", "source": asked}
    return {"name": name, "value": escaped(value), "source": f"[T{entry.seq}]"}


def _between(begin: datetime | None, end: datetime | None) -> str:
    return span(end - begin) if begin is not None and end is not None else "unknown"


def _summary(facts: Facts) -> list[str]:
    """How long, what users felt, the likely cause, and what was done: a sentence each, as far as it is known."""
    found = [_lasted(facts)]
    effect = facts.effect()
    if effect is not None:
        found.append(evidence_sentence(facts, effect, brief=True))
    diagnosis = facts.last("diagnosis")
    if diagnosis is not None:
        found.append(sentence(facts, diagnosis))
    acts = [entry for entry in facts.entries if entry.kind == "effect" and entry.data.get("state") != "intended"]
    if acts:
        found.append(sentence(facts, acts[-1]))
    return [one for one in found if one] or ["**Incident commander:** what happened, to whom, and how did it end?"]


def _lasted(facts: Facts) -> str:
    incident, began, first = facts.incident, facts.began_at, facts.detection()
    if first is None:
        return ""
    kind = incident.get_incident_type_display() if incident.incident_type != "other" else "incident"
    what = f"{'An' if kind[0] in 'aeiou' else 'A'} {kind} of severity {incident.severity} on {facts.service}"
    over = facts.state_entry("resolved", incident.resolved_at) or facts.state_entry("mitigated", incident.mitigated_at)
    end = incident.resolved_at or incident.mitigated_at
    if end is None or over is None:
        return cite(escaped(f"{what} began at {utc(began)} and is not over yet"), [f"T{first.seq}"])
    word = "resolved" if incident.resolved_at else "mitigated"
    until = utc(end, "%H:%M UTC") if end.date() == began.date() else utc(end)
    text = f"{what} lasted {span(end - began)}, from {utc(began)} until it was {word} at {until}"
    return cite(escaped(text), [f"T{first.seq}", f"T{over.seq}"])


def _detection(facts: Facts) -> list[str]:
    found, seen = [], facts.detection()
    if seen is not None:
        how = "by an alert" if seen.kind == "alert" else "by hand"
        when = f"{span(facts.incident.detected_at - facts.began_at)} after the impact began"
        found.append(f"It was detected {how}, {when} [T{seen.seq}].")
        if facts.alert_count > 1:
            found.append(f"{facts.alert_count} alerts belong to this incident [T{seen.seq}].")
    return [
        *found,
        *_telling(facts),
        "**On-call:** which signal showed it first, and what would halve the time to see it?",
    ]


def _telling(facts: Facts) -> list[str]:
    """Who was reached, and how soon; the names stay on the timeline."""
    entries = [entry for entry in facts.entries if entry.kind == "message"]
    nobody = [entry for entry in entries if entry.data.get("recipients") == []]
    sent = [entry for entry in entries if entry.data.get("result") == "sent"]
    failed = [entry for entry in entries if entry.data.get("result") == "failed"]
    found = []
    if sent:
        after = span(sent[0].at - facts.incident.detected_at)
        found.append(cite(f"The first message was delivered {after} after the detection", [f"T{sent[0].seq}"]))
    if failed:
        count = f"{_many(failed)} of {_many(failed) + _many(sent)} messages could not be delivered"
        found.append(cite(count, [f"T{entry.seq}" for entry in failed]))
    if nobody:
        count = f"{len(nobody)} times there was nobody to tell, because nobody had an address"
        found.append(cite(count.replace("1 times", "Once"), [f"T{entry.seq}" for entry in nobody]))
    return found


def _many(entries: list[TimelineEntry]) -> int:
    """How many messages these entries tell of: what was sent as one is one entry."""
    return sum(len(entry.data.get("messages") or [entry]) for entry in entries)


def _checks(facts: Facts) -> list[dict[str, Any]]:
    """What was looked at, by verdict: what was found first, what could not be told next, what was ruled out last."""
    rows = facts.checks(verifying=False)
    groups = []
    for verdict in ("fail", "inconclusive", "error", "pass", "skipped", ""):
        found = [row for row in rows if row.verdict == verdict]
        if found:
            word = WORDS.get(verdict, "Measured without a verdict")
            groups.append({"word": word, "lines": [evidence_sentence(facts, row) for row in found]})
    return groups


def _response(facts: Facts) -> list[str]:
    """What was done, each with who decided it and when; then what was decided or answered without an effect."""
    decided = [entry for entry in facts.entries if entry.kind in ("approval", "answer", "gate")]
    lines = []
    for effect in (entry for entry in facts.entries if entry.kind == "effect"):
        step = effect.data.get("step")
        of_step = [entry for entry in decided if step and entry.data.get("step") == step and entry.seq < effect.seq]
        decided = [entry for entry in decided if entry not in of_step]
        lines.append(" ".join([line(facts, effect), *(_decision(of_step))]))
    return [*lines, *(line(facts, entry) for entry in decided)]


def _decision(entries: list[TimelineEntry]) -> list[str]:
    """`Proposed at 03:10:02, approved at 03:14:07 by the on-call`, and what was overridden."""
    if not entries:
        return []
    people = [entry for entry in entries if entry.role not in MACHINES and entry.role]
    said = [f"proposed at {utc(entries[0].at, '%H:%M:%S')}"] if entries[0] not in people else []
    said += [
        f"{'overridden' if entry.data.get('override') else 'decided'} at {utc(entry.at, '%H:%M:%S')} "
        f"by the {escaped(entry.role)}"
        for entry in people
    ]
    words = ", ".join(said) or f"settled at {utc(entries[-1].at, '%H:%M:%S')}"
    return [cite(words[:1].upper() + words[1:], [f"T{entry.seq}" for entry in entries])]


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
            cite(escaped(f"{line['side'][:1].upper()}{line['side'][1:]}: {line['text']}"), [f"E{line['evidence']}"])
            for line in level["lines"]
        ],
        "asks": f"**{level['ask_role']}:** {escaped(level['question'])}" if level["ask_role"] else "",
    }


def _verification(facts: Facts) -> list[str]:
    """What was measured to see whether it is over, with its verdict, and whether the alert stopped."""
    rows = facts.checks(verifying=True)
    words = WORDS | {"pass": "No problem", "fail": "Still a problem"}
    found = [f"{words.get(row.verdict, 'Measured')}: {evidence_sentence(facts, row)}" for row in rows]
    effects = [entry for entry in facts.entries if entry.kind == "effect"]
    if effects:
        stopped = [entry for entry in facts.entries if entry.kind == "alert" and entry.at > effects[-1].at]
        ended = [entry for entry in facts.entries if entry.kind == "run" and entry.data.get("outcome")]
        found += [line(facts, entry) for entry in (*stopped[-1:], *ended[-1:])]
    if rows and all(row.verdict == "pass" for row in rows):
        return found
    return [*found, "**On-call:** which measurement shows that it is over, and since when?"]


def _item(facts: Facts, item: ActionItem) -> dict[str, str]:
    return {
        "title": escaped(item.title),
        "kind": item.kind,
        "priority": f"P{item.priority}",
        "owner": escaped(item.owner.label),
        "due": item.due_on.isoformat(),
        "check": escaped(item.closing_check) or "unknown",
        "source": _item_source(facts, item),
    }


def _item_source(facts: Facts, item: ActionItem) -> str:
    marks = [f"E{number}" for number in facts.known(item.evidence)]
    told_by = [entry for entry in facts.entries if entry.data.get("item") == str(item.uuid)]
    marks += [f"T{entry.seq}" for entry in told_by[:1]]
    return _marks(marks) or "**Postmortem owner:** what does this item follow from?"


def _declined(facts: Facts, item: ActionItem) -> str:
    told_by = [entry for entry in facts.entries if entry.data.get("item") == str(item.uuid)]
    if not told_by:
        return f"**Reviewer:** does the reason for declining “{escaped(item.title).rstrip('?.!')}” still hold?"
    words = f"Declined: {item.title.rstrip('.')}; {item.reason.rstrip('.')}"
    return cite(escaped(facts.without_names(words)), [f"T{told_by[-1].seq}"])


def _evidence_row(facts: Facts, row: Evidence) -> dict[str, str]:
    """Where a piece of evidence comes from; what a check says stands above, what others say stands here."""
    words = WORDS if row.kind in ("check", "recheck", "sample") else _DONE if row.kind == "effect" else {}
    return {
        "key": f"[{row.key}]",
        "what": escaped(row.step or row.provider or row.kind),
        "word": words.get(row.verdict, row.kind),
        "said": "" if words is WORDS else escaped(facts.without_names(row.summary)),
        "query": code(row.query[:300]),
        "window": _window(row),
        "source": escaped(row.source),
        "hash": row.sha256[:12],
    }


def _window(row: Evidence) -> str:
    if row.window_from is None or row.window_to is None:
        return ""
    form = "%H:%M" if row.window_from.date() == row.window_to.date() else "%m-%d %H:%M"
    return f"{utc(row.window_from, form)} to {utc(row.window_to, form)}"


def _marks(references: Iterable[str]) -> str:
    return " ".join(f"[{reference}]" for reference in dict.fromkeys(references))
