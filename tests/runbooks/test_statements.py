"""What one step costs in statements: each is a turn of the one writer of SQLite, and a way to PostgreSQL and back."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Team
from incidents.models import Incident
from tests.factories import make_actor
from tests.factories_runbooks import carry_out, claim, make_runbook, start, states
from tests.fakes.world import World

pytestmark = pytest.mark.django_db
STEPS = """\
  check:
    - {id: a, check: world.ask, pass_if: value > 0}
    - {id: b, check: world.ask, pass_if: value > 0 and steps.a.value > 0}
    - {id: c, check: world.ask, pass_if: value > 0 and steps.b.value > 0}
"""


# On SQLite, and on PostgreSQL, which writes in one statement what belongs together and is asked for the time.
@pytest.mark.parametrize(("told", "most"), [(False, (16, 9)), (True, (20, 11))])
def test_a_step_from_its_claim_to_the_next_costs_few_statements(
    team: Team, world: World, incident: Incident, told: bool, most: tuple[int, int]
) -> None:
    run = start(make_runbook(team, STEPS), make_actor(team), team, incident if told else None)
    claimed = carry_out(claim(run, "a"))
    with CaptureQueriesContext(connection) as seen:
        claimed = carry_out(claimed)
    assert states(run) == {"a": "pass", "b": "pass", "c": "leased"}
    assert claimed is not None
    assert claimed[1].step == "c"
    assert len(seen) <= most[connection.vendor == "postgresql"], [query["sql"][:100] for query in seen.captured_queries]


def test_the_end_of_a_run_that_holds_no_key_asks_for_none_behind_it(team: Team, world: World) -> None:
    run = start(make_runbook(team, STEPS.partition("    - {id: b")[0]), make_actor(team), team)
    with CaptureQueriesContext(connection) as seen:
        carry_out(claim(run, "a"))
    run.refresh_from_db()
    assert (run.state, run.concurrency_key) == ("finished", "")
    behind = [query["sql"] for query in seen if query["sql"].startswith("SELECT") and "'queued'" in query["sql"]]
    assert behind == []
    assert len(seen) <= (22 if connection.vendor == "postgresql" else 28)
