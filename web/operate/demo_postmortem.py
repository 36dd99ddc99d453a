"""The demo's first postmortem, finished: questions answered as a team answers them, reviewed and published."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.conf import settings

from catalog.actors import ENGINE, Actor
from incidents import citations, postmortems
from incidents.models import Incident, Postmortem, TimelineEntry

# By how a question begins: what people answered, with what they answered from ({note} and others are entries).
ANSWERS = {
    "what should “verified” say": "nobody wrote it down [T{resolved}]",
    "how many users were affected": "214 of 3,090 users who asked in that half hour, by distinct session [E1]",
    "which tenants": "all three tenants, evenly, by the gateway's log [T{note}]",
    "which slices": "none more than others: every slice waits for the same provider [E1]",
    "what share of the requests": "7 % ran into the 10 s limit of the page, by the gateway's log [T{note}]",
    "how many reached users": "none: answers came late, not wrong [E1]",
    "what did it cost": "no extra cost; unanswered requests are not billed [E3]",
    "how many cases came in": "2 by the support desk's count [T{note}]",
    "what must a reader": (
        "rag-chat answers questions about the product's documents. It looks passages up and lets a "
        "model of an outside "
        "provider write the answer; *P95* is the time within which 95 of 100 answers come [E1]."
    ),
    "which signal showed it first": (
        "The provider's status page changed at 14:05, four minutes before our own alert; the time to "
        "see it is halved by "
        "polling that page each minute [E3]."
    ),
    "what happened here, between 14:1": (
        "The provider worked on it; the on-call looked at its status page every few minutes and changed "
        "nothing [T{note}]."
    ),
    "what happened here, between 14:5": "Nothing more: it stayed within its band [T{resolved}].",
    "what happened here, between 14:3": "Nothing was done: latency was watched for an hour [T{resolved}].",
    "what was visible": (
        "The latency chart, the empty list of changes and the provider's page; a switch to the smaller "
        "fallback model was "
        "considered and left, because its answers are worse and the provider named an end [T{note}]."
    ),
    "what made the decision look right": (
        "Waiting looked right because the provider's page said *minor*, and half of the requests were still fast [E3]."
    ),
    "what helped, what did not": (
        "The check of the provider's status settled the cause within five minutes. The runbook was "
        "followed to its end; "
        "it has no step for switching to the fallback model [T{diagnosis}]."
    ),
    "which evaluation case or release gate": (
        "None: no gate looks at the provider's speed, because it changes without a release of ours [E2]."
    ),
    "which signal moved first": (
        "Time to first token moved at 14:03. "
        "A limit of twice its weekly median rings at 14:04 on the replayed signal [E1]."
    ),
    "what in the way dependencies": (
        "Every request waits for one provider without a limit of its own. A limit of 4 s per call with "
        "a fallback would "
        "bound what users feel, whatever the provider does [E1] [E3]."
    ),
    "what made the response easier": "The status check ran by itself, so nobody had to guess [T{diagnosis}].",
    "what made it harder": "The provider's page named no end for the first ten minutes [T{note}].",
    "where did luck decide": "It was early afternoon; the evening peak brings threefold traffic [E1].",
    "what here is a surprise": "That an outside status page knew before our own alert did [E3].",
    "which measurement shows": "The 95th percentile was back at 1.7 s and stayed there for an hour [T{resolved}].",
    "which inputs of this incident": (
        "None: no answer was wrong. The runbook gets a step that offers the fallback model, and the "
        "status page is polled "
        "each minute [T{diagnosis}]."
    ),
    "which earlier incident": "None on record: this is the first one of this service [T1].",
    "does anybody outside": (
        "For half an hour in the afternoon answers took up to ten seconds, because our model "
        "provider was slow. "
        "No answer was wrong or lost. We will switch to a second model when this happens again [T{resolved}]."
    ),
}
# What served before, during and after, where the draft knows nothing.
STATE = {
    "Model and version": ("v42", "v42", "v42"),
    "Prompt or template": ("answer-7", "answer-7", "answer-7"),
    "Decoding parameters": ("temperature 0.2", "temperature 0.2", "temperature 0.2"),
    "Judge and evaluation set": ("golden", "golden", "golden"),
    "Training and reference data": ("documents of Nov 20", "documents of Nov 20", "documents of Nov 20"),
    "Features and preprocessing": ("chunks-3", "chunks-3", "chunks-3"),
    "Retrieval index": ("idx-118", "idx-118", "idx-118"),
    "Tool schemas": ("none used", "none used", "none used"),
    "Traffic and router": ("100 % to v42", "100 % to v42", "100 % to v42"),
    "Libraries, driver, hardware": ("image 2026.11", "image 2026.11", "image 2026.11"),
}


def finish(incident: Incident, *, actor: Actor, forward: Callable[[float], datetime]) -> Postmortem:
    """Draft, answer, review and publish it; `forward` moves the story's clock by minutes."""
    made = postmortems.draft(incident, actor=actor)
    forward(40)
    body = answered(made.body, incident)
    made = postmortems.save(made, body=body, edition=made.edition, actor=actor)
    made = postmortems.set_state(made, "in_review", actor=actor)
    forward(55)
    # One person may do all in a trial, and it is noted; elsewhere the story is not theirs to approve.
    approver = ENGINE if settings.BACKSTOP.two_person_on else actor
    made = postmortems.set_state(made, "approved", actor=approver)
    forward(5)
    return postmortems.set_state(made, "published", actor=approver)


def answered(body: str, incident: Incident) -> str:
    """The draft with its questions answered."""
    entries = list(TimelineEntry.objects.filter(incident=incident).order_by("seq"))
    seqs = {kind: next(row.seq for row in entries if row.kind == kind) for kind in ("note", "diagnosis")}
    seqs["resolved"] = next(row.seq for row in entries if row.data.get("to") == "resolved")
    lines = [_row(line, seqs) for line in body.split("\n")]
    body = "\n".join(lines)
    for _, role, question in citations.open_questions(body):
        answer = next((text for begins, text in ANSWERS.items() if question.startswith(begins)), "")
        if answer:
            body = body.replace(f"**{role}:** {question}", _cited(answer.format(**seqs)))
    return body


def _cited(answer: str) -> str:
    """The references at the end of an answer, at the end of each of its sentences."""
    text = answer[: answer.index(" [")]
    return citations.cite(text, citations.references(answer))


def _row(line: str, seqs: dict[str, int]) -> str:
    """A row of the tables of numbers and of what served: the value from the answer, or from STATE."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    if len(cells) == 5 and cells[0] in STATE and "unknown" in cells[1]:
        return f"| {cells[0]} | {' | '.join(STATE[cells[0]])} | [T{seqs['note']}] |"
    if len(cells) == 4 and cells[1] == cells[2] == "unknown":
        question = cells[3].partition(":** ")[2]
        answer = next((text for begins, text in ANSWERS.items() if question.startswith(begins)), "").format(**seqs)
        value, _, how = answer.partition(" [")
        kind = "measured" if value[:1].isdigit() else "estimate"
        return f"| {cells[0]} | {value} | {kind} | [{how} |" if answer else line
    return line
