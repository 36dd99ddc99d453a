"""Deliveries that wait beside each other are received together, and none of them can harm another."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog.models import Team
from common import background
from incidents import intake
from incidents.models import Alert, Delivery, Endpoint, Incident
from incidents.sources.generic import Generic
from runbooks import tasks, trigger
from runbooks.models import Run
from tests.factories import make_service
from tests.factories_intake import make_endpoint, take
from tests.factories_runbooks import make_runbook
from tests.runbooks.test_trigger import FIRING, HEAD, STEPS


@pytest.fixture
def endpoint(team: Team) -> Endpoint:
    """Where native alerts come in."""
    return make_endpoint(team, "generic", service=make_service(team, "rag-chat"))


def told(endpoint: Endpoint, **changes: Any) -> Delivery:
    """A delivery that nobody has read yet."""
    return take(endpoint, FIRING | changes)[0]


def test_one_hint_is_enough_for_all_that_waits(endpoint: Endpoint) -> None:
    waiting = [told(endpoint, dedup_key=f"a{number}") for number in range(5)]
    trigger.receive(waiting[3].pk)
    assert set(Delivery.objects.values_list("status", "attempts")) == {("processed", 1)}
    assert Incident.objects.get().alerts.count() == 5
    assert [row.alerts[0]["dedup_key"] for row in Delivery.objects.order_by("pk")] == [f"a{n}" for n in range(5)]


def test_ten_deliveries_cost_hardly_more_queries_than_one(endpoint: Endpoint) -> None:
    costs = []
    for count in (1, 10):
        waiting = [told(endpoint, dedup_key=f"{count}-{number}") for number in range(count)]
        with CaptureQueriesContext(
            connection,
        ) as queries:
            trigger.receive(waiting[0].pk)
        costs.append(len(queries))
    # Each is marked as processed by itself; nothing else is done per delivery.
    assert costs[1] <= costs[0] + 9


def test_a_repeat_that_waits_beside_the_first_is_counted(endpoint: Endpoint) -> None:
    first = told(endpoint)
    told(endpoint, description="again")
    trigger.receive(first.pk)
    assert Alert.objects.get().seen_count == 2
    assert Incident.objects.get().timeline.filter(text__startswith="Alert firing").count() == 1


def test_a_firing_and_its_end_are_two_pieces_of_news(team: Team, endpoint: Endpoint) -> None:
    make_runbook(team, STEPS, slug="accuracy", head=HEAD)
    first = told(endpoint)
    told(endpoint, status="resolved")
    trigger.receive(first.pk)
    assert Run.objects.count() == 1, "the firing started it, although the end waited beside it"
    assert Alert.objects.get().status == "resolved"
    assert Incident.objects.get().timeline.filter(text__startswith="The alert has stopped").exists()


def test_one_that_cannot_be_read_is_rejected_alone(endpoint: Endpoint) -> None:
    first, broken, last = told(endpoint), take(endpoint, "{")[0], told(endpoint, dedup_key="z")
    trigger.receive(first.pk)
    states = dict(Delivery.objects.values_list("pk", "status"))
    assert states == {first.pk: "processed", broken.pk: "rejected", last.pk: "processed"}


def test_one_that_fails_is_tried_again_alone(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    first, poison = told(endpoint), told(endpoint, dedup_key="poison")
    known = Generic.read

    def read(self: Generic, payload: Any, *rest: Any) -> Any:
        if payload["dedup_key"] == "poison":
            raise ZeroDivisionError
        return known(self, payload, *rest)

    monkeypatch.setattr(Generic, "read", read)
    trigger.receive(first.pk)
    assert dict(Delivery.objects.values_list("pk", "status")) == {first.pk: "processed", poison.pk: "received"}
    assert intake.claim_waiting() == [], "it is no longer taken along with others"


def test_more_than_fits_is_left_for_the_next_hint(endpoint: Endpoint) -> None:
    waiting = [told(endpoint, dedup_key=f"a{number}") for number in range(intake.TOGETHER + 3)]
    trigger.receive(waiting[0].pk)
    assert Delivery.objects.filter(status="received").count() == 3


def test_hints_of_a_task_that_gathers_stand_for_each_other() -> None:
    receive, advance = tasks.receive.name, tasks.advance.name
    hints: list[background.Hint] = [(receive, (1,), "engine"), (advance, (7,), "engine"), (receive, (2,), "engine")]
    last: background.Hint = (advance, (8,), "engine")
    assert background.few([*hints, last]) == [*hints[:2], last]
