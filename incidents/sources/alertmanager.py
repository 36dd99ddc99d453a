"""Prometheus Alertmanager, webhook version 4; Grafana's unified alerting shares most of the form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from incidents.sources import words
from incidents.sources.base import AlertNotice, NotOfThisSource, Reading, Source

_EXTRA_LINKS = {"silenceURL": "silence", "dashboardURL": "dashboard", "panelURL": "panel", "imageURL": "image"}


class Alertmanager(Source):
    """Prometheus Alertmanager.

    Each alert of a message has a status of its own, so a message that says `firing` may well carry resolved ones. The
    alert's fingerprint is its identity; `summary` is its title and the label `service` names the service. Switch
    `send_resolved` on, or Backstop never hears that an alert has stopped.
    """

    name: ClassVar[str] = "alertmanager"
    title: ClassVar[str] = "Prometheus Alertmanager"
    snippet: ClassVar[str] = """# alertmanager.yml
receivers:
  - name: backstop
    webhook_configs:
      - url: {url}
        send_resolved: true
route:
  receiver: backstop
  group_by: [alertname, service]
  group_wait: 10s
"""
    sample: ClassVar[dict[str, Any]] = {
        "version": "4",
        "status": "firing",
        "receiver": "backstop",
        "groupKey": '{}:{alertname="BackstopTest"}',
        "externalURL": "",
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
        """Each of `alerts[]`, with its own status."""
        return read_alerts(words.fields(payload), title=summary)


def read_alerts(payload: dict[str, Any], *, title: Callable[[dict[str, Any]], str | None]) -> Reading:
    """The alerts of an Alertmanager body; one that cannot be read is named in the notes and costs no other."""
    listed = payload.get("alerts")
    if not isinstance(listed, list):
        raise NotOfThisSource("An Alertmanager message is an object with a list named alerts; this body has none.")
    found: list[AlertNotice] = []
    notes: list[str] = []
    for position, item in enumerate(listed, start=1):
        try:
            found.append(_alert(item, payload, title))
        except NotOfThisSource as fault:
            notes.append(f"Alert {position} was left out: {fault}")
    truncated = payload.get("truncatedAlerts")
    if isinstance(truncated, int) and truncated > 0:
        notes.append(f"The sender left {truncated} more alerts out of this message (its max_alerts).")
    if not listed:
        return Reading(kind="ignored", notes=notes, reason="The message lists no alerts.")
    if not found:
        raise NotOfThisSource(f"None of the {len(listed)} alerts can be read. {notes[0]}")
    return Reading(kind="alert", alerts=found, notes=notes)


def _alert(item: object, payload: dict[str, Any], title: Callable[[dict[str, Any]], str | None]) -> AlertNotice:
    if not isinstance(item, dict):
        raise NotOfThisSource("it is not an object.")
    status = words.text(item.get("status"))
    if status not in ("firing", "resolved"):
        raise NotOfThisSource(f"its status is {status[:40]!r}, not firing or resolved.")
    labels = words.flat(item.get("labels"))
    annotations = words.flat(item.get("annotations"))
    if not labels and not words.text(item.get("fingerprint")):
        raise NotOfThisSource("it has neither labels nor a fingerprint.")
    key = words.text(item.get("fingerprint")) or hashlib.sha256(json.dumps(sorted(labels.items())).encode()).hexdigest()
    links: list[tuple[str, object]] = [("source", item.get("generatorURL"))]
    links += [(rel, item.get(name)) for name, rel in _EXTRA_LINKS.items()]
    links += [("runbook", annotations.get("runbook_url")), ("dashboard", annotations.get("dashboard_url"))]
    context = words.flat({"externalURL": payload.get("externalURL"), "receiver": payload.get("receiver")})
    return AlertNotice(
        dedup_key=key,
        status="resolved" if status == "resolved" else "firing",
        severity=words.severity(words.first(labels.get("severity"), labels.get("priority"))),
        title=title(item),
        description=words.first(annotations.get("description"), annotations.get("message")),
        service=words.service(labels),
        environment=words.environment(labels),
        # Our two additions never hide a label of the alert itself.
        labels=labels | {name: value for name, value in context.items() if name not in labels},
        links=words.links(links),
        starts_at=words.moment(item.get("startsAt")),
        ends_at=words.moment(item.get("endsAt")) if status == "resolved" else None,
    )


def summary(item: dict[str, Any]) -> str | None:
    """The annotation `summary`, else the label `alertname`."""
    annotations, labels = words.fields(item.get("annotations")), words.fields(item.get("labels"))
    return words.first(annotations.get("summary"), labels.get("alertname")) or None
