"""A fix that is watched: its incident counts as mitigated meanwhile, and is open again when the trouble comes back.

A watch of the verification lasts for a day. Nobody should have to wait for its end to know that users are well, and
nobody should find out next week that it failed.
"""

from __future__ import annotations

from catalog.actors import ALERT, ENGINE, Actor
from incidents import lifecycle
from incidents.models import Incident
from runbooks import planning, watched
from runbooks.models import Run, StepRun
from runbooks.verdicts import worst

VERIFY = "verify"


def watch_begins(run: Run, step: StepRun) -> None:
    """The verification measured that the fix holds and goes on to watch it: users no longer feel the trouble.

    A part of another run says nothing about the incident as a whole.
    """
    if step.phase != VERIFY or run.incident is None or run.parent_step_id is not None:
        return
    settled = run.steps.filter(phase=VERIFY, state="settled").values_list("kind", "verdict")
    measured = any(kind == "check" and verdict == "pass" for kind, verdict in settled)
    if measured and worst([verdict for _, verdict in settled]) == "pass" and _allows(run.incident, "mitigate"):
        note = f"Runbook {run.runbook.slug} verified the fix, and goes on to watch it."
        lifecycle.mitigate(run.incident, actor=ENGINE, note=note)


def watch_failed(run: Run, step: StepRun, summary: str) -> None:
    """A watch of the verification found the trouble again."""
    if step.phase == VERIFY and run.incident is not None:
        _reopen(run.incident, ENGINE, f"it came back. {step.name} {summary}")


def gives_way(watching: Run, started: Run) -> bool:
    """Whether an alert asks for the runbook anew while all that its run still does is to watch the fix.

    To join that run would leave the alert unexamined until the next sample, and people without a diagnosis for a day.
    """
    if started.alert_id is None or watching.state != "active" or watching.phase != VERIFY:
        return False
    at_work = watching.steps.filter(phase=VERIFY).exclude(state__in=[*planning.TERMINAL, "pending"])
    return bool(at_work) and all(
        row.state in watched.UNDER_WAY and watched.watch_of(watching, row) is not None for row in at_work
    )


def alert_came_back(watching: Run, started: Run) -> None:
    """The fix did not hold, says the alert itself, if it is one of the same incident."""
    if watching.incident is not None and started.incident_id == watching.incident_id:
        _reopen(watching.incident, ALERT, "its alert fires again while the fix is watched.")


def _reopen(incident: Incident, actor: Actor, reason: str) -> None:
    if _allows(incident, "reopen"):
        lifecycle.reopen(incident, actor=actor, reason=reason)


def _allows(incident: Incident, verb: str) -> bool:
    return incident.state in lifecycle.TRANSITIONS[verb]
