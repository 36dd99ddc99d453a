"""How rows look as JSON: the words of docs/guide/api.md, one function per noun. Fields are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings

from catalog import pictures
from catalog.models import Change, Picture, Secret, Service, Signal
from common.yaml import Finding
from evaluations.models import EvaluationSet
from incidents import postmortem_sections
from incidents.impact import Figure
from incidents.models import ActionItem, Alert, Delivery, Evidence, Incident, Postmortem, TimelineEntry
from runbooks import children, damage, exercised, watched
from runbooks.acting import Offer
from runbooks.models import ApprovalRequest, Revision, Run, Runbook, Sample, StepRun
from runbooks.testing import kept as kept_tests

Shape = dict[str, Any]


def link(path: str) -> str:
    """The absolute address of a page, made from BACKSTOP_BASE_URL and never from the request."""
    return f"{settings.BASE_URL}{path}"


def delivery(row: Delivery) -> Shape:
    """An accepted webhook and what became of it; never its raw body."""
    return {
        "id": str(row.uuid),
        "source": row.endpoint.source,
        "endpoint": row.endpoint.name,
        "team": row.endpoint.team.slug,
        "status": row.status,
        "kind": row.kind or None,
        "reason": row.reason,
        "received_at": row.received_at,
        "processed_at": row.processed_at,
        "size": row.size,
        "attempts": row.attempts,
        "event_id": row.event_id,
        "alerts": row.alerts,
        "notes": row.notes,
    }


def alert(row: Alert) -> Shape:
    """An alert in its present episode."""
    return {
        "id": str(row.uuid),
        "source": row.endpoint.source,
        "endpoint": row.endpoint.name,
        "team": row.endpoint.team.slug,
        "status": row.status,
        "severity": row.severity,
        "title": row.title,
        "description": row.description,
        "service": row.service.slug if row.service else row.service_name or None,
        "environment": row.environment or None,
        "labels": row.labels,
        "links": row.links,
        "dedup_key": row.dedup_key,
        "episode": row.episode,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "first_seen_at": row.first_seen_at,
        "last_seen_at": row.last_seen_at,
        "seen_count": row.seen_count,
        "incident": row.incident.number if row.incident else None,
    }


def incident(row: Incident) -> Shape:
    """An incident without its timeline."""
    return {
        "number": row.number,
        "key": row.key,
        "title": row.title,
        "summary": row.summary,
        "type": row.incident_type,
        "severity": row.severity,
        "state": row.state,
        "team": row.team.slug,
        "service": row.service.slug if row.service else None,
        "unrouted": row.unrouted,
        "is_drill": row.is_drill,
        "commander": row.commander.username if row.commander else None,
        "declared_by": row.declared_by,
        "started_at": row.started_at,
        "onset_at": row.onset_at,
        "detected_at": row.detected_at,
        "acknowledged_at": row.acknowledged_at,
        "acknowledged_by": row.acknowledged_by or None,
        "mitigated_at": row.mitigated_at,
        "resolved_at": row.resolved_at,
        "closed_at": row.closed_at,
        "version": row.version,
        "url": link(f"/incidents/{row.number}"),
    }


def entry(row: TimelineEntry, said: Mapping[int, bool] | None = None) -> Shape:
    """One entry of a timeline with the evidence it cites; `said` is what people said of stars, by number of entry.

    `pinned` is what was recorded and hashed, `key_moment` what counts.
    """
    return {
        "seq": row.seq,
        "at": row.at,
        "recorded_at": row.recorded_at,
        "kind": row.kind,
        "actor": row.actor,
        "role": row.role,
        "text": row.text,
        "data": row.data,
        "evidence": [f"E{number}" for number in row.evidence],
        "pinned": row.pinned,
        "key_moment": (said or {}).get(row.seq, row.pinned),
        "supersedes": row.supersedes,
        "hash": row.hash,
    }


def impact_figure(row: Figure) -> Shape:
    """One figure of what users feel, and where it comes from."""
    return {
        "name": row.name,
        "value": row.value,
        "words": row.words,
        "basis": row.basis,
        "asked": row.asked or None,
        "reason": row.reason,
        "evidence": f"E{row.evidence}" if row.evidence else None,
        "set_by": row.set_by or None,
        "set_at": row.set_at,
    }


def service(row: Service) -> Shape:
    """A looked-after service with its signals; connections by name only."""
    return {
        "slug": row.slug,
        "title": row.title,
        "description": row.description,
        "team": row.team.slug,
        "tier": row.tier,
        "autonomy": row.autonomy,
        "default_owner": row.default_owner.username if row.default_owner else None,
        "dashboard_url": row.dashboard_url or None,
        "depends_on": sorted(other.slug for other in row.depends_on.all()),
        "signals": [
            {"name": s.name, "connection": s.connection.slug, "query": s.query, "unit": s.unit, "worse": s.worse}
            for s in row.signals.all()
        ],
        "versions": [
            {"version": v.version, "state": v.state, "served_from": v.served_from, "served_to": v.served_to}
            for v in row.versions.all()
        ],
        "url": link(f"/services/{row.slug}"),
    }


def signal(row: Signal, picture: Picture | None) -> Shape:
    """A signal with what is kept of it: points and band; null where nothing was read yet."""
    read = picture is not None and picture.read_at is not None
    band = picture.band if picture is not None else {}
    return {
        "name": row.name,
        "connection": row.connection.slug,
        "query": row.query,
        "unit": row.unit,
        "worse": row.worse,
        "state": picture.state or None if picture else None,
        "fault": picture.fault if picture else "",
        "read_at": picture.read_at if picture else None,
        "tried_at": picture.tried_at if picture else None,
        "start_at": picture.start_at if picture else None,
        "end_at": picture.end_at if picture else None,
        "step_seconds": picture.step_seconds if picture and read else None,
        "points": [list(point) for point in pictures.times_and_values(picture)] if picture and read else [],
        "band": {
            "start": band["start"],
            "step_seconds": band["step"],
            "low": band["low"],
            "middle": band["mid"],
            "high": band["high"],
            "words": band["words"],
        }
        if band
        else None,
    }


def change(row: Change) -> Shape:
    """Something that was changed."""
    return {
        "id": str(row.uuid),
        "team": row.team.slug,
        "service": row.service.slug if row.service else None,
        "kind": row.kind,
        "summary": row.summary,
        "subject": row.subject,
        "version": row.version,
        "author": row.author,
        "environment": row.environment,
        "link": row.link or None,
        "labels": row.labels,
        "source": row.source,
        "occurred_at": row.occurred_at,
        "received_at": row.received_at,
    }


def evaluation_set(row: EvaluationSet) -> Shape:
    """An evaluation set, of a query that counted its cases (`sets.counted`)."""
    return {
        "slug": row.slug,
        "title": row.title,
        "team": row.team.slug,
        "cases": getattr(row, "case_count"),  # noqa: B009  an annotation
        "last_scored": getattr(row, "last_scored"),  # noqa: B009
        "created_at": row.created_at,
    }


def secret(row: Secret) -> Shape:
    """A secret without its value."""
    return {"name": row.name, "team": row.team.slug, "kept_by": row.created_by, "kept_at": row.created_at}


def runbook(row: Runbook) -> Shape:
    """A runbook with its current revision."""
    return {
        "id": row.slug,
        "title": row.title,
        "type": row.incident_type,
        "team": row.team.slug if row.team else None,
        "copy_of": row.copy_of.slug if row.copy_of else None,
        "enabled": row.enabled,
        # What keeps it from being started, a sentence each: a start is refused while there is any.
        "needs": children.needs_of(row.current, row.team),
        "revision": row.current.number if row.current else None,
        "published_at": row.current.published_at if row.current else None,
        "url": link(f"/runbooks/{row.slug}"),
    }


def runbook_with_text(row: Runbook) -> Shape:
    """The same with the YAML text of the current revision."""
    return {**runbook(row), "text": row.current.text if row.current else None}


def checked(findings: list[Finding], kept: Revision | None = None) -> Shape:
    """What there is to say about a runbook's text, and as which revision it was kept."""
    shown = [
        {**finding.as_dict(), "guide": link(f"/guide/runbook-errors#{finding.code.lower()}")} for finding in findings
    ]
    return {
        "findings": [{name: value for name, value in row.items() if name != "file"} for row in shown],
        "runbook": kept.runbook.slug if kept else None,
        "revision": kept.number if kept else None,
    }


