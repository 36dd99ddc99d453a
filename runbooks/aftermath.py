"""What a diagnosis found after a person acted beside it: it goes on, and says so on the timeline."""

from __future__ import annotations

from datetime import datetime

from incidents.models import Evidence, TimelineEntry
from runbooks import reading, transitions
from runbooks.models import ACT, Effect, Run
from runbooks.steps import HARMLESS
from runbooks.verdicts import WORDS


def tell(run: Run, *, now: datetime) -> None:
    """A pinned line with the checks that answered since the last act on the incident; none when nobody acted."""
    if run.incident is None or run.started_at is None or run.is_act or run.is_plan or not _has_causes(run):
        return
    act = last_act(run)
    if act is None or act.ended_at is None:
        return
    told = TimelineEntry.objects.filter(
        incident=run.incident, kind="diagnosis", data__after_act=act.key, data__run=str(run.uuid)
    ).last()
    since = told.at if told is not None else act.ended_at
    checks = list(run.steps.filter(kind="check", state="settled", settled_at__gt=since).exclude(verdict="skipped"))
    if told is not None and not checks:
        return
    said = "; ".join(f"{step.name} {WORDS[step.verdict]}" for step in checks) or "no check has answered since"
    top = run.diagnosis.get("top", "unknown")
    cause = f"likely cause {run.diagnosis.get('title')}" if top != "unknown" else "no likely cause"
    transitions.note(
        run,
        kind="diagnosis",
        text=f"Found after the act of {act.ended_at:%H:%M} UTC ({act.summary.rstrip('.')}): {said}; {cause}.",
        pinned=True,
        evidence=Evidence.objects.filter(pk__in=[step.evidence_id for step in checks if step.evidence_id]).last(),
        data={"after_act": act.key},
    )


def _has_causes(run: Run) -> bool:
    """Whether there is a diagnosis to tell of; a run that cannot be read any more must still come to its end."""
    try:
        return bool(reading.spec_of(run).causes)
    except reading.Unreadable:
        return False


def last_act(run: Run) -> Effect | None:
    """The last change that a person made by Act now on the run's incident since the run began."""
    acts = Effect.objects.filter(
        step_run__run__incident=run.incident_id,
        step_run__run__revision__source=ACT,
        state="confirmed",
        ended_at__gte=run.started_at,
    )
    return acts.exclude(effect_class__in=HARMLESS).order_by("ended_at").last()
