"""Taking deliveries in: durable, once, and whatever the bytes are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.models import Team
from common import clock
from common.errors import Conflict, NotFound
from incidents import alerts, bodies, endpoints, intake
from incidents.models import Alert, Delivery, Incident
from incidents.sources import SOURCES
from incidents.sources.base import NotOfThisSource, Reading
from tests.conftest import Clock
from tests.factories import make_actor
from tests.factories_intake import make_endpoint, take, work_off

NATIVE = {"title": "Null rate high", "dedup_key": "n1", "severity": "high"}


def test_it_stores_the_bytes_encrypted_and_the_headers_redacted(team: Team) -> None:
    endpoint = make_endpoint(team, "generic")
    delivery, duplicate = take(
        endpoint, '{"title": "t", "token": "very-secret-value"}', {"Authorization": "Bearer abcdefgh1234", "X-Id": "7"}
    )
    row = Delivery.objects.get()
    assert not duplicate
    assert row.status == "received"
    assert row.headers == {"authorization": "[secret]", "x-id": "7"}
    assert b"very-secret" not in bytes(row.body_encrypted)
    assert "very-secret" not in intake.redacted(row)
    assert b"very-secret-value" in intake.raw(row, actor=make_actor(team, ["admin"]))
    assert delivery.uuid == row.uuid


def test_it_takes_the_same_body_within_ten_minutes_for_a_retry(team: Team, moved_clock: Clock) -> None:
    endpoint = make_endpoint(team, "generic")
    first, _ = take(endpoint, NATIVE)
    moved_clock.forward(minutes=9)
    again, duplicate = take(endpoint, NATIVE)
    assert (again.pk, duplicate) == (first.pk, True)
    moved_clock.forward(minutes=2)
    assert take(endpoint, NATIVE)[1] is False
    assert Delivery.objects.count() == 2


def test_it_keeps_bodies_of_two_endpoints_apart(team: Team) -> None:
    take(make_endpoint(team, "generic"), NATIVE)
    assert take(make_endpoint(team, "generic"), NATIVE)[1] is False


def test_it_takes_the_same_bytes_for_news_when_the_alert_has_resolved_since(team: Team) -> None:
    endpoint = make_endpoint(team, "generic")
    for body in (NATIVE, NATIVE | {"status": "resolved"}, NATIVE):
        delivery, duplicate = take(endpoint, body)
        assert not duplicate
        work_off(delivery)
    alert = Alert.objects.get()
    assert (alert.status, alert.episode) == ("firing", 2)
    assert take(endpoint, NATIVE)[1] is True


def test_it_knows_a_delivery_by_its_senders_id(team: Team) -> None:
    endpoint = make_endpoint(team, "github")
    first, _ = take(endpoint, {"a": 1}, {"X-GitHub-Delivery": "d-1"})
    again, duplicate = take(endpoint, {"a": 2}, {"x-github-delivery": "d-1"})
    assert (again.pk, duplicate) == (first.pk, True)
    assert take(endpoint, {"a": 1}, {"X-GitHub-Delivery": "d-2"})[1] is False


def test_it_replays_a_rejected_delivery_as_a_new_one(team: Team) -> None:
    endpoint = make_endpoint(team, "generic")
    delivery, _ = take(endpoint, NATIVE)
    actor = make_actor(team, ["admin"])
    with pytest.raises(Conflict):
        intake.replay(delivery, actor=actor)
    intake.reject(delivery, "internal")
    copy = intake.replay(delivery, actor=actor)
    work_off(copy)
    assert copy.replay_of == delivery.pk
    assert Alert.objects.count() == 1


def test_it_lends_a_delivery_to_one_worker_at_a_time(team: Team, moved_clock: Clock) -> None:
    delivery, _ = take(make_endpoint(team, "generic"), NATIVE)
    assert intake.due(10) == [delivery.pk]
    claimed = intake.claim(delivery.pk)
    assert claimed is not None
    assert claimed.attempts == 1
    assert intake.claim(delivery.pk) is None
    moved_clock.forward(seconds=11)
    assert intake.due(10) == [delivery.pk]
    work_off(delivery)
    assert intake.due(10) == []


def test_it_lends_a_large_delivery_for_longer(team: Team, moved_clock: Clock) -> None:
    delivery, _ = take(make_endpoint(team, "generic"), NATIVE | {"description": "d" * 3_000_000})
    intake.claim(delivery.pk)
    moved_clock.forward(seconds=60)
    assert intake.claim(delivery.pk) is None
    moved_clock.forward(seconds=11)
    assert intake.claim(delivery.pk) is not None


def test_it_gives_up_on_a_delivery_that_kills_its_workers(team: Team, moved_clock: Clock) -> None:
    delivery, _ = take(make_endpoint(team, "generic"), NATIVE)
    for _ in range(3):
        assert intake.claim(delivery.pk) is not None
        moved_clock.forward(seconds=11)
    assert intake.claim(delivery.pk) is None
    delivery.refresh_from_db()
    assert (delivery.status, delivery.reason) == ("rejected", "internal")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"title": "cut', "not JSON"),
        (b'"hi"', "not"),
        (b"[]", "not"),
        (b"null", "not"),
        (b"5", "not"),
        (b"a=1&title=x", "not JSON"),
        ('{"title": "x"}'.encode("utf-16"), "UTF-16"),
        ('{"title": "x"}'.encode("utf-16-be"), "UTF-16"),
        (b'{"title": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "deeper|not JSON"),
        (b"[" * 500 + b"]" * 500, "deeper"),
        (b'{"a":' * 100_000, "deeper|not JSON"),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("source", ["alertmanager", "grafana", "generic", "pagerduty-events", "github", "changes"])
def test_it_says_why_a_body_cannot_be_read(team: Team, source: str, body: bytes, says: str) -> None:
    delivery, _ = take(make_endpoint(team, source), body)
    with pytest.raises(NotOfThisSource) as caught:
        intake.read_delivery(delivery)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e999", None),
        ("9" * 5000, "9" * 5000),
        (str(2**63), str(2**63)),
        (str(2**63 - 1), 2**63 - 1),
        (r'"a\u0000b"', "a\ufffdb"),
        (r'"\ud800"', "\ufffd"),
        (r'"\ud83d\udea8"', "🚨"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_it_cleans_values_that_no_database_takes(fragment: str, expected: object) -> None:
    value, _ = bodies.read_json(f'{{"v": {fragment}}}'.encode())
    assert value == {"v": expected}


def test_it_keeps_the_first_of_two_equal_keys_and_says_so(team: Team) -> None:
    delivery, _ = take(make_endpoint(team, "generic"), '{"title": "t", "status": "firing", "status": "resolved"}')
    reading = intake.read_delivery(delivery)
    assert reading.alerts[0].status == "firing"
    assert any(note.startswith("Ambiguous: the key 'status'") for note in reading.notes)


def test_it_caps_labels_titles_and_texts_with_a_mark(team: Team) -> None:
    labels = {f"l{number}": "v" * 5000 for number in range(2000)} | {"__meta.x y 🚨": "1"}
    body = {"title": "t" * 5000, "description": "d" * 1_000_000, "labels": labels, "dedup_key": "k" * 3000}
    delivery, _ = take(make_endpoint(team, "generic"), body)
    _, touched = work_off(delivery)
    alert = Alert.objects.get()
    assert (len(alert.title), len(alert.labels)) == (1024, 128)
    assert len(alert.labels["l0"].encode()) <= 1024
    assert alert.labels["l0"].endswith("[cut]")
    assert alert.description.endswith("[cut]")
    assert "labels were left out" in " ".join(delivery.notes)
    assert touched[0].incident is not None


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "2026-11-22T03:00:00Z", "", 0])
def test_it_takes_the_receipt_for_a_time_that_cannot_be(team: Team, moved_clock: Clock, at: object) -> None:
    delivery, _ = take(make_endpoint(team, "generic"), NATIVE | {"starts_at": at})
    notice = intake.read_delivery(delivery).alerts[0]
    assert notice.starts_at == moved_clock()
    if str(at).startswith("2026"):
        assert notice.labels["starts_at_as_sent"] == "2026-11-22T03:00:00+00:00"


def test_it_never_ends_before_it_starts(team: Team, moved_clock: Clock) -> None:
    times = {"starts_at": "2026-11-20T10:00:00Z", "ends_at": "2026-11-20T09:00:00Z", "status": "resolved"}
    notice = intake.read_delivery(take(make_endpoint(team, "generic"), NATIVE | times)[0]).alerts[0]
    assert notice.ends_at == notice.starts_at


def test_it_reads_five_thousand_alerts_and_costs_none_for_a_bad_one(team: Team, moved_clock: Clock) -> None:
    listed: list[Any] = [
        {"status": "firing", "labels": {"alertname": "A", "n": str(n)}, "fingerprint": f"f{n}"} for n in range(1200)
    ]
    listed[7] = {"status": "sideways", "labels": {"alertname": "A"}}
    delivery, _ = take(make_endpoint(team), {"alerts": listed})
    reading, touched = work_off(delivery)
    assert len(touched) == Alert.objects.count() == 1199
    assert Incident.objects.count() == 1
    assert reading.notes == ["Alert 8 was left out: its status is 'sideways', not firing or resolved."]


def test_it_masks_secrets_before_anything_else_sees_them(team: Team) -> None:
    body = {
        "title": "login failed password=hunter22222",
        "labels": {"api_key": "abcdef", "url": "https://u:pa55word@h/"},
        "links": [{"rel": "x", "href": "javascript:alert(1)"}, {"rel": "x", "href": "https://example.com/"}],
    }
    delivery, _ = take(make_endpoint(team, "generic"), body)
    work_off(delivery)
    stored = json.dumps([delivery.alerts, Alert.objects.get().labels, Alert.objects.get().title])
    assert not any(secret in stored for secret in ("hunter2", "abcdef", "pa55word"))
    assert Alert.objects.get().links == [{"rel": "x", "href": "https://example.com/"}]


def test_it_finds_an_endpoint_by_its_token_only_for_its_source(team: Team) -> None:
    endpoint, token = endpoints.create(source="alertmanager", name="a", team=team)
    assert endpoints.by_token("alertmanager", token) == endpoint
    assert endpoints.url(endpoint, token).endswith(f"/hooks/alertmanager/{token}")
    assert token not in json.dumps(list(type(endpoint).objects.values("token_sha256", "config")))
    sentences = set()
    endpoints.disable(endpoint, actor=make_actor(team, ["admin"]))
    for source, tried in [("grafana", token), ("alertmanager", "wrong"), ("alertmanager", token), ("nothing", "x")]:
        with pytest.raises(NotFound) as caught:
            endpoints.by_token(source, tried)
        assert caught.value.status == 401
        sentences.add(caught.value.sentence)
    assert len(sentences) == 1


def test_it_refuses_the_old_token_after_a_rotation(team: Team) -> None:
    endpoint, token = endpoints.create(source="generic", name="g", team=team)
    fresh = endpoints.rotate(endpoint, actor=make_actor(team, ["admin"]))
    assert endpoints.by_token("generic", fresh) == endpoint
    assert endpoints.token_of(endpoint) == fresh
    with pytest.raises(NotFound):
        endpoints.by_token("generic", token)


@pytest.mark.parametrize(
    "config",
    [
        {"mapping": {"severity": "{{ payload.x }}"}},
        {"mapping": {"title": "{{ payload.x }}", "colour": "red"}},
        {"mapping": {"title": "{{ payload.x( }}"}},
        {"mapping": {"title": "{{ secrets.x }}"}},
        {"mapping": {"title": 5}},
        {"mapping": []},
    ],
)
def test_it_refuses_a_mapping_that_could_not_work(team: Team, config: dict[str, Any]) -> None:
    if config["mapping"] == []:
        config = {"mapping": ["x"]}
    with pytest.raises(Exception, match=r"mapping"):
        endpoints.create(source="generic", name="m", team=team, config=config)


NAMES = """alerts labels annotations status payload event_action routing_key title severity dedup_key evalMatches state
tags ruleId deployment_status deployment repository startsAt fingerprint links images summary kind full_name occurred_at
custom_details timestamp"""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(NAMES.split()),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(payload=JSON)
@pytest.mark.parametrize("source", list(SOURCES), ids=lambda source: source.name)
def test_it_reads_any_json_or_says_that_it_is_not_of_this_source(source: Any, payload: Any) -> None:
    try:
        reading = source.read(payload, {}, {}, datetime(2026, 11, 21, 3, tzinfo=UTC))
    except NotOfThisSource:
        return
    assert isinstance(reading, Reading)


def test_it_counts_a_delivery_once_however_often_it_is_applied(team: Team) -> None:
    endpoint = make_endpoint(team, "generic")
    delivery, _ = take(endpoint, NATIVE)
    work_off(delivery)
    _, touched = work_off(delivery)
    assert Alert.objects.get().seen_count == 1
    assert (touched[0].opened_episode, touched[0].opened_incident) == (True, False)
    assert alerts.apply(endpoint, [], delivery_id=None, now=clock.now() + timedelta(1)) == []
