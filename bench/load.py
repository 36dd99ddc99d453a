"""Post Alertmanager webhooks on keep-alive connections; every alert is new. Standard library only."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

HEADERS = {"Content-Type": "application/json", "X-Forwarded-Proto": "https"}
_numbers = itertools.count(time.time_ns() % 10**12)


@dataclass
class Sent:
    """What was acknowledged, how fast, and what was not."""

    seconds: float = 0.0
    acked: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def body(alerts: int, service: str, marks: Sequence[str] = ()) -> bytes:
    """One notification with so many new alerts of one service; the first ones carry the marks as a label."""
    rows = []
    for index in range(alerts):
        number = next(_numbers)
        labels = {"alertname": "Bench", "service": service, "severity": "warning", "n": str(number)}
        if index < len(marks):
            labels["bench"] = marks[index]
        rows.append(
            {
                "status": "firing",
                "labels": labels,
                "annotations": {"summary": "bench alert", "description": "score 0.81 is below 0.85 for 15m"},
                "startsAt": "2026-11-21T03:20:00.000Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus.example/graph",
                "fingerprint": f"{number:016x}",
            }
        )
    head = {"version": "4", "groupKey": rows[0]["fingerprint"], "status": "firing", "receiver": "bench"}
    rest = {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0}
    return json.dumps(head | rest | {"alerts": rows}).encode()


def storm(requests: int, alerts: int) -> list[bytes]:
    """The bodies of one storm: all of one new service, so that they join one incident; the first starts one run."""
    service = f"bench-{next(_numbers)}"
    return [body(alerts, service, ["first of a storm"] if number == 0 else ()) for number in range(requests)]


def send(port: int, path: str, bodies: Sequence[bytes], *, connections: int) -> Sent:
    """Send the bodies over so many connections, each as fast as it is answered."""
    sent, lock = Sent(), threading.Lock()
    left = iter(bodies)

    def one() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                data = next(left, None)
            if data is None:
                link.close()
                return
            began = time.perf_counter()
            code = post(link, path, data)
            with lock:
                sent.codes[code] = sent.codes.get(code, 0) + 1
                if code == "202":
                    sent.acked += 1
                    sent.latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    _together(one, connections)
    sent.seconds = time.perf_counter() - began
    return sent


def send_at(port: int, path: str, bodies: Sequence[bytes], *, per_second: float, connections: int) -> list[float]:
    """Send each body when it is its turn, whatever became of those before it; when each was sent, in their order.

    The time is that of the turn: what waits for a free connection is as late as its sender would find it.
    """
    turns = iter(enumerate(bodies))
    lock, began = threading.Lock(), time.time() + 0.1
    codes: set[str] = set()

    def one() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                number, data = next(turns, (0, b""))
            if not data:
                link.close()
                return
            time.sleep(max(0.0, began + number / per_second - time.time()))
            codes.add(post(link, path, data))

    _together(one, connections)
    if codes - {"202"}:
        raise SystemExit(f"webhooks were answered with {', '.join(sorted(codes))}")
    return [began + number / per_second for number in range(len(bodies))]


def _together(one: Callable[[], None], connections: int) -> None:
    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def post(link: http.client.HTTPConnection, path: str, data: bytes) -> str:
    """The status of one answer, or the name of what went wrong."""
    try:
        link.request("POST", path, data, HEADERS)
        answer = link.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        link.close()
        return type(error).__name__
    return str(answer.status)
