"""The doors for alerts: what is stored, what is refused, and in which words (promises I1, I2, I5, I7, I8, I9)."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from catalog.actors import ENGINE
from catalog.models import Team
from common.secrets import decrypt
from incidents import endpoints, intake
from incidents.models import Delivery, Endpoint
from runbooks import trigger
from tests.factories import make_team
from tests.factories_web import problem

BODY: dict[str, Any] = {
    "version": "4",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "AccuracyLow", "service": "rag"},
            "annotations": {},
            "startsAt": "2026-11-21T01:00:00Z",
            "fingerprint": "abc",
        }
    ],
}


class Sender:
    """One sender and its endpoint."""

    def __init__(self, team: Team, source: str = "alertmanager") -> None:
        self.endpoint, self.token = endpoints.create(source=source, name=f"{source} test", team=team)
        self.path = endpoints.path(self.endpoint, self.token)
        self.client = Client(raise_request_exception=False)

    def post(self, body: object = None, path: str = "", **extra: Any) -> HttpResponse:
        """Send a body."""
        raw = body if isinstance(body, bytes | str) else json.dumps(BODY if body is None else body)
        kind = extra.pop("content_type", "application/json")
        return self.client.post(path or self.path, raw, content_type=kind, **extra)  # type: ignore[return-value]


@pytest.fixture
def sender(team: Team) -> Sender:
    """An Alertmanager."""
    return Sender(team)


def test_it_stores_what_came_and_says_so(sender: Sender) -> None:
    answer = sender.post()
    assert answer.status_code == 202
    told = json.loads(answer.content)
    delivery = Delivery.objects.get(uuid=told["delivery"])
    assert set(told) == {"delivery"}
    assert json.loads(decrypt(delivery.body_encrypted)) == BODY
    assert delivery.status == "received"


def test_an_acknowledgement_costs_two_questions_and_one_row(sender: Sender) -> None:
    sender.post()
    other = {**BODY, "groupKey": "another"}
    with CaptureQueriesContext(connection) as asked:
        assert sender.post(other).status_code == 202
    # Beside them the transaction, on PostgreSQL the lock on the body and the time.
    words = [query["sql"].split()[0] for query in asked.captured_queries if "incidents_" in query["sql"]]
    assert words == ["SELECT", "SELECT", "INSERT"]


def test_the_same_again_is_one_delivery(sender: Sender) -> None:
    first, again = (json.loads(sender.post().content) for _ in range(2))
    assert again == {"delivery": first["delivery"], "duplicate": True}
    assert Delivery.objects.count() == 1


@pytest.mark.parametrize("path", ["/hooks/alertmanager", "/hooks/alertmanager/wrong", "/hooks/nosuch/x", "/hooks/x"])
def test_a_stranger_is_refused_and_nothing_is_stored(sender: Sender, path: str) -> None:
    told = problem(sender.post(path=path))
    assert told["status"] == 401
    assert told["detail"] == "This address takes no alerts."
    assert not Delivery.objects.exists()


def test_every_wrong_token_gets_the_same_answer(sender: Sender, team: Team) -> None:
    off = Sender(make_team())
    endpoints.disable(off.endpoint, actor=ENGINE)
    other_source = endpoints.create(source="grafana", name="g", team=team)[1]
    answers = [
        sender.post(path=f"/hooks/alertmanager/{token}") for token in ("nonsense", off.token, other_source, "x" * 500)
    ]
    told = [{k: v for k, v in problem(a).items() if k != "request_id"} for a in answers]
    assert all(one == told[0] for one in told)
    off.endpoint.refresh_from_db()
    assert off.endpoint.refused_count == 1


@pytest.mark.parametrize("word", ["token", "key", "routing_key", "TOKEN"])
def test_a_token_in_the_query_is_refused_with_a_hint(sender: Sender, word: str) -> None:
    told = problem(sender.post(path=f"/hooks/alertmanager?{word}={sender.token}"))
    assert told["status"] == 401
    assert "path" in told["fix"]
    assert sender.token not in json.dumps(told)
    assert problem(sender.post(path=f"{sender.path}?{word}=x"))["status"] == 401
    assert not Delivery.objects.exists()


def strangers(client: Client) -> float:
    """How many this process has turned away for want of a known token."""
    told = client.get("/metrics").content.decode()
    return float(told.partition(f'backstop_deliveries_unknown_total{{process="{os.getpid()}"}} ')[2].split()[0])


def test_strangers_are_counted_for_prometheus(sender: Sender) -> None:
    before = strangers(sender.client)
    for path in ("/hooks/x", "/hooks/x/y", "/hooks/grafana/wrong", f"/hooks/alertmanager?token={sender.token}"):
        assert sender.post(path=path).status_code == 401
    assert sender.post({"routing_key": "wrong"}, path="/v2/enqueue").status_code == 400
    assert sender.post().status_code == 202
    assert strangers(sender.client) - before == 5


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "head"])
def test_only_post_is_taken(sender: Sender, method: str) -> None:
    answer = getattr(sender.client, method)(sender.path)
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"


def test_too_much_is_refused_and_counted(sender: Sender) -> None:
    told = problem(sender.post(b"x" * (5 * 1024 * 1024 + 1)))
    assert told["status"] == 413
    assert not Delivery.objects.exists()
    assert Endpoint.objects.get(pk=sender.endpoint.pk).refused_count == 1


def test_compressed_bodies_are_refused_and_counted(sender: Sender) -> None:
    assert problem(sender.post(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}))["status"] == 415
    assert Endpoint.objects.get(pk=sender.endpoint.pk).refused_count == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"alerts": [',
        b'"hi"',
        b"[]",
        b"null",
        b"a=1&b=2",
        '{"status":"firing"}'.encode("utf-16"),
        b"\xff\xfe\x00",
        b'{"alerts": NaN}',
        b'{"alerts": 1e999}',
        b'{"alerts": "\\u0000\\ud800"}',
        b'{"n": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"status":"firing","status":"resolved"}',
        "alle meine Entchen 🦆".encode(),
    ],
)
def test_whatever_an_authenticated_sender_posts_is_stored(sender: Sender, body: bytes) -> None:
    answer = sender.post(body)
    assert answer.status_code == 202
    delivery = Delivery.objects.get(uuid=json.loads(answer.content)["delivery"])
    assert decrypt(delivery.body_encrypted) == body


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/evil; x=\xff"]
)
def test_the_content_type_does_not_matter(sender: Sender, kind: str) -> None:
    assert sender.post(b"{}", content_type=kind).status_code == 202


def test_its_answer_says_nothing_it_need_not(sender: Sender) -> None:
    answer = sender.post()
    assert not answer.cookies
    assert "Server" not in answer


# --- the PagerDuty door ----------------------------------------------------------------------------------------------
@pytest.fixture
def pager(team: Team) -> Sender:
    """Something that believes we are PagerDuty."""
    return Sender(team, "pagerduty-events")


def event(pager: Sender, **changes: Any) -> dict[str, Any]:
    """A trigger event."""
    payload = {"summary": "Drift", "source": "monitor", "severity": "error"}
    made = {"routing_key": pager.token, "event_action": "trigger", "dedup_key": "drift/rag", "payload": payload}
    return {k: v for k, v in (made | changes).items() if v is not None}


def test_it_answers_as_pagerduty_does(pager: Sender) -> None:
    answer = pager.post(event(pager))
    assert answer.status_code == 202
    told = json.loads(answer.content)
    assert told == {"status": "success", "message": "Event processed", "dedup_key": "drift/rag"}
    assert Delivery.objects.get().endpoint == pager.endpoint


def test_it_makes_a_key_where_the_sender_gave_none(pager: Sender) -> None:
    first = json.loads(pager.post(event(pager, dedup_key=None)).content)["dedup_key"]
    again = json.loads(pager.post(event(pager, dedup_key=None)).content)["dedup_key"]
    assert first
    assert again == first, "the same bytes are a retry"


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": None},
        {"payload": {"source": "m", "severity": "error"}},
        {"event_action": "explode"},
        {"event_action": "resolve", "dedup_key": None},
        {"dedup_key": 7},
        {"dedup_key": "x" * 300},
    ],
)
def test_it_refuses_what_pagerduty_refuses_and_shows_it(pager: Sender, changes: dict[str, Any]) -> None:
    answer = pager.post(event(pager, **changes))
    told = json.loads(answer.content)
    assert (answer.status_code, told["status"]) == (400, "invalid event")
    assert told["message"] == "Event object is invalid"
    delivery = Delivery.objects.get()
    trigger.receive(delivery.pk)
    delivery.refresh_from_db()
    assert delivery.status == "rejected"
    assert all(fault in delivery.reason for fault in told["errors"])
    assert pager.token not in intake.redacted(delivery)


@pytest.mark.parametrize("key", [None, "", "unknown", ["a"], {"a": 1}, 7, "\ud800", "\x00", "x" * 100_000])
def test_an_unknown_routing_key_is_refused_and_nothing_is_stored(pager: Sender, key: object) -> None:
    answer = pager.post(event(pager) | {"routing_key": key})
    assert answer.status_code == 400
    assert "'routing_key'" in json.loads(answer.content)["errors"][0]
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff"])
def test_it_refuses_what_is_no_event(pager: Sender, body: bytes) -> None:
    assert pager.post(body).status_code == 400


def test_another_source_s_token_is_no_routing_key(pager: Sender, sender: Sender) -> None:
    assert pager.post(event(pager, routing_key=sender.token)).status_code == 400