def runbook_tests(row: Runbook) -> Shape:
    """Its tests and what they last said; `exercised_at` is the newest of real runs and passing tests."""
    tests = kept_tests.of(row)
    return {
        "runbook": row.slug,
        "text": kept_tests.text_of(row) or None,
        "author": tests.author if tests else None,
        "report": tests.report if tests and tests.report else None,
        "report_revision": tests.report_revision if tests else None,
        "report_at": tests.report_at if tests else None,
        "exercised_at": exercised.last(row),
        "url": link(f"/runbooks/{row.slug}/tests"),
    }


def run_line(row: Run) -> Shape:
    """A run without its steps, for lists."""
    return {
        "id": str(row.uuid),
        "runbook": row.runbook.slug,
        "revision": row.revision.number,
        "state": row.state,
        "stop_reason": row.stop_reason,
        "outcome": row.outcome or None,
        "plan": row.is_plan,
        "phase": row.phase,
        "incident": row.incident.number if row.incident else None,
        "service": row.service.slug if row.service else None,
        "team": row.team.slug,
        "inputs": row.inputs,
        "diagnosis": row.diagnosis,
        "warning": row.warning,
        "started_by": row.started_by,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "version": row.version,
        "url": link(f"/runs/{row.uuid}"),
    }


def run(row: Run) -> Shape:
    """A run with all its steps, in order; what waits for approval carries the digest to approve or reject."""
    steps = list(row.steps.all())
    cited = {e.pk: e.key for e in Evidence.objects.filter(pk__in=[s.evidence_id for s in steps if s.evidence_id])}
    asked = {a.step_run_id: a for a in ApprovalRequest.objects.filter(step_run__run=row, state="open")}
    watches = watched.standings(row, steps)
    # What keeps a run from going on comes before what its start warned of.
    warning = (damage.of(row, steps) if row.is_open else "") or row.warning
    shown = [_step(s, cited, asked.get(s.pk)) | _watch(watches.get(s.pk)) for s in steps]
    started = list(Run.objects.filter(parent_step__run=row).order_by("pk").values_list("parent_step", "uuid"))
    for step, told in zip(steps, shown, strict=True):
        told["runs"] = [str(uuid) for parent, uuid in started if parent == step.pk]
    part_of = row.parent_step
    parent = {"run": str(part_of.run.uuid), "step": part_of.step, "item": part_of.item} if part_of else None
    return {**run_line(row), "warning": warning, "parent": parent, "outputs": row.outputs, "steps": shown}


