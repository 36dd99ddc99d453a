"""Runbooks from files: the shipped library, and the operator's own folder.

A file becomes a revision and is published at once, unless somebody edited the runbook here: a local edit stays current
and the file's revision is only offered (`offered`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from catalog.actors import ENGINE
from catalog.models import Team
from common import yaml
from common.errors import DomainError
from common.yaml import FileFaults, Finding
from runbooks import revisions, schema
from runbooks.models import Revision, Runbook

FOLDER = Path(__file__).parent / "library"


@dataclass
class Loaded:
    """What came of a folder: its runbooks, and what was wrong with files that could not be used."""

    runbooks: list[Runbook] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def files(folder: Path) -> list[Path]:
    """The runbooks in a folder: `*.yaml` and `*.yml`, without tests (`*.test.yaml`)."""
    found = [path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file()]
    return sorted(path for path in found if not path.stem.endswith(".test"))


def load_shipped() -> list[Runbook]:
    """Bring the shipped library into the database; doing it again changes nothing. A fault in it is our bug."""
    loaded = _load(FOLDER, team=None, source="library")
    assert not loaded.findings, f"the shipped library is faulty: {loaded.findings[0]}"
    return loaded.runbooks


def load_folder(folder: Path, team: Team) -> Loaded:
    """Bring a folder's runbooks into the database, for that team. One faulty file does not stop the others."""
    return _load(folder, team=team, source="file")


def offered(runbook: Runbook) -> Revision | None:
    """The newest revision from a file that is newer than a local edit which is current; None when there is none."""
    current = runbook.current
    if current is None or current.source in revisions.TRUSTED_SOURCES:
        return None
    newer = runbook.revisions.filter(source__in=revisions.TRUSTED_SOURCES, number__gt=current.number)
    return newer.order_by("-number").first()


def _load(folder: Path, *, team: Team | None, source: str) -> Loaded:
    loaded = Loaded()
    for path in files(folder):
        try:
            loaded.runbooks.append(_load_file(path, team=team, source=source))
        except FileFaults as faults:
            loaded.findings += faults.findings
        except (DomainError, OSError) as error:
            fix = error.fix if isinstance(error, DomainError) else ""
            loaded.findings.append(Finding(path.name, 1, 1, "RB002", "error", str(error), fix or "Look at the file."))
    return loaded


def _load_file(path: Path, *, team: Team | None, source: str) -> Runbook:
    # One byte more than allowed is enough to see that it is too big.
    with path.open("rb") as file:
        text = yaml.decode(file.read(yaml.MAX_BYTES + 1), file=path.name)
    digest = hashlib.sha256(text.encode()).hexdigest()
    revision = (
        Revision.objects.filter(runbook__slug=path.stem, sha256=digest).select_related("runbook__current").first()
    )
    if revision is None:
        # Said here with the file's own name; `save` would only count the errors.
        schema.parse(text, file=path.name)
        known = Runbook.objects.filter(slug=path.stem).first()
        if known is not None and team is None and known.team is not None:
            # A release brings an id that a team uses already: theirs stays theirs.
            return known
        revision = revisions.save(known, text=text, actor=ENGINE, team=team, note="", source=source)
    runbook = revision.runbook
    # What was decided nearer to the operation stays: an edit before a file of the operator, that before our library.
    nearness = ("library", "file", "editor")
    current = runbook.current
    if current is None or (current.pk != revision.pk and nearness.index(current.source) <= nearness.index(source)):
        revisions.publish(revision, actor=ENGINE)
    return Runbook.objects.select_related("current").get(pk=runbook.pk)
