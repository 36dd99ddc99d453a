"""However many runs wait, and however many have ended, a tick reads only what is due: its queries have indexes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection

from catalog.models import Team
from incidents.models import Delivery, Message
from runbooks import health, rounds, runs, ticker
from runbooks.models import ApprovalRequest, Run, StepRun
from tests.factories import make_actor
from tests.factories_runbooks import make_runbook, pump, start
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
# What grows for ever. The other tables hold what is at work now (locks, workers), or few rows (evaluations, of which
# each takes minutes).
GROWING = (
    "runbooks_steprun", "runbooks_run", "runbooks_attempt", "runbooks_approvalrequest",
    "incidents_delivery", "incidents_message",
)  # fmt: skip
PARTIAL = {
    index.name
    for model in (StepRun, Run, ApprovalRequest, Delivery, Message)
    for index in [*model._meta.indexes, *model._meta.constraints]
    if getattr(index, "condition", None) is not None
}
Query = tuple[str, Any]


class Asked:
    """Every statement that goes to the database while this is its wrapper."""

    def __init__(self) -> None:
        self.queries: list[Query] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        """Note it and let it go."""
        if sql.startswith(("SELECT", "UPDATE", "DELETE")):
            self.queries.append((sql, params))
        return execute(sql, params, many, context)


def scans(query: Query) -> list[str]:
    """The growing tables that a query reads from one end to the other."""
    plan = plan_of(query)
    if connection.vendor == "postgresql":
        return re.findall(r"Seq Scan on (\w+)", plan)
    names = {alias: table for table, alias in re.findall(r'"(\w+)" ([A-Z]\d)\b', query[0])}
    lines = re.findall(r"^SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?$", plan, re.MULTILINE)
    # To read a partial index from one end to the other is to read what is at work, not what has ended.
    return [names.get(name, name) for name, index in lines if index not in PARTIAL]


def plan_of(query: Query) -> str:
    """How the database would answer it, line by line."""
    sql, params = query
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Of an empty table the planner would read all; without that choice it does so only where no index fits.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {sql}", params)
            return "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        return "\n".join(row[3] for row in cursor.fetchall())


def read_whole(asked: Asked) -> list[str]:
    """The queries that read a growing table from one end to the other."""
    return [f"{table}: {query[0]}" for query in asked.queries for table in scans(query) if table in GROWING]


def test_every_query_of_a_tick_has_an_index(team: Team, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        start(make_runbook(team, "  check:\n    - {id: a, wait: 1h}\n"), make_actor(team), team)
    monkeypatch.setattr(ticker, "_done_at", {})
    monkeypatch.setattr(ticker, "audited", rounds.Round())
    monkeypatch.setattr(rounds, "WINDOW", 1)
    asked = Asked()
    with connection.execute_wrapper(asked):
        ticker.tick("w")
        assert ticker.audited.is_under_way
        ticker.tick("w")
        ticker.run_pending("w", ("engine", "checks", "actions"), older_than=5)
        ticker.run_evaluations(("checks",), older_than=5)
    assert len(asked.queries) > 15
    assert "\n".join(read_whole(asked)) == ""


def test_an_idle_tick_asks_next_to_nothing(team: Team, world: World, moved_clock: Any) -> None:
    ended = start(make_runbook(team, "  check:\n    - {id: a, wait: 1h}\n"), make_actor(team), team)
    runs.cancel(ended, actor=make_actor(team), reason="enough")
    pump()
    ticker.tick("w")
    asked = Asked()
    moved_clock.forward(seconds=1)
    with connection.execute_wrapper(asked):
        ticker.tick("w")
        ticker.run_pending("w", ("engine", "checks", "actions"), older_than=5)
    # The sign of life, what is due, the oldest delivery; what nobody has taken. PostgreSQL tells the time, too.
    assert len([sql for sql, _ in asked.queries if "FROM" in sql or "UPDATE" in sql]) == 4, asked.queries


def test_who_waits_behind_a_key_is_asked_of_the_queue_alone(team: Team) -> None:
    asked = Asked()
    with connection.execute_wrapper(asked):
        in_line = Run.objects.filter(runbook=1, concurrency_key="a", state="queued").order_by("pk")
        list(in_line.values_list("pk", flat=True)[:1])
    assert read_whole(asked) == []
    # Of a table as empty as this one PostgreSQL may take any index.
    assert connection.vendor == "postgresql" or "runs_queued_by_key" in plan_of(asked.queries[0])


def test_looking_at_its_health_has_an_index(team: Team, moved_clock: Any) -> None:
    asked = Asked()
    with connection.execute_wrapper(asked):
        health.look(moved_clock.time)
    assert "\n".join(read_whole(asked)) == ""
