"""Asking people whether an exact action may be applied, and taking their answers.

A request is bound to the digest of what was shown. It is answered by people only, once each; it expires without being
approved; a fact that comes up while it waits (the alert resolved) makes it ask anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction

from catalog import permissions
from catalog.actors import ENGINE, Actor
from catalog.models import User
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Forbidden, Invalid
from common.secrets import redact_json
from incidents import evidence, lifecycle, notices
from incidents.models import Alert
from runbooks import autonomy, engine, ledger, locks, principals, reading, transitions
from runbooks.actions.base import Preview
from runbooks.definitions import Definition
from runbooks.models import ApprovalRequest, Decision, Run, StepRun


def ask(
    run: Run, step: StepRun, definition: Definition, preview: Preview, *, now: datetime, new_fact: str = ""
) -> ApprovalRequest | None:
    """S4: put the exact change before the people who may approve it; the step waits, holding no worker and no lock."""
    # Asked here, so somebody is: where the runbook names nobody, those whom the service's level adds.
    approval = definition.approval or autonomy.ADDED
    new_fact = (new_fact or step.pending_note or _resolved_since(run))[:300]
    due = now + timedelta(seconds=approval.timeout)
    shown = redact_json(preview.shown())
    sentence = shown["sentence"]
    if not transitions.go(
        run,
        step,
        "S4",
        was=("leased",),
        now=now,
        text=sentence,
        state="blocked",
        blocked_on="approval",
        due_at=due,
        escalated=0,
        lease_until=None,
        attempts=0,
        pending_note="",
    ):
        return None
    request = ApprovalRequest.objects.create(
        step_run=step,
        generation=step.generation,
        digest=ledger.approval_digest(run, step, shown, new_fact),
        needed=approval.count,
        principals=approval.from_,
        four_eyes=approval.four_eyes or (run.team.four_eyes and definition.risk == "high"),
        message=definition.render_message(reading.names_for(run, step, list(run.steps.all()), now)),
        preview=shown,
        requested_at=now,
        due_at=due,
        new_fact=new_fact,
    )
    _next_telling(step, request, definition)
    fact = f" New: {new_fact}." if new_fact else ""
    row = evidence.store(
        incident=run.incident,
        kind="approval",
        summary=f"Proposed: {sentence}{fact}",
        run_id=run.pk,
        step=step.step,
        provider=definition.provider,
        params=step.params or {},
        result=request.preview,
    )
    who = ", ".join(approval.from_)
    transitions.note(
        run,
        kind="approval",
        text=f"Proposed: {sentence}.{fact} Waits for {request.needed} of {who} until {due:%H:%M} UTC.",
        evidence=row,
        pinned=True,
        data={"step": step.step, "digest": request.digest, "request": str(request.uuid)},
    )
    _tell(run, request, kind="waits_for_you", asks=sentence, now=now)
    return request


def _resolved_since(run: Run) -> str:
    """The fact that the alert which started the run has resolved meanwhile, for those who are asked only now."""
    if run.alert_id is None or run.alert.get("status") != "firing":
        return ""
    alert = Alert.objects.filter(pk=run.alert_id, status="resolved").first()
    return f"the alert resolved at {alert.ends_at or alert.last_seen_at:%H:%M} UTC" if alert else ""


def _tell(run: Run, request: ApprovalRequest, *, kind: str, asks: str, now: datetime, level: int = 0) -> None:
    left = max(timedelta(0), request.due_at - now)
    # The first clause of the action is what fits on a lock screen.
    act = asks.partition(", ")[0]
    if run.incident is None:
        subject = f"{run.runbook.title} asks: {asks} · until {request.due_at:%H:%M} UTC"
    elif kind == "approval_expired":
        subject = notices.subject(run.incident, says=f"expired, nothing was applied: {act}")
    else:
        subject = notices.subject(run.incident, asks=act, left=left)
    notices.tell(
        team=run.team,
        kind=kind,
        key=f"{request.uuid}" + (f":{level}" if level else ""),
        subject=subject,
        body=notices.body(kind, incident=run.incident, action=asks, why=_why(run, request), until=request.due_at),
        link=f"/approvals/{request.uuid}",
        incident=run.incident,
        users=principals.people(request.principals, team=run.team),
        since=request.due_at if kind == "approval_expired" else None,
    )


def _why(run: Run, request: ApprovalRequest) -> list[str]:
    """What speaks for it, for a message: the runbook's own words, a new fact, and the problems that checks found."""
    problems = run.steps.filter(kind="check", verdict="fail").order_by("position").values_list("summary", flat=True)
    fact = f"New: {request.new_fact}." if request.new_fact else ""
    return [line for line in (request.message, fact, *problems[:3]) if line]


