"""backup and restore: the copy is whole, and a restored database never acts twice by itself."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from common import clock
from common.errors import Invalid
from runbooks.models import Effect, Lock, StepRun, Worker
from tests.factories_operate import make_effect
from web.operate import backup


@pytest.mark.django_db(transaction=True)
def test_it_copies_the_whole_database(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("pg_dump is tried by the PostgreSQL journey")
    make_effect(state="sent")
    backup.save(tmp_path / "copy")
    with sqlite3.connect(tmp_path / "copy") as copy:
        assert copy.execute("SELECT state FROM runbooks_effect").fetchall() == [("sent",)]
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


@pytest.mark.django_db
def test_it_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("precious")
    with pytest.raises(Invalid, match="exists already"):
        backup.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "precious"


@pytest.mark.django_db
def test_it_restores_no_other_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("not a database at all")
    with pytest.raises(Invalid, match="is not a copy"):
        backup.restore(tmp_path / "copy")


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["intended", "sent"])
def test_what_was_under_way_asks_a_person(state: str) -> None:
    effect = make_effect(state=state, step_state="leased")
    backup.put_in_doubt()
    effect.refresh_from_db()
    assert effect.state == "unknown"
    step = StepRun.objects.get(pk=effect.step_run_id)
    assert (step.state, step.lease_until, step.worker) == ("unknown", None, "")


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["confirmed", "refused", "not_applied"])
def test_what_had_ended_stays_as_it_was(state: str) -> None:
    effect = make_effect(state=state, step_state="settled")
    backup.put_in_doubt()
    effect.refresh_from_db()
    assert effect.state == state
    assert StepRun.objects.get(pk=effect.step_run_id).state == "settled"


@pytest.mark.django_db
def test_leases_end_and_no_worker_counts_as_alive() -> None:
    effect = make_effect(state="confirmed", step_state="leased")
    now = clock.now()
    Worker.objects.create(name="gone", started_at=now, ticked_at=now)
    backup.put_in_doubt()
    lease = StepRun.objects.get(pk=effect.step_run_id).lease_until
    assert lease is not None
    assert lease <= clock.now() + timedelta(seconds=1)
    assert not Worker.objects.exists()


@pytest.mark.django_db
def test_the_lock_of_a_step_in_doubt_is_kept() -> None:
    doubtful, done = make_effect(state="sent"), make_effect(state="confirmed", step_state="settled")
    for effect in (doubtful, done):
        Lock.objects.create(name=f"service:{effect.pk}", step_run_id=effect.step_run_id, taken_at=clock.now())
    backup.put_in_doubt()
    assert list(Lock.objects.values_list("step_run_id", flat=True)) == [doubtful.step_run_id]
    assert Effect.objects.count() == 2
