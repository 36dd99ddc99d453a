"""A dry run from the command line, carried out in this process: no worker needs to be there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from catalog.actors import ENGINE, Actor
from catalog.models import Service, Team
from common.errors import Invalid, NotFound
from incidents.models import Incident
from runbooks import children, engine, execution, files, revisions, runs, ticker
from runbooks.models import Revision, Run, Runbook, StepRun

COMMAND = Actor("manage.py runbook plan", "operator")


def start(given: str, *, service: str, inputs: dict[str, Any], incident: int | None, team: str) -> Run:
    """Start the dry run of a file or of a runbook's id. Raises DomainError, FileFaults for a file with errors."""
    about = _incident(incident)
    home = about.team if about else _team(service, team)
    runbook = _runbook(given, home)
    if service:
        inputs = {"service": service} | inputs
    started = runs.start(runbook, given=inputs, actor=COMMAND, team=home, incident=about, plan=True)
    assert started.run is not None, "a dry run holds no key, so nothing is in its way"
    return started.run


def carry_out(run: Run, *, seconds: float) -> Run:
    """Do its steps, and those of what it runs, until it has ended or the time is over; a worker beside may do some."""
    end = time.monotonic() + seconds
    while Run.objects.get(pk=run.pk).is_open and time.monotonic() < end:
        family = [run.pk, *(child.pk for child in children.below(run) if child.is_open)]
        ready = list(StepRun.objects.filter(run__in=family, state="ready").values_list("pk", flat=True))
        for pk in ready:
            execution.execute(pk, COMMAND.label)
        # What a check may wait for; jobs of other runs are due as well and lose nothing by being done.
        ticker.run_evaluations(("checks",), older_than=0)
        for pk in family:
            ticker.ring_timers_of(pk)
            # The hint that a child has ended goes to workers, of which there may be none.
            engine.advance(pk)
        if not ready:
            time.sleep(0.2)
    return Run.objects.select_related("runbook", "revision", "incident", "service", "team").get(pk=run.pk)


def _runbook(given: str, team: Team) -> Runbook:
    path = Path(given)
    if not path.is_file():
        found = Runbook.objects.written().filter(slug=given, deleted_at=None).select_related("current").first()
        if found is None:
            raise NotFound(f"There is no file and no runbook {given!r}.", fix="Name a file, or the id of a runbook.")
        return found
    # A text that is not kept yet becomes a revision that nobody published: the run must say of which text it was.
    note = "kept for a dry run"
    revision = revisions.save(None, text=files.text_of(path), actor=ENGINE, team=team, note=note, source="editor")
    runbook = Runbook.objects.get(pk=revision.runbook_id)
    runbook.current = Revision.objects.get(pk=revision.pk)
    return runbook


def _incident(number: int | None) -> Incident | None:
    if number is None:
        return None
    found = Incident.objects.select_related("team").filter(number=number).first()
    if found is None:
        raise NotFound(f"There is no incident {number}.", fix="The number of INC-42 is 42.")
    return found


def _team(service: str, slug: str) -> Team:
    """The team named, else the service's, else the only one."""
    if slug:
        teams = list(Team.objects.filter(slug=slug))
    elif service:
        teams = list(Team.objects.filter(pk__in=Service.objects.filter(slug=service).values("team")))
    else:
        teams = list(Team.objects.all()[:2])
    if len(teams) != 1:
        raise Invalid("Which team's run is it?", fix="Name a known --service, a --team or an --incident.")
    return teams[0]
