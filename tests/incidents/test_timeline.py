"""The timeline: append-only in the database, chained by hash, and its changes found whoever makes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from catalog.actors import ENGINE
from catalog.models import Team
from incidents import append_only, evidence, heads, lifecycle, postmortems, timeline
from incidents.models import Evidence, Incident, TimelineEntry
from tests.conftest import Clock
from tests.factories import make_actor, make_incident
from tests.factories_postmortems import Story

pytestmark = pytest.mark.django_db
HARD: dict[str, Any] = {
    "floats": [1e22, -1e300, -0.0, 1e-7, 0.1 + 0.2, 5e-324, 1.0, float("nan"), float("inf"), 2**53 + 1],
    "text": "half \ud800 of a pair, NUL \x00, ü, 日本, \u2028",
    "nested": {"b": (1, 2), "a": None, "2": True},
}


def execute(sql: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


@contextmanager
def behind_our_back() -> Iterator[None]:
    """What somebody does who owns the database and takes the triggers away."""
    append_only.remove(connection)
    yield
    append_only.install(connection)


def whole(incident: Incident) -> list[str]:
    incident.refresh_from_db()
    return timeline.broken_links(incident)


@pytest.fixture
def story(moved_clock: Clock, db: None) -> Story:
    """A finished incident with its postmortem."""
    made = Story()
    postmortems.draft(made.incident, actor=ENGINE)
    evidence.keep_bytes(b"a file", "text/plain")
    # Foreign keys are checked now, else PostgreSQL refuses a TRUNCATE for its own reason.
    connection.check_constraints()
    return made


@pytest.mark.parametrize("table", append_only.TABLES)
@pytest.mark.parametrize("act", ["UPDATE {} SET id = id + 1000", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_the_database_refuses_to_change_a_row(story: Story, table: str, act: str) -> None:
    if connection.vendor == "sqlite" and "TRUNCATE" in act:
        act = "DELETE FROM {} WHERE 1"  # SQLite has no TRUNCATE; this is the form that it treats as one.
    with pytest.raises(DatabaseError, match="append-only"):
        execute(act.format(table))
    assert whole(story.incident) == []


@pytest.mark.parametrize("table", append_only.TABLES)
def test_the_database_refuses_to_replace_a_row(story: Story, table: str) -> None:
    replace = f"INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1"
    if connection.vendor == "postgresql":
        replace = f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1 ON CONFLICT (id) DO UPDATE SET id = {table}.id"
    with pytest.raises(DatabaseError, match="append-only"):
        execute(replace)


def test_it_is_whole_after_everything(story: Story) -> None:
    out = StringIO()
    call_command("timeline", "verify", stdout=out)
    assert out.getvalue() == "1 timeline is whole.\n"


def test_it_stays_whole_whatever_is_written(team: Team) -> None:
    incident = make_incident(team)
    row = evidence.store(
        incident=incident,
        kind="check",
        summary=HARD["text"],
        value=HARD["floats"],
        result=HARD,
        threshold={"value": float("nan")},
        query="a\x00b",
        reason="long " * 40,
        samples=12.0,
        observed_at=datetime(2026, 11, 21, 5, tzinfo=timezone(timedelta(hours=2))),
    )
    timeline.record(incident, kind="check", actor=ENGINE, text=str(HARD["text"]), data=HARD, evidence=[row])
    big = evidence.store(incident=incident, kind="check", summary="Big.", result={"rows": ["x" * 100] * 2000})
    timeline.record(incident, kind="check", actor=ENGINE, text="Big.", evidence=[big])
    assert big.blob_sha256
    assert whole(incident) == []


def test_it_stays_whole_when_rows_that_were_read_long_ago_take_turns(team: Team) -> None:
    incident = make_incident(team)
    others = [Incident.objects.get(pk=incident.pk) for _ in range(2)]
    for number, row in enumerate([incident, *others, incident, *reversed(others)]):
        kept = evidence.store(incident=row, kind="check", summary=f"Seen {number}.")
        entry = timeline.record(row, kind="check", actor=ENGINE, text=f"Told {number}.", evidence=[kept])
        assert kept.number == row.last_evidence == number + 1
        assert (row.last_seq, row.last_hash, row.version) == Incident.objects.values_list(
            "last_seq", "last_hash", "version"
        ).get(pk=incident.pk)
        assert entry.hash == row.last_hash
    assert whole(incident) == []


def test_it_stays_whole_with_a_moment_in_another_zone(team: Team, moved_clock: Clock) -> None:
    incident = make_incident(team)
    earlier = (moved_clock() - timedelta(hours=1)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    lifecycle.add_note(incident, text="Seen in the logs.", actor=make_actor(team), at=earlier)
    assert whole(incident) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE incidents_timelineentry SET text = 'Nothing happened.' WHERE seq = 2", "entry 2 was changed"),
        ("UPDATE incidents_timelineentry SET actor = 'somebody' WHERE seq = 3", "entry 3 was changed"),
        ("DELETE FROM incidents_timelineentry WHERE seq = 4", "entry 4 is missing"),
        ("DELETE FROM incidents_timelineentry WHERE seq > 8", "the end was cut off"),
        ("UPDATE incidents_evidence SET query = 'up == 1' WHERE number = 1", "evidence E1 was changed"),
        ("UPDATE incidents_evidence SET verdict = 'pass' WHERE number = 1", "evidence E1 was changed"),
        ("DELETE FROM incidents_evidence WHERE number = 2", "evidence E2 is missing"),
    ],
)
def test_it_finds_what_was_changed(story: Story, change: str, said: str) -> None:
    with behind_our_back():
        execute(change)
    out = StringIO()
    with pytest.raises(CommandError, match="broken links") as caught:
        call_command("timeline", "verify", "--incident", str(story.incident.number), stdout=out)
    assert caught.value.returncode == 1
    assert f"{story.incident.key}: {said}" in out.getvalue()


def test_it_finds_evidence_that_was_rewritten_with_its_hash(story: Story) -> None:
    with behind_our_back():
        row = Evidence.objects.get(pk=story.effect.pk)
        row.summary = "Accuracy stayed at 0.91."
        row.sha256 = evidence.digest(row, evidence.canonical(row.result))
        row.save()
    assert evidence.is_whole(row)
    cites = TimelineEntry.objects.get(incident=story.incident, kind="check", evidence=[row.number])
    assert whole(story.incident) == [f"{story.incident.key}: entry {cites.seq} was changed"]


def test_the_kept_heads_find_a_chain_that_was_rewritten(story: Story, moved_clock: Clock, tmp_path: Path) -> None:
    kept = heads.keep(tmp_path, moved_clock())
    lifecycle.add_note(story.incident, text="Later.", actor=ENGINE)
    call_command("timeline", "verify", "--heads", str(tmp_path), stdout=StringIO())
    rewrite(story.incident, at=2, text="Nothing happened.")
    assert whole(story.incident) == []
    with pytest.raises(CommandError, match="1 broken links"):
        call_command("timeline", "verify", "--heads", str(kept), stdout=(out := StringIO()))
    assert f"is not the one that {kept.name} has on record" in out.getvalue()


def rewrite(incident: Incident, *, at: int, text: str) -> None:
    """Change an entry and make every later hash fit again."""
    shas = {row.number or 0: row.sha256 for row in Evidence.objects.filter(incident_id=incident.pk)}
    with behind_our_back():
        before = ""
        for entry in TimelineEntry.objects.filter(incident=incident).order_by("seq"):
            entry.text = text if entry.seq == at else entry.text
            entry.previous_hash = before
            entry.hash = before = timeline.digest(entry, shas)
            entry.save()
        Incident.objects.filter(pk=incident.pk).update(last_hash=before)


def test_it_says_which_file_holds_no_heads(story: Story, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(CommandError, match=r"x\.json holds no heads") as caught:
        call_command("timeline", "verify", "--heads", str(tmp_path / "x.json"), stdout=StringIO())
    assert caught.value.returncode == 2


def test_the_hash_is_in_the_log_though_the_file_cannot_be_written(
    story: Story, moved_clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level("INFO", logger="incidents.heads"):
        heads.keep(tmp_path / "file/heads", moved_clock())
    first, second = caplog.records
    assert heads.current(moved_clock())["sha256"] in first.getMessage()
    assert (second.levelname, "cannot be written" in second.getMessage()) == ("ERROR", True)


def test_heads_reach_back_a_week(story: Story, moved_clock: Clock, tmp_path: Path) -> None:
    last = TimelineEntry.objects.filter(incident=story.incident).last()
    assert last is not None
    told = json.loads(heads.keep(tmp_path, moved_clock.forward(days=6)).read_text())
    assert told["heads"] == {story.incident.key: [last.seq, last.hash]}
    assert heads.current(moved_clock.forward(days=2))["heads"] == {}


def test_it_keeps_secrets_out(team: Team) -> None:
    incident = make_incident(team)
    secret = "sk-abcdefghijklmnopqrstuvwx"
    row = evidence.store(
        incident=incident,
        kind="check",
        summary=f"key {secret}",
        query=f"http://a.test/?api_key={secret}",
        source=f"http://user:{secret}@a.test",
        result={"rows": [{"header": f"Bearer {secret}"}]},
    )
    entry = timeline.record(
        incident, kind="note", actor=ENGINE, text=f"Use {secret}", data={"reason": f"password={secret}"}, evidence=[row]
    )
    stored = json.dumps([entry.text, entry.data, row.summary, row.query, row.source, row.result])
    assert secret not in stored
    assert stored.count("[secret]") == 6


def test_a_note_may_hold_anything(team: Team, client: Client) -> None:
    incident = make_incident(team)
    entry = lifecycle.add_note(incident, text="a\x00b \ud800", actor=make_actor(team))
    assert TimelineEntry.objects.get(pk=entry.pk).text == "a\ufffdb ?"
    assert entry.recorded_at.tzinfo == UTC
