"""Post Alertmanager webhooks on keep-alive connections; every alert is new. Standard library only."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Sent:
    """What was acknowledged, how fast, and what was not."""

    seconds: float = 0.0
    acked: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    def p(self, share: float) -> float:
        """A percentile of the acknowledgement's latency in milliseconds."""
        ordered = sorted(self.latencies)
        return round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1) if ordered else 0.0


_numbers = itertools.count(time.time_ns() % 10**12)


def body(alerts: int) -> bytes:
    """One notification with so many new alerts, all of one service, so that they join one incident."""
    rows = []
    for _ in range(alerts):
        number = next(_numbers)
        rows.append(
            {
                "status": "firing",
                "labels": {"alertname": "Bench", "service": "bench", "severity": "warning", "n": str(number)},
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


def send(port: int, path: str, *, requests: int, alerts: int, connections: int) -> Sent:
    """Send so many requests over so many connections, each as fast as it is answered."""
    sent, lock = Sent(), threading.Lock()
    bodies = iter([body(alerts) for _ in range(requests)])

    def one() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                data = next(bodies, None)
            if data is None:
                return
            began = time.perf_counter()
            try:
                link.request("POST", path, data, {"Content-Type": "application/json"})
                answer = link.getresponse()
                answer.read()
                code = answer.status
            except (OSError, http.client.HTTPException) as error:
                code = type(error).__name__
                link.close()
            with lock:
                sent.codes[str(code)] = sent.codes.get(str(code), 0) + 1
                if code == 202:
                    sent.acked += 1
                    sent.latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent.seconds = time.perf_counter() - began
    return sent
