"""Grafana: unified alerting, and the older body with evalMatches that is still out there."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from incidents.signatures import Scheme
from incidents.sources import words
from incidents.sources.alertmanager import read_alerts, summary
from incidents.sources.base import AlertNotice, NotOfThisSource, Reading, Source, Status

_OLD_STATES: dict[str, Status] = {"alerting": "firing", "ok": "resolved", "no_data": "no_data"}


class Grafana(Source):
    """Grafana contact point of type Webhook.

    Reads the alerts as Alertmanager does (each with its own status). Rules without data arrive as alerts named
    `DatasourceNoData` or `DatasourceError`; their title names the rule. The Test button of Grafana opens nothing.
    Leave the contact point's custom payload empty.
    """

    name: ClassVar[str] = "grafana"
    title: ClassVar[str] = "Grafana"
    signature: ClassVar[Scheme | None] = "grafana"
    snippet: ClassVar[str] = """# Alerting > Contact points > New contact point, or as provisioning file:
apiVersion: 1
contactPoints:
  - orgId: 1
    name: backstop
    receivers:
      - uid: backstop
        type: webhook
        settings:
          url: {url}
          httpMethod: POST
"""
    sample: ClassVar[dict[str, Any]] = {
        "version": "1",
        "status": "firing",
        "receiver": "backstop",
        "orgId": 1,
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "BackstopTest", "severity": "info"},
                "annotations": {"summary": "Test alert sent from Backstop"},
                "startsAt": "0001-01-01T00:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "fingerprint": "backstop-test",
            }
        ],
    }

    def read(self, payload: Any, headers: dict[str, str], config: dict[str, Any], received_at: datetime) -> Reading:
        """Unified alerting by `alerts`, the old form by `evalMatches`."""
        body = words.fields(payload)
        if "alerts" not in body and "evalMatches" in body:
            return _old(body)
        if "alerts" not in body:
            raise NotOfThisSource("A Grafana message has a list named alerts, or evalMatches; this body has neither.")
        if _is_test(body):
            return Reading(kind="test", reason="Grafana's Test button; nothing is opened.")
        return read_alerts(body, title=_title)


def _is_test(body: dict[str, Any]) -> bool:
    labels = [words.fields(words.fields(item).get("labels")) for item in words.items(body["alerts"])]
    return bool(labels) and all(
        found.get("alertname") == "TestAlert" and found.get("instance") == "Grafana" for found in labels
    )


def _title(item: dict[str, Any]) -> str | None:
    labels = words.fields(item.get("labels"))
    name, rule = words.text(labels.get("alertname")), words.text(labels.get("rulename"))
    if name in ("DatasourceNoData", "DatasourceError") and rule:
        return f"{rule}: {name}"
    return summary(item)


def _old(body: dict[str, Any]) -> Reading:
    state = words.text(body.get("state"))
    status = _OLD_STATES.get(state)
    if status is None:
        return Reading(kind="ignored", reason=f"The state {state[:40]!r} neither opens nor resolves an alert.")
    labels = words.flat(body.get("tags"))
    rule = words.first(body.get("ruleId"), body.get("ruleName"))
    if not rule:
        raise NotOfThisSource("A Grafana message with evalMatches needs ruleId or ruleName; this one has neither.")
    return Reading(
        kind="alert",
        alerts=[
            AlertNotice(
                dedup_key=f"{words.text(body.get('orgId')) or '1'}:{rule}",
                status=status,
                severity=words.severity(labels.get("severity")),
                title=words.text(body.get("ruleName")) or None,
                description=words.text(body.get("message")),
                service=words.service(labels),
                environment=words.environment(labels),
                labels=labels,
                links=words.links([("source", body.get("ruleUrl")), ("image", body.get("imageUrl"))]),
            )
        ],
    )