def open_request(step: StepRun) -> ApprovalRequest:
    """The request that waits on a step; Conflict that says what became of the last one otherwise."""
    request = ApprovalRequest.objects.filter(step_run=step).first()
    if request is None:
        raise Conflict("Nothing was asked about this step.", fix="Open the run to see where it stands.")
    if request.state != "open":
        said = {
            "approved": "It was approved already.",
            "rejected": "It was rejected already.",
            "expired": "It expired; nothing was applied.",
            "superseded": "Something changed since, and it was asked anew or cancelled.",
        }[request.state]
        raise Conflict(said, fix="Open the run to see where it stands.", state=request.state)
    return request


def approve(
    step: StepRun, *, digest: str, actor: Actor, note: str = "", break_glass: bool = False, reason: str = ""
) -> ApprovalRequest:
    """S6: one person says yes to exactly what was shown; with the quorum the action goes on to its lock.

    Break-glass is for one who holds the permission but is not asked, or alone where two are needed: it wants a reason,
    tells the team, and leaves a review item. Raises Conflict for a changed digest, a closed request or a second click.
    """
    with transaction.atomic():
        run = transitions.lock_run(step.run_id)
        now = clock.now()
        step = StepRun.objects.get(pk=step.pk)
        request = _checked(run, step, digest=digest, actor=actor, now=now)
        override = ""
        if break_glass:
            if not reason.strip():
                raise Invalid("Break-glass needs a reason.", fix="Say in one sentence why nobody else can approve now.")
            permissions.require(actor, Permission.BREAK_GLASS, run.team)
            override = f"break-glass: {reason.strip()}"
        else:
            override = _may_approve(run, request, actor)
        _decide(request, actor, approve=True, note=note, now=now, break_glass=break_glass, override=override)
        given = request.decisions.filter(approve=True).count()
        if override:
            _tell_override(run, step, request, actor, override, break_glass=break_glass)
        if given < request.needed and not break_glass:
            transitions.note(
                run, kind="approval", actor=actor, text=f"{actor.label} approved; {request.needed - given} more needed."
            )
            return request
        _close(request, "approved", now)
        said = f" «{note.strip()}»" if note.strip() else ""
        transitions.note(
            run,
            kind="approval",
            actor=actor,
            text=f"{actor.label} approved: {request.preview['sentence']}.{said}",
            pinned=True,
            data={"step": step.step, "digest": digest, "override": override},
        )
        go_on(run, step, was=("blocked",), now=now, actor=actor)
        return request


def _checked(run: Run, step: StepRun, *, digest: str, actor: Actor, now: datetime) -> ApprovalRequest:
    """Everything that must hold before anybody's answer counts."""
    if not actor.is_person:
        permissions.require(actor, Permission.SEE, run.team)
        raise Forbidden("No token may approve or reject.", fix="A person signs in and decides in the browser.")
    permissions.require(actor, Permission.SEE, run.team)
    request = open_request(step)
    if digest != request.digest:
        raise Conflict(
            "What you saw has changed since; nothing was applied.", fix="Read the page again and decide anew."
        )
    if now >= request.due_at:
        raise Conflict("It expired; nothing was applied.", fix="Ask again from the run's page.", state="expired")
    if run.state not in ("active", "paused"):
        raise Conflict(f"The run is {run.state}.", fix="Open the run to see how it ended.", state=run.state)
    return request


def _may_approve(run: Run, request: ApprovalRequest, actor: Actor) -> str:
    """Nothing to note, or the override to note; Forbidden for one who may not."""
    _is_asked(run, request, actor)
    own = []
    if run.requester_id is not None and run.requester_id == actor.user_id:
        own.append("started this run")
    if run.revision.source == "editor" and run.revision.author_id == actor.user_id:
        own.append("wrote this revision")
    if not own or not request.four_eyes:
        return ""
    if settings.BACKSTOP.two_person_on:
        raise Forbidden(
            f"Four eyes: you {' and '.join(own)}, so another person decides.",
            fix="Another approver decides, or a lone on-call uses break-glass with a reason.",
        )
    return f"approved by the person who {' and '.join(own)} (two-person rule is off)"


