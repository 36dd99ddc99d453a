"""Revisions of runbooks: immutable texts, saved by one person and published by (in the two-person mode) another."""

from __future__ import annotations

import hashlib

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Group, Membership, Team
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Forbidden, Invalid
from runbooks import schema
from runbooks.models import Revision, Runbook

# Sources whose texts were agreed on elsewhere (our release, the operator's repository).
TRUSTED_SOURCES = ("library", "file")
SOURCES = (*TRUSTED_SOURCES, "editor")
OWN_WORK = "override: published own work"


def save(runbook: Runbook | None, *, text: str, actor: Actor, team: Team | None, note: str, source: str) -> Revision:
    """Keep `text` as the next revision; without a runbook, make one. The same text again is the same revision.

    Nothing is published (see `publish`). Raises Invalid with all findings (in extra) for a faulty text, Conflict when
    the id belongs to another runbook, Forbidden or NotFound for a person who may not draft runbooks in that team.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}")
    home = (runbook.team if runbook else None) or team
    _require(actor, Permission.DRAFT_RUNBOOK, home)
    principals = principals_of(home) if home is not None and source == "editor" else None
    # Without an ending, so that a changed id is answered below, in words about this runbook and not about a file.
    file = runbook.slug if runbook else "runbook"
    spec, findings = schema.examine(text, file=file, principals=principals)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors or spec is None:
        first = errors[0]
        raise Invalid(
            f"The runbook has {len(errors)} error{'s' if len(errors) > 1 else ''}; the first, line {first.line}: "
            f"{first.message}",
            fix=first.fix,
            findings=[finding.as_dict() for finding in findings],
        )
    digest = hashlib.sha256(text.encode()).hexdigest()
    with transaction.atomic():
        runbook = _locked(runbook, spec=spec, team=team)
        same = runbook.revisions.filter(sha256=digest).first()
        if same is not None:
            return same
        newest = runbook.revisions.aggregate(newest=Max("number"))["newest"] or 0
        return Revision.objects.create(
            runbook=runbook,
            number=newest + 1,
            spec=spec.spec,
            sha256=digest,
            text=text,
            parsed=spec.stored(),
            source=source,
            author=actor.label,
            author_id=actor.user_id,
            note=note[:300],
            created_at=clock.now(),
        )


def publish(revision: Revision, *, actor: Actor) -> Revision:
    """Let new runs use this revision; runs under way keep theirs. Publishing the current one again changes nothing.

    Raises Forbidden when a person publishes his own last edit and BACKSTOP_TWO_PERSON is on; when it is off, the
    revision's note says so.
    """
    with transaction.atomic():
        runbook = Runbook.objects.select_for_update().get(pk=revision.runbook_id)
        revision = Revision.objects.select_for_update().get(pk=revision.pk)
        _require(actor, Permission.PUBLISH_RUNBOOK, runbook.team)
        if runbook.current_id == revision.pk:
            return revision
        if actor.user is not None and revision.author_id == actor.user_id and revision.source not in TRUSTED_SOURCES:
            if settings.BACKSTOP.two_person_on:
                raise Forbidden(
                    "The last editor of a runbook may not publish it.",
                    fix="Ask another author or an approver of the team to read and publish it.",
                )
            if OWN_WORK not in revision.note:
                revision.note = f"{revision.note[:260]} ({OWN_WORK})" if revision.note else OWN_WORK
        spec = schema.load(revision.parsed)
        revision.published_at, revision.published_by = clock.now(), actor.label
        revision.save(update_fields=["note", "published_at", "published_by"])
        runbook.current, runbook.title, runbook.incident_type = revision, spec.title, spec.incident_type
        runbook.save(update_fields=["current", "title", "incident_type"])
        return revision


def principals_of(team: Team) -> set[str]:
    """Everybody a runbook of this team may name: its people, its groups, and the team itself.

    `team:default` and `role:oncall` are always known, because shipped runbooks name them and every team has them.
    """
    people = Membership.objects.filter(team=team, user__is_active=True).values_list("user__username", flat=True)
    groups = Group.objects.filter(team=team).values_list("slug", flat=True)
    return {
        f"team:{team.slug}",
        "team:default",
        "role:oncall",
        *(f"user:{name}" for name in people),
        *(f"role:{slug}" for slug in groups),
    }


def _require(actor: Actor, permission: Permission, team: Team | None) -> None:
    if actor.user is None:
        return
    if team is not None:
        permissions.require(actor, permission, team)
        return
    # A shipped runbook belongs to no team: it takes the permission in one's own.
    teams = list(Team.objects.filter(pk__in=permissions.teams_of(actor.user)))
    if any(permissions.can(actor, permission, own) for own in teams):
        return
    if teams:
        permissions.require(actor, permission, teams[0])
    raise Forbidden("You belong to no team.", fix="Ask a team admin for membership.")


def _locked(runbook: Runbook | None, *, spec: schema.RunbookSpec, team: Team | None) -> Runbook:
    """The runbook's row, locked; made when there is none."""
    if runbook is None:
        known = Runbook.objects.select_for_update().filter(slug=spec.id).first()
        if known is None:
            return Runbook.objects.create(
                team=team, slug=spec.id, title=spec.title, incident_type=spec.incident_type, created_at=clock.now()
            )
        if known.team_id not in (None, team.pk if team else None):
            raise Conflict(f"Another team has a runbook {spec.id!r}.", fix="Choose another id.")
        return known
    if spec.id != runbook.slug:
        raise Invalid(f"The id of this runbook is {runbook.slug!r} and stays so.", fix=f"Write `id: {runbook.slug}`.")
    return Runbook.objects.select_for_update().get(pk=runbook.pk)
