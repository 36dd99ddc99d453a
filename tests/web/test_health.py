"""Health and metrics."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client

from catalog.actors import ENGINE
from catalog.models import Team
from common import clock
from incidents.models import Delivery, Message
from runbooks.models import Worker
from tests.conftest import Clock
from tests.factories import make_incident, make_user
from tests.factories_intake import make_endpoint, take
from tests.factories_runbooks import make_runbook, start
from tests.factories_web import Program


def ticked(seconds_ago: float = 0) -> None:
    """A worker that ticked then."""
    at = clock.now() - timedelta(seconds=seconds_ago)
    Worker.objects.update_or_create(name="w", defaults={"started_at": at, "ticked_at": at, "queues": ["engine"]})


def test_it_is_alive_without_a_database(client: Client) -> None:
    assert client.get("/healthz").content == b"ok\n"


def test_it_is_ready_when_the_database_answers(db: None, client: Client) -> None:
    assert client.get("/readyz").status_code == 200
    assert not Worker.objects.exists()


def test_it_is_not_ready_without_its_tables(db: None, client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO gone")
    assert client.get("/readyz").status_code == 503


def test_the_engine_is_degraded_when_nobody_ticks(team: Team, client: Client, moved_clock: Clock) -> None:
    assert client.get("/healthz/engine").status_code == 503
    ticked()
    assert client.get("/healthz/engine").json()["status"] == "ok"
    moved_clock.forward(seconds=61)
    assert client.get("/healthz/engine").json()["faults"] == ["no worker ticks"]


def test_the_engine_is_degraded_when_deliveries_wait(team: Team, client: Client, moved_clock: Clock) -> None:
    take(make_endpoint(team), {})
    moved_clock.forward(seconds=61)
    ticked()
    told = client.get("/healthz/engine").json()
    assert told["faults"] == ["deliveries wait over a minute"]
    assert told["deliveries_waiting"] == 1


def test_the_engine_is_degraded_when_timers_are_late(team: Team, client: Client, moved_clock: Clock) -> None:
    steps = "  check:\n    - {id: settle, wait: 1m}\n    - {id: look, manual: Look, timeout: 4h}\n"
    start(make_runbook(team, steps), ENGINE, team)
    moved_clock.forward(seconds=110)
    ticked()
    assert client.get("/healthz/engine").json()["faults"] == []
    moved_clock.forward(seconds=20)
    ticked()
    told = client.get("/healthz/engine").json()
    assert (told["faults"], told["timer_late_seconds"]) == (["timers are late over a minute"], 70)


def test_the_engine_is_degraded_when_nothing_will_move_a_run(team: Team, client: Client) -> None:
    run = start(make_runbook(team, "  check:\n    - {id: look, manual: Look}\n"), ENGINE, team)
    run.steps.update(state="pending")
    ticked()
    assert client.get("/healthz/engine").json()["faults"] == ["a run is wedged: nothing will move it"]


def test_a_message_that_is_tried_again_later_is_no_fault(team: Team, client: Client, moved_clock: Clock) -> None:
    now = clock.now()
    message = Message.objects.create(
        team=team, key="k", kind="opened", recipient="sam", subject="s", body="", created_at=now,
        due_at=now + timedelta(minutes=30),
    )  # fmt: skip
    moved_clock.forward(minutes=20)
    ticked()
    assert client.get("/healthz/engine").json()["faults"] == []
    Message.objects.filter(pk=message.pk).update(due_at=now)
    assert client.get("/healthz/engine").json()["faults"] == ["messages wait over a minute"]


def test_strangers_learn_no_numbers(team: Team) -> None:
    told = Client(REMOTE_ADDR="203.0.113.5").get("/healthz/engine").json()
    assert set(told) == {"status", "faults"}


def values(text: str) -> dict[str, float]:
    """Samples by name and labels."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_metrics_tell_what_the_rows_say(team: Team, client: Client, moved_clock: Clock) -> None:
    make_incident(team, severity=1)
    make_incident(team, severity=1, state="resolved")
    take(make_endpoint(team), {})
    ticked()
    moved_clock.forward(seconds=12)
    told = values(client.get("/metrics").content.decode())
    assert told["backstop_workers"] == 1
    assert told["backstop_tick_age_seconds"] == 12
    assert told["backstop_oldest_ready_seconds"] == 0
    assert told["backstop_messages_undelivered"] == 0
    assert told["backstop_deliveries_waiting"] == 1
    assert told['backstop_incidents_open{severity="1"}'] == 1
    assert told['backstop_incidents_open{severity="4"}'] == 0
    assert told['backstop_runs_open{state="active"}'] == 0
    Worker.objects.all().delete()
    Delivery.objects.all().delete()
    told = values(client.get("/metrics").content.decode())
    assert told["backstop_tick_age_seconds"] == float("inf")


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("203.0.113.5", {}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"Authorization": "Bearer nonsense"}),
        ("", {}),
    ],
)
def test_metrics_are_not_for_strangers(db: None, address: str, headers: dict[str, str]) -> None:
    assert Client(REMOTE_ADDR=address).get("/metrics", headers=headers).status_code == 403


def test_metrics_are_for_a_token_that_may_read(team: Team) -> None:
    for scope, status in (("read", 200), ("runs:write", 403)):
        program = Program(make_user(team=team), [scope])
        program.client.defaults["REMOTE_ADDR"] = "203.0.113.5"
        assert program.get("/metrics").status_code == status