def _is_asked(run: Run, request: ApprovalRequest, actor: Actor) -> None:
    """To decide, one holds the permission and is among those who are asked."""
    permissions.require(actor, Permission.APPROVE, run.team)
    if not principals.is_among(actor, request.principals, team=run.team):
        raise Forbidden(
            f"This asks {', '.join(request.principals)}, and you are not among them.",
            fix="One of them decides, or you use break-glass with a reason.",
        )


def _decide(
    request: ApprovalRequest,
    actor: Actor,
    *,
    approve: bool,
    note: str,
    now: datetime,
    break_glass: bool = False,
    override: str = "",
) -> None:
    assert actor.user_id is not None, "only people decide"
    before = request.decisions.filter(user_id=actor.user_id).first()
    if before is not None and before.approve and break_glass:
        # Said yes, then found that nobody else can: the same yes, now alone. It stays one decision of one person.
        before.note, before.break_glass, before.override, before.at = note or before.note, True, override[:200], now
        before.save(update_fields=["note", "break_glass", "override", "at"])
        return
    if before is not None:
        raise Conflict(f"You decided already, at {before.at:%H:%M:%S} UTC.", fix="Open the run to see where it stands.")
    try:
        with transaction.atomic():
            Decision.objects.create(
                request=request,
                user_id=actor.user_id,
                actor=actor.label,
                approve=approve,
                note=note,
                break_glass=break_glass,
                override=override[:200],
                at=now,
            )
    except IntegrityError:
        raise Conflict("You decided already.", fix="Open the run to see where it stands.") from None


def _close(request: ApprovalRequest, state: str, now: datetime) -> None:
    ApprovalRequest.objects.filter(pk=request.pk, state="open").update(state=state, closed_at=now)
    request.state, request.closed_at = state, now


def _tell_override(
    run: Run, step: StepRun, request: ApprovalRequest, actor: Actor, override: str, *, break_glass: bool
) -> None:
    """On the timeline and to the team; a broken glass also to the org admins, and the incident closes only reviewed."""
    transitions.note(
        run,
        kind="approval",
        actor=actor,
        text=f"Override by {actor.label}: {override}. It is to be reviewed.",
        pinned=True,
        data={"step": step.step, "override": override},
    )
    notices.tell(
        team=run.team,
        kind="break_glass",
        key=f"{request.uuid}:{actor.user_id}",
        subject=f"{run.incident.key if run.incident else run.runbook.slug}: {override}"[:300],
        body=notices.body("break_glass", who=actor.label, action=str(request.preview["sentence"]), reason=override),
        link=f"/runs/{run.uuid}",
        incident=run.incident,
        users=User.objects.filter(is_org_admin=True, is_active=True) if break_glass else (),
    )
    if break_glass and run.incident is not None:
        question = f"{actor.label} broke the glass for «{request.preview['sentence']}»: was that right?"
        lifecycle.open_gate(run.incident, key=f"break-glass:{request.uuid}", title=question, blocks="close")


def go_on(run: Run, step: StepRun, *, was: tuple[str, ...], now: datetime, actor: Actor = ENGINE) -> None:
    """To the lock if it needs one, else straight to the workers, with a fresh set of attempts."""
    changes = {"stage": "apply", "attempts": 0, "t0": None}
    if step.lock_name:
        locks.line_up(run, step, was=was, now=now, transition="S6", actor=actor, **changes)
    else:
        transitions.go_ready(run, step, "S6", was=was, now=now, actor=actor, **changes)


def reject(step: StepRun, *, digest: str, actor: Actor, reason: str) -> ApprovalRequest:
    """S6: one person says no, with a reason; the step fails and nothing is applied."""
    if not reason.strip():
        raise Invalid("A rejection needs a reason.", fix="Say in one sentence why not.")
    with transaction.atomic():
        run = transitions.lock_run(step.run_id)
        now = clock.now()
        step = StepRun.objects.get(pk=step.pk)
        request = _checked(run, step, digest=digest, actor=actor, now=now)
        _is_asked(run, request, actor)
        _decide(request, actor, approve=False, note=reason.strip(), now=now)
        _close(request, "rejected", now)
        transitions.note(
            run,
            kind="approval",
            actor=actor,
            text=f"{actor.label} rejected: {request.preview['sentence']}. «{reason.strip()}»",
            pinned=True,
            data={"step": step.step, "reason": reason.strip()},
        )
        engine.settle(
            run,
            step,
            was=("blocked",),
            verdict="fail",
            reason="rejected",
            summary=f"Rejected by {actor.label}: {reason.strip()}",
            now=now,
            transition="S6",
            actor=actor,
        )
        engine.move_on(run, now=now)
        return request


