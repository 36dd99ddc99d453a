"""Every recorded body of every source becomes what its case says, from the bytes to the incident."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catalog.models import Change, Team
from incidents import bodies, changes, intake
from incidents.models import Alert, Incident
from incidents.sources import SOURCES, pagerduty_events
from incidents.sources.base import AlertNotice
from tests.conftest import Clock
from tests.factories_intake import make_endpoint, take, work_off

FOLDER = Path(__file__).parent / "payloads"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text())["cases"]
ALERTS = [case for case in CASES if case["kind"] == "alert"]


def _name(case: dict[str, Any]) -> str:
    return str(case["file"])


def _when(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _hold(notice: AlertNotice, expected: dict[str, Any], received_at: datetime) -> None:
    assert notice.status == expected["status"]
    assert notice.severity == expected["severity"]
    assert notice.service == expected["service"]
    if expected["title"] is not None:
        assert notice.title == expected["title"]
    if "title_contains" in expected:
        assert expected["title_contains"] in (notice.title or "")
        assert "\x00" not in (notice.title or "")
    if "environment" in expected:
        assert notice.environment == expected["environment"]
    if "links_count" in expected:
        assert len(notice.links) == expected["links_count"]
    assert notice.starts_at == (_when(expected["starts_at"]) if expected["starts_at"] else received_at)
    if notice.status == "resolved":
        assert notice.ends_at == (_when(expected["ends_at"]) if expected["ends_at"] else received_at)
    else:
        assert notice.ends_at is None


@pytest.mark.parametrize("case", ALERTS, ids=_name)
def test_it_reads_and_applies_a_recorded_body(team: Team, case: dict[str, Any], moved_clock: Clock) -> None:
    endpoint = make_endpoint(team, case["source"], **case.get("config", {}))
    delivery, duplicate = take(endpoint, (FOLDER / case["file"]).read_bytes(), case["request"]["headers"])
    reading, touched = work_off(delivery)
    expected = case["expect"]
    assert not duplicate
    assert reading.kind == "alert"
    assert len(reading.alerts) == len(touched) == Alert.objects.count() == expected["alert_count"]
    for notice, wanted in zip(reading.alerts, expected["alerts"], strict=bool(expected["alerts"])):
        _hold(notice, wanted, delivery.received_at)
    firing = [notice for notice in reading.alerts if notice.status == "firing"]
    assert Incident.objects.count() == (1 if firing else 0)
    if "truncated_alerts" in expected:
        assert any("left 3 more" in note for note in reading.notes)


def test_it_gives_one_key_to_messages_about_one_alert(team: Team, moved_clock: Clock) -> None:
    keys: dict[tuple[str, str], set[str]] = {}
    for case in ALERTS:
        endpoint = make_endpoint(team, case["source"], **case.get("config", {}))
        delivery, _ = take(endpoint, (FOLDER / case["file"]).read_bytes())
        for notice, wanted in zip(intake.read_delivery(delivery).alerts, case["expect"]["alerts"], strict=False):
            keys.setdefault((case["source"], wanted["dedup_group"]), set()).add(notice.dedup_key)
    assert all(len(found) == 1 for found in keys.values())
    assert len({next(iter(found)) for found in keys.values()}) == len(keys)


def test_it_makes_sixty_alerts_of_one_rule_one_incident_with_few_entries(team: Team, moved_clock: Clock) -> None:
    endpoint = make_endpoint(team)
    work_off(take(endpoint, (FOLDER / "alertmanager--batch-60.json").read_bytes())[0])
    incident = Incident.objects.get()
    assert incident.alerts.count() == 60
    texts = list(incident.timeline.filter(kind="alert").values_list("text", flat=True))
    assert len(texts) == 1
    assert texts[0].startswith("60 alerts firing: accuracy low on mcc-00")


def test_it_resolves_what_the_recorded_firing_opened(team: Team, moved_clock: Clock) -> None:
    endpoint = make_endpoint(team)
    work_off(take(endpoint, (FOLDER / "alertmanager--firing-single.json").read_bytes())[0])
    _, touched = work_off(take(endpoint, (FOLDER / "alertmanager--resolved-single.json").read_bytes())[0])
    assert touched[0].alert.status == "resolved"
    assert touched[0].changed_status
    assert Incident.objects.get().timeline.filter(data__all_stopped=True).count() == 1


def test_it_follows_one_pagerduty_event_from_trigger_to_resolve(team: Team, moved_clock: Clock) -> None:
    endpoint = make_endpoint(team, "pagerduty-events")
    for step in ("trigger", "acknowledge", "resolve"):
        work_off(take(endpoint, (FOLDER / f"pagerduty-events--{step}.json").read_bytes())[0])
    alert = Alert.objects.get()
    assert (alert.status, alert.severity, alert.service_name) == ("resolved", "high", "fraud-scorer")
    assert alert.title == "PSI of feature 'amount' is 0.41 (limit 0.25)"
    assert Incident.objects.get().state == "open"
    assert Incident.objects.get().timeline.filter(text__startswith="Acknowledged at the sender").count() == 1


def test_it_names_what_is_wrong_with_a_pagerduty_event(team: Team) -> None:
    body = json.loads((FOLDER / "pagerduty-events--invalid-no-summary.json").read_bytes())
    assert pagerduty_events.validate(body) == ["'payload.summary' is missing or blank"]
    trigger = json.loads((FOLDER / "pagerduty-events--trigger.json").read_bytes())
    assert pagerduty_events.validate(trigger) == []
    assert pagerduty_events.validate([]) == ["the event must be a JSON object"]


def test_it_gives_a_keyless_pagerduty_event_the_key_that_the_door_made(team: Team) -> None:
    endpoint = make_endpoint(team, "pagerduty-events")
    event = {
        "routing_key": "k" * 32,
        "event_action": "trigger",
        "payload": {"summary": "s", "source": "a", "severity": "info"},
    }
    key = pagerduty_events.new_key()
    delivery, _ = take(endpoint, event, {pagerduty_events.KEY_HEADER: key})
    assert intake.read_delivery(delivery).alerts[0].dedup_key == key


def test_it_rejects_a_body_that_is_not_json_and_keeps_it(team: Team) -> None:
    endpoint = make_endpoint(team, "generic")
    delivery, _ = take(endpoint, (FOLDER / "generic--not-json.json").read_bytes())
    with pytest.raises(bodies.Unparsed, match="not JSON"):
        intake.read_delivery(delivery)
    intake.reject(delivery, "The body is not JSON.")
    assert delivery.status == "rejected"
    assert "status=firing" in intake.redacted(delivery)


def test_it_keeps_a_recorded_deployment_as_a_change(team: Team, moved_clock: Clock) -> None:
    case = next(case for case in CASES if case["source"] == "github")
    endpoint = make_endpoint(team, "github")
    delivery, _ = take(endpoint, (FOLDER / case["file"]).read_bytes(), case["request"]["headers"])
    reading = intake.read_delivery(delivery)
    assert reading.kind == "change"
    changes.apply(endpoint, reading.changes, delivery_id=delivery.pk, now=moved_clock())
    change, wanted = Change.objects.get(), case["expect"]["change"]
    assert (change.summary, change.subject, change.version) == (wanted["summary"], wanted["subject"], wanted["version"])
    assert change.occurred_at == _when(wanted["occurred_at"])
    assert Incident.objects.count() == 0


@pytest.mark.parametrize("source", list(SOURCES), ids=lambda source: source.name)
def test_it_understands_its_own_sample(team: Team, source: Any) -> None:
    endpoint = make_endpoint(team, source.name)
    delivery, _ = take(endpoint, source.sample)
    reading = intake.read_delivery(delivery)
    assert reading.kind == ("change" if source.name in ("github", "changes") else "alert")
    assert source.__doc__
    assert "{url}" in source.snippet
