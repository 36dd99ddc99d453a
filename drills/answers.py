"""How the world's answers are written: Prometheus' JSON, the text exposition, logs, the provider's status page."""

from __future__ import annotations

import json
import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

from drills.clocks import iso
from drills.metrics import HELP, Labels
from drills.promql import BadQuery, Value, duration
from drills.scenario import MODEL, SERVICE, stream

if TYPE_CHECKING:
    from drills.world import World

# Prometheus refuses more points than this per series.
MAX_POINTS = 11_000


def text_of(value: float) -> str:
    """A sample's value as Prometheus writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def instant(value: Value, at: float) -> dict[str, Any]:
    """The answer of /api/v1/query."""
    if isinstance(value, float):
        return _success("scalar", [at, text_of(value)])
    rows = [{"metric": dict(labels), "value": [at, text_of(number)]} for labels, number in value]
    return _success("vector", rows)


def matrix(points: list[tuple[float, Value]]) -> dict[str, Any]:
    """The answer of /api/v1/query_range."""
    series: dict[Labels, list[list[float | str]]] = {}
    for at, value in points:
        for labels, number in [((), value)] if isinstance(value, float) else value:
            series.setdefault(labels, []).append([at, text_of(number)])
    return _success("matrix", [{"metric": dict(labels), "values": series[labels]} for labels in sorted(series)])


def _success(kind: str, result: object) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}


def step_of(text: str) -> float:
    """The step of a range query in seconds."""
    try:
        step = duration(text)
    except ValueError:
        raise BadQuery(f'invalid parameter "step": cannot parse "{text}" to a valid duration') from None
    if not 0 < step < math.inf:
        raise BadQuery(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive '
            "integer"
        )
    return step


def check_range(begin: float, end: float, step: float) -> None:
    """Refuse a range that ends before it begins or has too many points."""
    if not (math.isfinite(begin) and math.isfinite(end)) or end < begin:
        raise BadQuery('invalid parameter "end": end timestamp must not be before start time')
    if (end - begin) / step > MAX_POINTS:
        raise BadQuery(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
            "(?step=XX)"
        )


def exposition(samples: list[tuple[Labels, float]]) -> str:
    """The text format of /metrics."""
    lines: list[str] = []
    for name, (kind, help_text) in HELP.items():
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
        family = {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
        for full, rows in groupby(samples, key=lambda sample: sample[0][0][1]):
            if full not in family:
                continue
            for labels, value in rows:
                inside = ",".join(f'{key}="{text}"' for key, text in labels[1:])
                lines.append(f"{full}{{{inside}}} {text_of(value)}")
    return "\n".join(lines) + "\n"


def logs(world: World, since: float, until: float, limit: int) -> str:
    """Requests of a window as JSONL, oldest first; at most `limit`, the newest ones."""
    first = max(math.floor(world.time.minute(since)), -world.history)
    last = math.floor(world.time.minute(until))
    lines: list[tuple[float, str]] = []
    for minute in range(last, first - 1, -1):
        begin, end = world.time.wall(minute), world.time.wall(minute + 1)
        for number, request in enumerate(world.requests(minute)):
            wall = begin + request.at * (end - begin)
            if since <= wall <= until:
                lines.append((wall, json.dumps(_log_line(world.seed, minute, number, wall, request))))
        if len(lines) >= limit:
            break
    return "".join(line + "\n" for _, line in sorted(lines)[-limit:])


def _log_line(seed: int, minute: int, number: int, wall: float, request: Any) -> dict[str, Any]:
    return {
        "ts": iso(wall),
        "service": SERVICE,
        "request_id": f"req-{stream(seed, 'request-id', minute).getrandbits(32):08x}-{number}",
        "tenant": request.tenant,
        "query_type": request.query_type,
        "version": request.version,
        "node": request.node,
        "code": int(request.code),
        "model": MODEL,
        "provider": request.provider,
        "gateway_seconds": round(request.gateway, 4),
        "retriever_seconds": round(request.retriever, 4),
        "llm_seconds": round(request.llm, 4),
        "total_seconds": round(request.gateway + request.retriever + request.llm, 4),
        "tokens_in": request.tokens_in,
        "tokens_out": request.tokens_out,
        "cost_usd": round(request.cost, 6),
        "attempts": request.attempts,
        "temperature": 0.2,
        "label": ("correct" if request.correct else "wrong") if request.labelled else None,
        "safety_flag": request.flagged,
    }


def status_page(page: dict[str, Any], now: float) -> dict[str, Any]:
    """The provider's page in the shape of Statuspage's v2 API."""
    slow_since = page["slow_since"]
    components = [
        _component("cmp-api", "Chat API", "degraded_performance" if slow_since else "operational", now),
        _component("cmp-embed", "Embeddings", "operational", now),
        _component("cmp-image", "Image generation", "degraded_performance" if page["herring"] else "operational", now),
    ]
    incidents = []
    if slow_since:
        incidents.append(
            {
                "id": "inc-slow",
                "name": "Elevated latency on the Chat API",
                "status": "investigating",
                "impact": "minor",
                "created_at": slow_since,
                "updated_at": slow_since,
                "resolved_at": None,
                "components": [components[0]],
                "incident_updates": [],
                "shortlink": "",
            }
        )
    bad = slow_since or page["herring"]
    return {
        "page": {
            "id": "alpha",
            "name": "Alpha AI",
            "url": "https://status.alpha.example",
            "time_zone": "Etc/UTC",
            "updated_at": iso(now),
        },
        "status": {
            "indicator": "minor" if bad else "none",
            "description": "Partially Degraded Service" if bad else "All Systems Operational",
        },
        "components": components,
        "incidents": incidents,
        "scheduled_maintenances": [],
    }


def _component(name: str, title: str, status: str, now: float) -> dict[str, Any]:
    return {"id": name, "name": title, "status": status, "updated_at": iso(now), "group": False, "description": None}
