"""The five whys, from evidence where there is some, and questions to a named role where there is none."""

from __future__ import annotations

from typing import Any, TypedDict

from incidents.models import Evidence, TimelineEntry
from incidents.postmortem_facts import Facts
from incidents.texts import span

# Whom the last why asks, and what, by type of incident: a condition that an organisation can change.
LAST_QUESTION = {
    "accuracy_drop": ("Model owner", "what in the release path of a version lets a loss on a slice reach users?"),
    "latency_spike": ("Platform owner", "what in the way dependencies are called lets one slow part slow all of it?"),
    "cost_explosion": ("Service owner", "what limit stands between one caller and the whole budget?"),
    "safety_incident": ("Model owner", "what stands between an unsafe answer and a user, and how is it tested?"),
    "data_issue": ("Data owner", "what contract on the data is checked before it is used?"),
    "other": ("Service owner", "what condition of the system made all of the above possible?"),
}


class Line(TypedDict):
    """One reason for or against, with its evidence."""

    side: str
    text: str
    evidence: int


class Why(TypedDict):
    """One level: a `statement` with its evidence or timeline entries, a question to `ask_role`, or both."""

    level: int
    branch: str
    question: str
    statement: str
    lines: list[Line]
    evidence: list[int]
    entries: list[int]
    ask_role: str


def whys(facts: Facts) -> list[Why]:
    """The five levels; every statement carries its evidence, and goes when its evidence does."""
    return [_effect(facts), _cause(facts), _prevention(facts), _detection(facts), _condition(facts)]


def _why(level: int, branch: str, question: str, **parts: Any) -> Why:
    made: Why = {
        "level": level,
        "branch": branch,
        "question": question,
        "statement": "",
        "lines": [],
        "evidence": [],
        "entries": [],
        "ask_role": "",
    }
    made.update(parts)  # type: ignore[typeddict-item]
    return made


def _effect(facts: Facts) -> Why:
    asked = ("what users felt", "what did users feel, in numbers?")
    row = facts.effect()
    if row is not None and row.number is not None:
        return _why(1, *asked, statement=facts.brief(row), evidence=[row.number])
    alert = facts.first("alert")
    if alert is not None:
        numbers = facts.known(alert.evidence)
        return _why(1, *asked, statement=facts.without_names(alert.text), evidence=numbers, entries=[alert.seq])
    return _why(1, *asked, ask_role="Service owner")


def _cause(facts: Facts) -> Why:
    branch, entry = "why it happened", facts.last("diagnosis")
    top = _top(entry) if entry is not None else None
    if entry is not None and top is not None:
        lines = _lines(facts, top)
        sure = entry.data.get("top") == top.get("id")
        score = top.get("score")
        points = f" (score {score:+.0f})" if isinstance(score, int | float) else ""
        title = facts.without_names(str(top.get("title") or top.get("id") or "")).strip().rstrip(".?!")
        if title and any(line["side"] == "for" for line in lines):
            words = "The checks point to" if sure else "No cause was sure enough, the nearest was"
            return _why(
                2,
                branch,
                "what made this possible?",
                statement=f"{words} “{title}”{points}.",
                lines=lines,
                evidence=[line["evidence"] for line in lines],
                entries=[entry.seq],
                ask_role="" if sure else "Service owner",
            )
    return _why(2, branch, "which condition made this possible, and what shows it?", ask_role="Service owner")


def _prevention(facts: Facts) -> Why:
    """What changed, and what would have shown the loss before users saw it."""
    branch = "why it was not prevented"
    compared = _failed(facts, "eval.compare")
    if compared is not None:
        old, new = compared.result.get("old_version"), compared.result.get("new_version")
        worst = next(iter(compared.result.get("regressed") or []), "")
        where = f", worst on {worst}" if worst else ""
        return _why(
            3,
            branch,
            f"was {new} compared with {old} before it served, and what did that show?"
            if old and new
            else "were the versions compared before the new one served, and what did that show?",
            statement=facts.without_names(f"{compared.source or 'The evaluation set'} shows the loss{where}."),
            evidence=[compared.number],
            ask_role="Model owner",
        )
    changed = _failed(facts, "change.rank")
    if changed is not None:
        top = changed.result.get("top")
        what = top.get("change") if isinstance(top, dict) else ""
        return _why(
            3,
            branch,
            "which gate did this change pass on its way, and what did that look at?",
            statement=facts.without_names(f"Shortly before it came: {what}." if what else changed.summary),
            evidence=[changed.number],
            ask_role="Service owner",
        )
    asked = "which evaluation case or release gate covers this kind of fault, and what did it show?"
    return _why(3, branch, asked, ask_role="Service owner")


def _detection(facts: Facts) -> Why:
    branch, question = "why it was not seen sooner", "which signal moved first, and what limit on it would ring?"
    seen = facts.detection()
    delay = facts.incident.detected_at - facts.began_at
    if seen is None:
        return _why(4, branch, question, ask_role="Service owner")
    words = f"It was detected {span(delay)} after it began" if delay.total_seconds() > 0 else "It was detected at once"
    return _why(4, branch, question, statement=f"{words}.", entries=[seen.seq], ask_role="Service owner")


def _condition(facts: Facts) -> Why:
    role, question = LAST_QUESTION.get(facts.incident.incident_type, LAST_QUESTION["other"])
    return _why(5, "which condition lies beneath", question, ask_role=role)


def _top(entry: TimelineEntry) -> dict[str, Any] | None:
    ranked = [row for row in entry.data.get("ranked") or [] if isinstance(row, dict)]
    wanted = entry.data.get("top")
    found = next((row for row in ranked if row.get("id") == wanted), ranked[0] if ranked else None)
    return {"title": entry.data.get("title"), **found} if found is not None else None


def _lines(facts: Facts, top: dict[str, Any]) -> list[Line]:
    """What speaks for and against; a line whose evidence is not here is no line."""
    found: list[Line] = []
    for line in top.get("lines") or []:
        numbers = facts.known(line.get("evidence")) if isinstance(line, dict) else []
        if not numbers:
            continue
        points = line.get("points")
        side = "not clear"
        if isinstance(points, int | float) and points:
            side = "for" if points > 0 else "against"
        row = facts.evidence[numbers[0]]
        found.append({"side": side, "text": facts.brief(row), "evidence": numbers[0]})
    return found


def _failed(facts: Facts, provider: str) -> Evidence | None:
    found = [row for row in facts.checks(verifying=False) if row.provider == provider and row.verdict == "fail"]
    return found[-1] if found else None
