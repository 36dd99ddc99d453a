"""The words and glyphs that pages use for verdicts and states; YAML words stay in YAML, API and tooltips."""

from __future__ import annotations

from dataclasses import dataclass

from runbooks import verdicts
from runbooks.models import Effect, Run, StepRun
from web.pages.waiting import waits_for_person

VERDICTS, ACT_VERDICTS = verdicts.WORDS, verdicts.ACT_WORDS
OUTCOMES = {
    "resolved": "Resolved",
    "not_resolved": "Not resolved",
    "unverified": "Not verified",
    "no_action": "Nothing to do",
    "aborted": "Stopped early",
}
OUTCOME_TONES = {
    "resolved": "pass",
    "not_resolved": "fail",
    "unverified": "inconclusive",
    "no_action": "pass",
    "aborted": "error",
}
PHASES = {
    "check": "Check",
    "measure": "Measure",
    "triage": "Triage",
    "remediate": "Remediate",
    "verify": "Verify",
    "undo": "Undo",
    "finally": "Finally",
}
EFFECT_STATES = {
    "intended": "about to be sent",
    "sent": "sent, not confirmed yet",
    "confirmed": "confirmed",
    "refused": "refused by the other side, nothing changed",
    "not_applied": "not applied",
    "unknown": "in doubt: it may have happened",
}
_BLOCKED = {
    "approval": "Waits for approval",
    "human": "Waits for a person",
    "ask": "Asks what to do",
    "lock": "Waits for its turn",
    "child": "Waits for a sub-runbook",
    "stop": "Held back: all effects are stopped",
}
REASONS = {
    "no_data": "nothing was measured",
    "no_series": "the query selects nothing",
    "not_a_number": "the answer is not a number",
    "bad_query": "the source refuses the query",
    "unreachable": "nobody answers at the address",
    "stale": "the data is too old",
    "too_few_samples": "too few samples",
    "approval_timeout": "nobody approved in time",
    "rejected": "a person rejected it",
    "worker_lost": "the worker died",
    "provider_missing": "no worker knows it",
    "bad_param": "a parameter does not fit",
    "empty": "its list is empty",
    "offered": "a person may do it",
    "if_false": "its condition does not hold",
    "condition": "its condition does not hold",
    "dry_run": "only what a real run would do",
    "slice": "on a part of the questions",
    "within_error": "the difference is within the error",
    "not_applied": "it surely did not happen",
    "refused": "the other side said no",
    "effect_unknown": "nobody knows whether it happened",
    "observe": "its service may only be observed",
    "stale_evidence": "the facts changed before it was applied",
    "expression": "its rule could not be evaluated",
    "timeout": "it took too long",
    "overrun": "it took longer than until the next sample",
    "not_running": "nothing was running at its time",
    "max_fails": "more samples failed than may",
    "fail_streak": "it failed several times in a row",
    "pass_streak": "it passed often enough in a row",
    "error_streak": "it could not be measured several times in a row",
    "max_inconclusive": "too many samples say nothing",
    "no_pass": "no sample passed",
}


@dataclass(frozen=True)
class Face:
    """How a state looks: a glyph and tone by name, and the word beside it."""

    glyph: str
    word: str


def reason(code: str) -> str:
    """A reason in words; an unknown one with its underscores taken out."""
    return REASONS.get(code, code.replace("_", " "))


def sample_word(verdict: str) -> str:
    """What a sample of a watch came to."""
    return VERDICTS.get(verdict, verdict.capitalize())


def step_face(step: StepRun, *, is_watch: bool = False) -> Face:
    """The glyph and word of a step as it is now."""
    if step.state == "settled":
        words = VERDICTS if step.kind == "check" else ACT_VERDICTS
        return Face(step.verdict or "skipped", words.get(step.verdict, step.verdict))
    if step.state == "cancelled":
        return Face("cancelled", "Cancelled")
    if step.state == "leased":
        return Face("running", "Running")
    if step.state == "sleeping":
        return Face("clock", "Watching" if is_watch else "Waiting")
    if step.state == "blocked":
        waits = waits_for_person(step)
        return Face("waits" if waits else "clock", _BLOCKED.get(step.blocked_on, "Blocked"))
    if step.state == "unknown":
        return Face("waits", "In doubt")
    return Face("queued", "Queued")


def run_face(run: Run, *, waits: bool = False, watches: bool = False) -> Face:
    """The glyph and word of a run: whether one of its steps waits for a person, or watches whether something holds."""
    if run.state == "finished" and run.is_plan:
        return Face("skipped", "Dry run ended")
    if run.state == "finished":
        return Face(OUTCOME_TONES.get(run.outcome, "skipped"), OUTCOMES.get(run.outcome, run.outcome or "Finished"))
    if run.state == "cancelled":
        return Face("cancelled", "Cancelled")
    if run.state == "expired":
        return Face("error", "Ran out of time")
    if run.state == "paused":
        return Face("clock", "Paused")
    if run.state == "stopping":
        return Face("running", "Stopping")
    if run.state == "queued":
        return Face("queued", "Queued")
    if waits:
        return Face("waits", "Waits for a person")
    return Face("clock", "Watching") if watches else Face("running", "Running")


def effect_word(effect: Effect) -> str:
    """The state of an effect in words."""
    return EFFECT_STATES.get(effect.state, effect.state)


# What single keys do on every page (web/static/js/keyboard.js, docs/guide/keyboard.md).
SHORTCUTS = [
    (("/",), "Search"),
    (("⌘ K", "Ctrl K"), "Go anywhere by typing"),
    (("g", "n"), "Now"),
    (("g", "i"), "Incidents"),
    (("g", "r"), "Runs"),
    (("g", "b"), "Runbooks"),
    (("g", "s"), "Services"),
    (("g", "p"), "Postmortems"),
    (("g", "a"), "Actions due"),
    (("j", "k"), "Next and previous row of a list"),
    (("Enter",), "Open it"),
    (("a",), "Acknowledge this incident"),
    (("n",), "Write a note"),
    (("s",), "Change this incident's severity"),
    (("r",), "This incident's runs; start a runbook"),
    (("o",), "Look at what asks for an answer"),
    (("d",), "Declare an incident"),
    (("?",), "This list"),
]
