"""A team whose pages are full: incidents open and over, a run that measured and waits, an approval, a postmortem."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine
from django.conf import settings as django_settings
from django.db import transaction

from catalog import changes
from catalog.actors import person
from catalog.models import Connection, ModelVersion, Service
from common import clock
from incidents import lifecycle, postmortems
from incidents.models import Incident
from runbooks import ticker
from runbooks.models import ApprovalRequest, Run, Worker
from tests.factories import make_incident, make_service, make_signal
from tests.factories_postmortems import Story
from tests.factories_runbooks import make_runbook, start, states
from tests.factories_web import MARK, World, make_world

_HYPOTHESES = """\
hypotheses:
  model_regression:
    title: The serving version is worse than the previous one
    prior: 2
    evidence: {{error_share: {{fail: 4, pass: -2}}, versions: {{fail: 3}}}}
  data_issue:
    title: The data that reaches the model changed
    evidence: {{null_share: {{fail: 4, pass: -3}}}}
"""
_STEPS = """\
  check:
    - id: error_share
      name: Are more answers wrong than before?
      check: result.test
      with: {{value: 0.13}}
      pass_if: value < 0.02
    - {{id: null_share, check: result.test, with: {{value: 0.001}}, pass_if: value < 0.02}}
    - id: versions
      name: Is v43 worse than v42 on the same questions?
      check: result.test
      with: {{value: 0.5}}
      pass_if: value < 0.1
      fail_if: value > 0.9
    - {{id: elsewhere, if: "1 == 2", check: result.test, with: {{value: 1}}, pass_if: value == 1}}
  remediate:
    - id: roll_back
      name: Let the previous version serve again
      action: model.rollback
      with: {{to: v42}}
      risk: high
      lock: "service:{service}"
      approval: {{from: [role:oncall], timeout: 30m, message: "Roll {service} back to v42?"}}
"""


# Numbers of their own, so that pages look the same whatever was made before.
LIVE, OVER = 42, 41
# When frozen pages were made.
NOW = datetime(2026, 11, 21, 3, 14, 7, tzinfo=UTC)


@dataclass
class Pages:
    """A world, and in it an incident whose run waits for an approval, and one that is over and written up."""

    world: World
    live: Incident
    run: Run
    approval: ApprovalRequest
    over: Incident

    @property
    def addresses(self) -> list[str]:
        """The four pages of the design: incident, run, approval, postmortem."""
        return [
            f"/incidents/{self.live.number}",
            f"/runs/{self.run.uuid}",
            f"/approvals/{self.approval.uuid}",
            f"/postmortems/{self.over.number}",
        ]


@contextmanager
def undone() -> Iterator[None]:
    """Whatever is done to the database in the block is taken back at its end."""
    with transaction.atomic():
        # As pytest-django's own: what must not run within a transaction may run within this one.
        transaction.get_connection().atomic_blocks[-1]._from_testcase = True
        yield
        transaction.set_rollback(True)


@contextmanager
def frozen_pages(folder: Path, **options: str) -> Iterator[Pages]:
    """Full pages at one fixed moment, taken back in the end: for a session's fixture, outside of any test."""
    settings = django_settings.BACKSTOP
    django_settings.BACKSTOP = settings.model_copy(update={"data_dir": folder})
    try:
        with time_machine.travel(NOW, tick=False), undone():
            yield make_pages(folder, **options)
    finally:
        django_settings.BACKSTOP = settings


def make_pages(folder: Path, *, slug: str = "", mark: str = MARK) -> Pages:
    """One thing of every kind and a story of each; `folder` is the data folder, which holds the flags."""
    world = make_world(slug, mark=mark) if slug else make_world(mark=mark)
    now, team, actor = clock.now(), world.team, person(world.member)
    Worker.objects.create(name="worker", queues=["engine"], started_at=now, ticked_at=now)
    service = make_service(
        team, f"{team.slug}-chat"[:40], title=f"{mark} chat", rollback={"connection": "flags", "flag": "model"}
    )
    make_signal(service, "accuracy", "accuracy", connection=world.connection)
    Connection.objects.create(
        team=team, slug="flags", connector="file_flag", config={"path": "flags.json"}, created_at=now
    )
    (folder / "flags.json").write_text('{"model": {"value": "v43", "version": 1}}')
    for version, state in (("v42", "kept"), ("v43", "serving")):
        ModelVersion.objects.create(
            service=service, version=version, state=state, served_from=now - timedelta(days=12, hours=int(version[1:]))
        )
    at = now - timedelta(minutes=26)
    changes.record(team=team, service=service, kind="model", summary=f"{mark} v43", source="ci", occurred_at=at)
    title = f"{mark} accuracy 0.91 → 0.78"
    live = make_incident(team, service, number=LIVE, title=title, severity=2, started_at=now - timedelta(minutes=14))
    book = make_runbook(
        team,
        _STEPS.format(service=service.slug),
        slug=f"{team.slug.replace('-', '_')}_roll"[:40],
        head=_HYPOTHESES.format(),
    )
    run = start(book, actor, team, live)
    approval = _worked_off(run)
    lifecycle.acknowledge(live, actor=actor)
    lifecycle.add_note(live, text=f"{mark} looks like the new version", actor=actor)
    over = Story(team, number=OVER).incident
    Service.objects.filter(incidents=over.pk).update(slug=f"{team.slug}-rag"[:60], title=f"{mark} answers")
    over.refresh_from_db()
    postmortems.draft(over, actor=actor)
    return Pages(world, live, run, approval, over)


def _worked_off(run: Run) -> ApprovalRequest:
    """Until it asks. `pump` would also send its messages again and again: nobody takes them here."""
    for _ in range(50):
        ticker.tick("test")
        ticker.run_pending("test", ("engine", "checks", "actions"), older_than=-3600)
        asked = ApprovalRequest.objects.filter(step_run__run=run, state="open").first()
        if asked is not None:
            return asked
    raise AssertionError(f"it never asked: {states(run)}")
