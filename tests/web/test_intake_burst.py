"""A burst on few hot alerts, through a real server, worked off by competing workers (promises P1 to P3, F27)."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from django.db import connections

from config.asgi import application
from incidents import endpoints, intake, timeline
from incidents.models import Alert, Delivery, Incident
from runbooks import trigger
from runbooks.models import Run, TriggerEvent
from tests.factories import make_team
from tests.factories_runbooks import make_runbook
from tests.servers import free_port

SENDERS, MESSAGES, ALERTS, KEYS, RULES, WORKERS = 16, 100, 10, 20, 4, 4
HEAD = """\
triggers:
  - alert: alert.status == 'firing'
inputs:
  rule: {type: string, from: alert.labels.alertname}
concurrency: {key: "{{ inputs.rule }}", when_busy: join}
"""


@contextmanager
def served() -> Iterator[int]:
    """The application as `up` serves it; gives the port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application, port=port, lifespan="off", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def together(*works: Callable[[], None]) -> list[BaseException]:
    """Do all at once, each in a thread of its own; gives what went wrong."""
    faults: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:  # noqa: BLE001  the test shows it
            faults.append(fault)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


def body(message: int) -> bytes:
    """Ten alerts of the twenty, others in another order each time."""
    keys = [(message * 7 + step * 3) % KEYS for step in range(ALERTS)]
    listed: list[dict[str, Any]] = [
        {
            "status": "firing",
            "labels": {"alertname": f"Rule{key % RULES}", "n": str(key)},
            "annotations": {"description": f"message {message}"},
            "fingerprint": f"hot-{key}",
            "startsAt": "2026-11-20T09:00:00Z",
        }
        for key in keys
    ]
    return json.dumps({"version": "4", "alerts": listed}).encode()


@pytest.mark.django_db(transaction=True)
def test_a_burst_on_hot_keys_loses_nothing_and_opens_one_incident_per_rule() -> None:
    team = make_team("storm")
    make_runbook(team, "  check:\n    - {id: look, manual: Look}\n", head=HEAD)
    endpoint, token = endpoints.create(source="alertmanager", name="storm", team=team)
    path, answers, messages = endpoints.path(endpoint, token), Counter[int](), iter(range(MESSAGES))

    def send() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for message in messages:
            link.request("POST", path, body(message), {"Content-Type": "application/json"})
            answer = link.getresponse()
            answer.read()
            answers[answer.status] += 1
        link.close()

    def receive() -> None:
        # All of them take the oldest first, so they compete for each.
        while Delivery.objects.filter(status="processed").count() < MESSAGES and time.monotonic() < end:
            for delivery_id in intake.due(10):
                trigger.receive(delivery_id)

    end = time.monotonic() + 120
    with served() as port:
        faults = together(*[send] * SENDERS, *[receive] * WORKERS)
    assert faults == []
    assert answers == {202: MESSAGES}
    assert Delivery.objects.filter(status="processed", attempts=1).count() == MESSAGES
    assert sum(Alert.objects.values_list("seen_count", flat=True)) == MESSAGES * ALERTS
    assert Alert.objects.exclude(incident=None).count() == KEYS
    incidents = list(Incident.objects.order_by("number"))
    assert sorted(row.group_key for row in incidents) == [f"endpoint:{endpoint.pk}:Rule{n}" for n in range(RULES)]
    assert [row.number for row in incidents] == list(range(1, RULES + 1))
    assert [fault for row in incidents for fault in timeline.broken_links(row)] == []
    assert sorted(Run.objects.values_list("incident", flat=True)) == [row.pk for row in incidents]
    assert TriggerEvent.objects.count() == KEYS