def expire(run: Run, step: StepRun, *, now: datetime) -> None:
    """S6: nobody answered in time. Nothing is applied, ever; the step asks what to do."""
    request = ApprovalRequest.objects.filter(step_run=step, state="open").first()
    if request is None:
        return
    _close(request, "expired", now)
    sentence = request.preview["sentence"]
    transitions.note(
        run, kind="approval", text=f"Expired, nothing was applied: {sentence}. It can be asked again.", pinned=True
    )
    _tell(run, request, kind="approval_expired", asks=sentence, now=now)
    engine.settle(
        run,
        step,
        was=("blocked",),
        verdict="inconclusive",
        reason="approval_timeout",
        summary="Nobody answered in time; nothing was applied.",
        now=now,
        transition="S6",
    )
    engine.move_on(run, now=now)


def tell_again(run: Run, step: StepRun, *, now: datetime) -> None:
    """While a request waits: half of its time is over (the same people once more), or more people are asked."""
    request = ApprovalRequest.objects.filter(step_run=step, state="open").first()
    if request is None:
        return
    definition = reading.step_of(run, step)
    asks = request.preview["sentence"]
    if not request.half_told and now >= _half(request):
        request.half_told = True
        request.save(update_fields=["half_told"])
        _tell(run, request, kind="approval_half", asks=asks, now=now)
    for number, level in enumerate(definition.escalations[step.escalated :], start=step.escalated + 1):
        if now < request.requested_at + timedelta(seconds=level.after):
            break
        step.escalated = number
        request.principals = [*request.principals, level.to]
        request.save(update_fields=["principals"])
        text = f"Nobody has decided for {level.after // 60} min: {level.to} is asked too. {asks}."
        transitions.note(run, kind="approval", text=text, pinned=True, data={"step": step.step, "level": number})
        _tell(run, request, kind="waits_for_you", asks=asks, now=now, level=number)
    _next_telling(step, request, definition)


def _half(request: ApprovalRequest) -> datetime:
    return request.requested_at + (request.due_at - request.requested_at) / 2


def _next_telling(step: StepRun, request: ApprovalRequest, definition: Definition) -> None:
    """When somebody is told next while the request waits; never twice for the same reason."""
    moments = [] if request.half_told else [_half(request)]
    moments += [
        request.requested_at + timedelta(seconds=level.after) for level in definition.escalations[step.escalated :][:1]
    ]
    transitions.note_on(step, was=("blocked",), tell_at=min(moments, default=None), escalated=step.escalated)


def ask_anew(run: Run, step: StepRun, *, fact: str, now: datetime) -> None:
    """A fact came up while a request waited: the world is read again and the request is put anew with that fact.

    One that is about to be put (the run may be paused until tomorrow) is put with the newest fact.
    """
    request = ApprovalRequest.objects.filter(step_run=step, state="open").first()
    if request is None:
        StepRun.objects.filter(pk=step.pk, state="ready", stage="preview").update(pending_note=fact)
        return
    if request.new_fact == fact:
        return
    _close(request, "superseded", now)
    anew = {"stage": "preview", "attempts": 0, "t0": None, "pending_note": fact}
    transitions.go_ready(run, step, "S6", was=("blocked",), now=now, text=f"asked anew: {fact}", **anew)


def nobody_can(run: Run) -> list[str]:
    """The approval steps of a run that nobody could approve as things stand, one sentence each."""
    found = []
    own = {run.requester_id, run.revision.author_id if run.revision.source == "editor" else None}
    for definition in reading.spec_of(run).definitions:
        approval = autonomy.approval_of(run, definition) if definition.kind == "action" else None
        if approval is None:
            continue
        # Those of an escalation are asked later, but they are asked.
        able = principals.approvers([*approval.from_, *(level.to for level in approval.escalate)], team=run.team)
        four_eyes = approval.four_eyes or (run.team.four_eyes and definition.risk == "high")
        if four_eyes and settings.BACKSTOP.two_person_on:
            able = [user for user in able if user.pk not in own]
        if len(able) < approval.count:
            found.append(
                f"{definition.id} asks {', '.join(approval.from_)}: {len(able)} of {approval.count} people can approve"
            )
    return found