def _watch(found: watched.Standing | None) -> Shape:
    """What a step has more when it is a watch."""
    if found is None:
        return {"samples": None, "next_due": None}
    return {
        "samples": [_sample(sample, found.evidence(sample)) for sample in found.samples],
        "next_due": found.next_due,
    }


def _sample(row: Sample, evidence: str) -> Shape:
    return {
        "k": row.k,
        "due_at": row.due_at,
        "taken_at": row.taken_at,
        "verdict": row.verdict,
        "reason": row.reason or None,
        "summary": row.summary,
        "value": row.value,
        "evidence": evidence or None,
    }


def offer(row: Offer) -> Shape:
    """An action that can be asked for now."""
    return {
        "action": row.action.name,
        "title": row.action.title,
        "risk": row.action.risk,
        "needs_approval": row.asks,
        "lacks": row.lacks or None,
        "params": row.schema,
    }


def _step(row: StepRun, cited: dict[int, str], asked: ApprovalRequest | None) -> Shape:
    return {
        "id": row.step,
        "item": row.item,
        "item_value": row.item_value,
        "kind": row.kind,
        "provider": row.provider or None,
        "name": row.name,
        "phase": row.phase,
        "state": row.state,
        "blocked_on": row.blocked_on or None,
        "verdict": row.verdict or None,
        "reason": row.reason or None,
        "summary": row.summary,
        "value": row.value,
        "result": row.result,
        "attempts": row.attempts,
        "due_at": row.due_at,
        "evidence": cited.get(row.evidence_id) if row.evidence_id else None,
        "approval": asked
        and {
            "digest": asked.digest,
            "needed": asked.needed,
            "from": asked.principals,
            "four_eyes": asked.four_eyes,
            "message": asked.message,
            "preview": asked.preview,
            "new_fact": asked.new_fact or None,
            "requested_at": asked.requested_at,
            "due_at": asked.due_at,
        },
    }


def postmortem(row: Postmortem) -> Shape:
    """A postmortem with its text, its sections, and the edition that a change must name."""
    return postmortem_line(row) | {"body": row.body, "whys": row.whys, "sections": postmortem_sections.data(row)}


def postmortem_line(row: Postmortem) -> Shape:
    """The same without the text, for lists."""
    return {
        "incident": row.incident.number,
        "state": row.state,
        "owner": row.owner.username if row.owner else None,
        "reviewer": row.reviewer.username if row.reviewer else None,
        "edition": row.edition,
        "clock_started_at": row.clock_started_at,
        "due_at": row.due,
        "saved_by": row.saved_by or None,
        "saved_at": row.saved_at,
        "drafted_at": row.drafted_at,
        "published_at": row.published_at,
        "url": link(f"/postmortems/{row.incident.number}"),
    }


def action_item(row: ActionItem) -> Shape:
    """One action item."""
    return {
        "id": str(row.uuid),
        "incident": row.incident.number,
        "team": row.team.slug,
        "title": row.title,
        "kind": row.kind,
        "priority": row.priority,
        "owner": row.owner.username,
        "due_on": row.due_on,
        "state": row.state,
        "closing_check": row.closing_check,
        "rule": row.rule or None,
        "evidence": [f"E{number}" for number in row.evidence],
        "cause": row.cause,
        "tracker": row.tracker or None,
        "reason": row.reason or None,
        "created_at": row.created_at,
        "done_at": row.done_at,
    }
