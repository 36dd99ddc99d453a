"""The tests that belong to a runbook: files for what we ship, a text kept by its authors for a team's own."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from django.db import transaction

from catalog import permissions
from catalog.actors import Actor
from catalog.permissions import Permission
from common import clock
from common.errors import Conflict, Invalid
from common.yaml import FileFaults, Finding
from runbooks import children, files, library, reading
from runbooks.models import Revision, Runbook, RunbookTests
from runbooks.testing import apart, cases, report
from runbooks.testing.family import gather

SHIPPED = "the release"


def of(runbook: Runbook) -> RunbookTests | None:
    """The row of a runbook's tests and of what they last said."""
    return RunbookTests.objects.filter(runbook=runbook).first()


def text_of(runbook: Runbook) -> str:
    """The tests as they are; empty when there are none. Those of a shipped runbook come with the release."""
    if runbook.team_id is not None:
        row = of(runbook)
        return row.text if row else ""
    path = library.FOLDER / "tests" / f"{runbook.slug}{report.ENDING}"
    return files.text_of(path) if path.is_file() else ""


def beginning(runbook: Runbook) -> str:
    """What somebody who writes the first tests begins with: those of the original for a copy, else a small case."""
    if runbook.copy_of is not None and (text := text_of(runbook.copy_of)):
        return re.sub(r"(?m)^runbook:[ \t]*\S+", f"runbook: {runbook.slug}", text, count=1)
    return f"runbook: {runbook.slug}\ncases:\n  - name: what is told here\n    stubs: {{}}\n    expect: {{}}\n"


def newest(runbook: Runbook) -> Revision | None:
    """The revision that tests are played on: the newest, so that a draft is tested before it is published."""
    return runbook.revisions.order_by("-number").first()


def check(runbook: Runbook, text: str) -> list[Finding]:
    """Everything wrong with a text as the tests of that runbook."""
    file = f"{runbook.slug}{report.ENDING}"
    try:
        tests, document = cases.read(text, file=file)
    except FileFaults as faults:
        return faults.findings
    if tests.runbook != runbook.slug:
        at = document.position(("runbook",))
        message = f"These are the tests of `{tests.runbook}`."
        return [Finding(file, *at, report.NO_RUNBOOK, "error", message, f"Write `runbook: {runbook.slug}`.")]
    revision = newest(runbook)
    if revision is None:
        return []
    book = reading.book_of(revision)
    others = children.others(runbook.team) if book.runs else {}
    return cases.check(tests, document, gather(book.spec, others)[0])


def keep(runbook: Runbook, *, text: str, actor: Actor) -> RunbookTests:
    """Keep `text` as the tests of a team's runbook; what the ones before said is forgotten.

    Raises Invalid with all findings (in extra), Conflict for a shipped runbook.
    """
    if runbook.team is None:
        raise Conflict("The tests of a shipped runbook come with the release.", fix="Make your team's own copy.")
    permissions.require(actor, Permission.DRAFT_RUNBOOK, runbook.team)
    findings = check(runbook, text)
    if findings:
        first = findings[0]
        raise Invalid(
            f"The tests have {len(findings)} error{'s' if len(findings) > 1 else ''}; the first, line {first.line}: "
            f"{first.message}",
            fix=first.fix,
            findings=[finding.as_dict() for finding in findings],
        )
    return _store(runbook, text, actor.label, {}, None)


def play(runbook: Runbook, *, actor: Actor) -> RunbookTests:
    """Play the tests on the newest revision and keep what they say. Raises Conflict: there are none, or see `apart`."""
    if runbook.team is not None:
        permissions.require(actor, Permission.DRAFT_RUNBOOK, runbook.team)
    text, revision = text_of(runbook), newest(runbook)
    if not text or revision is None:
        raise Conflict(f"{runbook.slug} has no tests yet.", fix="Write a case first.")
    told = apart.run(
        runbook.slug, runbook=revision.text, tests=text, others=children.texts_below(revision, runbook.team)
    )
    row = of(runbook)
    author = SHIPPED if runbook.team is None else row.author if row else actor.label
    return _store(runbook, text, author, told, revision.number)


def _store(runbook: Runbook, text: str, author: str, told: dict[str, Any], revision: int | None) -> RunbookTests:
    with transaction.atomic():
        now = clock.now()
        digest = hashlib.sha256(text.encode()).hexdigest()
        before = RunbookTests.objects.select_for_update().filter(runbook=runbook).first()
        same = before is not None and before.sha256 == digest
        row, _ = RunbookTests.objects.update_or_create(
            runbook=runbook,
            defaults={
                "text": text,
                "sha256": digest,
                "author": author,
                "updated_at": before.updated_at if same and before else now,
                "report": told,
                "report_revision": revision,
                "report_at": now if told else None,
            },
        )
        return row
