"""Revisions of runbooks: immutable texts, saved by one person and published by (in the two-person mode) another."""

from __future__ import annotations

import hashlib
import re

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from catalog import permissions
from catalog.actors import Actor
from catalog.models import Group, Membership, Team
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Forbidden, Invalid
from runbooks import children, schema
from runbooks.models import ACT, Revision, Runbook

# Sources whose texts were agreed on elsewhere (our release, the operator's repository).
TRUSTED_SOURCES = ("library", "file")
SOURCES = (*TRUSTED_SOURCES, "editor", ACT)
OWN_WORK = "override: published own work"


def save(
    runbook: Runbook | None,
    *,
    text: str,
    actor: Actor,
    team: Team | None,
    note: str,
    source: str,
    begun_from: int | None = None,
) -> Revision:
    """Keep `text` as the next revision; without a runbook, make one. The same text again is the same revision.

    `begun_from` is the number of the revision that the writer saw (0: none); Conflict if there is a newer one by now.

    A shipped runbook serves all teams, so only an org admin changes it (docs/decisions/0012); under another id the text
    becomes the team's own copy, which stands in for the shipped one. Nothing is published (see `publish`). Raises
    Invalid with all findings (in extra) for a faulty text, Conflict when the id belongs to another runbook, Forbidden
    or NotFound for a person who may not draft runbooks in that team.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}")
    home = (runbook.team if runbook else None) or team
    if home is not None:
        _require(actor, Permission.DRAFT_RUNBOOK, home)
    principals = principals_of(home) if home is not None and source == "editor" else None
    # Without an ending, so that a changed id is answered below, in words about this runbook and not about a file.
    file = runbook.slug if runbook else "runbook"
    # Files come one after the other, and what they run may come later: the start asks again.
    others = children.others(home) if source == "editor" else None
    spec, findings = schema.examine(text, file=file, principals=principals, others=others)
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
        given, runbook = runbook, _locked(runbook, spec=spec, team=team)
        if runbook.team is None:
            _require(actor, Permission.DRAFT_RUNBOOK, None)
        same = runbook.revisions.filter(sha256=digest).first()
        if same is not None:
            return same
        newest = runbook.revisions.aggregate(newest=Max("number"))["newest"] or 0
        # A copy that the id now names was not what the writer saw.
        seen = begun_from if given is None or given.pk == runbook.pk else 0
        if begun_from is not None and newest != seen:
            raise _overtaken(runbook, newest)
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
        children.refuse_loops(revision, runbook.team)
        spec = schema.load(revision.parsed)
        revision.published_at, revision.published_by = clock.now(), actor.label
        revision.save(update_fields=["note", "published_at", "published_by"])
        runbook.current, runbook.title, runbook.incident_type = revision, spec.title, spec.incident_type
        runbook.save(update_fields=["current", "title", "incident_type"])
        return revision


def as_copy(runbook: Runbook, text: str, team: Team) -> str:
    """The text of a shipped runbook under an id of the team's own, ready to be edited and kept."""
    own = f"{runbook.slug}_{re.sub(r'[^a-z0-9_]', '_', team.slug)}"[:40]
    return re.sub(r"(?m)^id:[ \t]*\S+", f"id: {own}", text, count=1)


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


def _overtaken(runbook: Runbook, newest: int) -> Conflict:
    row = runbook.revisions.get(number=newest)
    return Conflict(
        f"{row.author} kept revision {newest} of {runbook.slug} while you were writing.",
        fix="Compare it with your text, then keep yours over it or take over what was changed.",
        newest=newest,
        runbook=runbook.slug,
    )


def _require(actor: Actor, permission: Permission, team: Team | None) -> None:
    if actor.user is None:
        return
    if team is not None:
        permissions.require(actor, permission, team)
        return
    if not permissions.can(actor, Permission.ORG_ADMIN):
        raise Forbidden(
            "This runbook is shipped for all teams, so only an org admin changes it.",
            fix="Make your team's own copy: write another `id`; it then stands in for the shipped one.",
        )


def _locked(runbook: Runbook | None, *, spec: schema.RunbookSpec, team: Team | None) -> Runbook:
    """The runbook's row, locked; made when there is none, or when a team begins its copy of a shipped one."""
    original = runbook if runbook is not None and runbook.team_id is None and spec.id != runbook.slug else None
    if runbook is None or (original is not None and team is not None):
        known = Runbook.objects.select_for_update().filter(slug=spec.id).first()
        if known is None:
            return Runbook.objects.create(
                team=team,
                copy_of=original,
                slug=spec.id,
                title=spec.title,
                incident_type=spec.incident_type,
                created_at=clock.now(),
            )
        if known.team_id not in (None, team.pk if team else None):
            raise Conflict(f"Another team has a runbook {spec.id!r}.", fix="Choose another id.")
        return known
    if spec.id != runbook.slug:
        raise Invalid(f"The id of this runbook is {runbook.slug!r} and stays so.", fix=f"Write `id: {runbook.slug}`.")
    return Runbook.objects.select_for_update().get(pk=runbook.pk)
