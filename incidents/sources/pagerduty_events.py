"""The body of PagerDuty's Events API v2, for whatever can page PagerDuty."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import datetime
from typing import Any, ClassVar

from incidents.sources import words
from incidents.sources.base import AlertNotice, NotOfThisSource, Reading, Source, Status

# The door answers with the key of the alert; when the sender gave none, it makes one (new_key) and hands it on to
# reading in this header, which is stored with the delivery, so that every reading gives the same key.
KEY_HEADER = "x-backstop-dedup"
_ACTIONS: dict[str, Status] = {"trigger": "firing", "acknowledge": "acknowledged", "resolve": "resolved"}
_SEVERITIES = {"critical": "critical", "error": "high", "warning": "warning", "info": "info"}


class PagerDutyEvents(Source):
    """Anything that can send to PagerDuty's Events API v2.

    Give the sender this server's address instead of PagerDuty's, and the endpoint's token as routing key (integration
    key). `trigger`, `acknowledge` and `resolve` are understood; the component, group or source names the service. An
    acknowledgement at the sender acknowledges no incident here, it is only noted.
    """

    name: ClassVar[str] = "pagerduty-events"
    title: ClassVar[str] = "PagerDuty Events API v2"
    snippet: ClassVar[str] = """curl -X POST {url} -H 'Content-Type: application/json' -d '{
  "routing_key": "{token}",
  "event_action": "trigger",
  "dedup_key": "drift/my-service",
  "payload": {"summary": "Drift on my-service", "source": "monitor", "severity": "error", "component": "my-service"}
}'
"""
    sample: ClassVar[dict[str, Any]] = {
        "routing_key": "{token}",
        "event_action": "trigger",
        "dedup_key": "backstop-test",
        "payload": {"summary": "Test alert sent from Backstop", "source": "backstop", "severity": "info"},
    }

    def read(self, payload: Any, headers: dict[str, str], config: dict[str, Any], received_at: datetime) -> Reading:
        """One alert; a body that the door would refuse is not of this source."""
        faults = validate(payload)
        if faults:
            raise NotOfThisSource(f"The event is not valid: {'; '.join(faults)}.")
        event = words.fields(payload)
        details = words.fields(event.get("payload"))
        described = {name: details.get(name) for name in ("component", "group", "class", "source")}
        custom = details.get("custom_details")
        labels = words.flat(custom if isinstance(custom, dict) else {"custom_details": custom}) | words.flat(described)
        links: list[tuple[str, object]] = [("source", event.get("client_url"))]
        links += [("link", words.fields(item).get("href")) for item in words.items(event.get("links"))]
        links += [("image", words.fields(item).get("src")) for item in words.items(event.get("images"))]
        status = _ACTIONS[words.text(event.get("event_action"))]
        at = words.moment(details.get("timestamp"))
        return Reading(
            kind="alert",
            alerts=[
                AlertNotice(
                    dedup_key=key_of(event, headers, received_at),
                    status=status,
                    severity=_SEVERITIES.get(words.text(details.get("severity")).lower(), "unknown"),
                    title=words.text(details.get("summary"))[:1024] or None,
                    description=words.text(custom),
                    service=words.first(details.get("component"), details.get("group"), details.get("source")) or None,
                    environment=words.environment(labels),
                    labels=labels,
                    links=words.links(links),
                    starts_at=at if status == "firing" else None,
                    ends_at=at if status == "resolved" else None,
                )
            ],
        )


def new_key() -> str:
    """A key for an event whose sender gave none."""
    return uuid.uuid4().hex


def key_of(event: dict[str, Any], headers: dict[str, str], received_at: datetime) -> str:
    """The sender's dedup_key, else the one that the door made, else one made of the body and its time of receipt."""
    made = words.first(event.get("dedup_key"), headers.get(KEY_HEADER))
    if made:
        return made
    canonical = json.dumps(event, sort_keys=True, default=str) + received_at.isoformat()
    return hashlib.sha256(canonical.encode("utf-8", "replace")).hexdigest()[:32]


def validate(payload: object) -> list[str]:
    """What is wrong with an event, in the words that PagerDuty's clients show; empty when it may be accepted."""
    if not isinstance(payload, dict):
        return ["the event must be a JSON object"]
    faults = []
    action = words.text(payload.get("event_action"))
    key = payload.get("dedup_key")
    if not words.text(payload.get("routing_key")):
        faults.append("'routing_key' is missing or blank")
    if action not in _ACTIONS:
        faults.append("'event_action' must be one of trigger, acknowledge, resolve")
    if key is not None and not isinstance(key, str):
        faults.append("'dedup_key' must be a string")
    elif len(words.text(key)) > 255:
        faults.append("'dedup_key' is longer than 255 characters")
    elif action in ("acknowledge", "resolve") and not words.text(key):
        faults.append(f"'dedup_key' is required for {action}")
    if action == "trigger":
        faults += _payload_faults(payload.get("payload"))
    return faults


def _payload_faults(details: object) -> list[str]:
    if not isinstance(details, dict):
        return ["'payload' is missing or not an object"]
    faults = [
        f"'payload.{name}' is missing or blank"
        for name in ("summary", "source", "severity")
        if not words.text(details.get(name))
    ]
    severity = words.text(details.get("severity"))
    if severity and severity.lower() not in _SEVERITIES:
        faults.append("'payload.severity' must be one of critical, error, warning, info")
    return faults
