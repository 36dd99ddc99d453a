"""Firing the alert: one webhook in Alertmanager's format, version 4."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from drills.clocks import iso
from drills.scenario import ALERTS, SERVICE, Refused

if TYPE_CHECKING:
    from drills.world import World

_NEVER = "0001-01-01T00:00:00Z"


def payload(world: World, *, status: str, kind: str, severity: str, labels: dict[str, str]) -> dict[str, Any]:
    """What Alertmanager would post about the world's newest fault; `kind` overrides what the cause suggests."""
    cause = next((f.cause for f in reversed(world.faults()) if f.end is None), "none")
    kinds = {name: (name, title, sentence) for name, title, sentence in ALERTS.values()}
    if kind and kind not in kinds:
        raise Refused(400, f"There is no kind {kind!r}; known: {', '.join(kinds)}.")
    if status not in ("firing", "resolved"):
        raise Refused(400, "status is firing or resolved.")
    name, title, sentence = kinds[kind] if kind else ALERTS[cause]
    common = {"alertname": title, "kind": name, "service": SERVICE, "severity": severity, **labels}
    # Alertmanager's rule: one alert per set of labels.
    fingerprint = hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()[:16]
    alert = {
        "status": status,
        "labels": common,
        "annotations": {"summary": sentence, "description": f"{sentence}; see the service's dashboard."},
        "startsAt": iso(world.onset() + 120),
        "endsAt": iso(world.now()) if status == "resolved" else _NEVER,
        "generatorURL": "",
        "fingerprint": fingerprint,
    }
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{title}", service="{SERVICE}"}}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "backstop",
        "groupLabels": {"alertname": title, "service": SERVICE},
        "commonLabels": common,
        "commonAnnotations": alert["annotations"],
        "externalURL": "",
        "alerts": [alert],
    }


def fire(world: World, url: str, *, status: str, kind: str, severity: str, labels: dict[str, str]) -> dict[str, Any]:
    """Post the alert to a webhook; answers its HTTP status and body, status 0 when nobody answered."""
    if not url.startswith(("http://", "https://")):
        raise Refused(400, "url must be an http or https address.")
    body = json.dumps(payload(world, status=status, kind=kind, severity=severity, labels=labels)).encode()
    request = urllib.request.Request(  # noqa: S310  the scheme is checked above
        url, data=body, headers={"Content-Type": "application/json", "User-Agent": "Alertmanager/0.28"}, method="POST"
    )
    # No proxy from the environment: the hook is on this machine or named in full.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return {"status": answer.status, "body": answer.read(10_000).decode("utf-8", "replace")}
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, "body": error.read(10_000).decode("utf-8", "replace")}
    except OSError as error:
        return {"status": 0, "body": f"Nobody answers at that address: {getattr(error, 'reason', error)}."}
