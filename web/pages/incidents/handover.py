"""The card for whoever takes over: known, ruled out, running, next. Made from what is recorded, never typed."""

from __future__ import annotations

from dataclasses import dataclass

from incidents.impact import Figure
from incidents.models import Incident
from web.pages.incidents.finding import RunLine
from web.pages.incidents.knowing import Causes, Course, Demand


@dataclass(frozen=True)
class Handover:
    """Four short lists of sentences."""

    known: list[str]
    ruled_out: list[str]
    running: list[str]
    following: list[str]

    @property
    def parts(self) -> list[tuple[str, list[str]]]:
        """The lists under their headings, in the order of reading."""
        return [
            ("Known", self.known),
            ("Ruled out", self.ruled_out),
            ("Running", self.running),
            ("Next", self.following),
        ]

    def text(self, incident: Incident) -> str:
        """The card as plain text, to be pasted into a chat."""
        lines = [f"{incident.key} SEV{incident.severity} {incident.state}: {incident.title}"]
        for head, sentences in self.parts:
            lines.append(f"{head}:")
            lines += [f"- {sentence}" for sentence in sentences] or ["- nothing"]
        return "\n".join(lines)


def handover(
    incident: Incident,
    sentence: str,
    causes: Causes,
    figures: list[Figure],
    runs: list[RunLine],
    course: Course,
    demands: list[Demand],
) -> Handover:
    """Compile the card."""
    known = [sentence]
    if causes.named is not None:
        keys = ", ".join(cited.key for cited in causes.named.speaks_for if cited.key)
        known.append(f"Likely cause: {causes.named.title}{f' ({keys})' if keys else ''}.")
    elif causes.ranked:
        known.append(f"No cause reached {causes.limit:.0%}; best so far: {causes.ranked[0].title}.")
    reach = [
        f"{figure.label.lower()} {figure.words} ({figure.basis})" for figure in figures if figure.value is not None
    ]
    known.append(f"Impact: {', '.join(reach)}." if reach else "Impact: unknown.")
    newest = runs[0] if runs else None
    checks = [step for step in newest.steps if step.kind == "check" and step.state == "settled"] if newest else []
    ruled_out = [step.name for step in checks if step.verdict == "pass" and step.phase != "verify"]
    running = [course.running.name] if course.running else []
    running += [f"{line.run.runbook.title}, phase {line.run.phase}" for line in runs if line.run.is_open]
    following = [f"{demand.ask.sentence} (asks {demand.who})" for demand in demands]
    following += [course.following.name] if course.following else []
    return Handover(known, ruled_out, running, following)
