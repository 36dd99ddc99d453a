"""The three measurements: ingest beside bare Django, webhook to first check, starting and memory."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import load
import pytest
import shapes
from shapes import Server

from tests import servers

# Alerts per webhook, and how many webhooks make one storm.
SIZES = {1: 400, 10: 150, 100: 30}
CONNECTIONS = 16
SETTLE_SECONDS = 120
SINGLES = 60
# The first ones pay for what is imported on first use.
WARM_UP = 5
PAUSE_SECONDS = 0.25
# How many webhooks a second, and for how many seconds. Each opens an incident, of which an endpoint may have so many.
RATES = ((4, 8), (20, 6), (100, 2))
IDLE_SECONDS = 10.0
# The statistics are imported three seconds after the start; this long after it they are.
WARMED_SECONDS = 9.0

UNSETTLED = "SELECT count(*) FROM incidents_delivery WHERE status = 'received'"
ROWS = {
    "deliveries": "SELECT count(*) FROM incidents_delivery WHERE status = 'processed'",
    "alerts": "SELECT count(*) FROM incidents_alert WHERE incident_id IS NOT NULL",
    "incidents": "SELECT count(*) FROM incidents_incident",
    "told": "SELECT count(DISTINCT incident_id) FROM incidents_timelineentry WHERE kind = 'alert'",
    "runs": "SELECT count(*) FROM runbooks_run",
}
OPEN_RUNS = "SELECT count(*) FROM runbooks_run WHERE state IN ('queued', 'active', 'stopping')"
FIRST_CHECKS = """
    SELECT incidents_alert.dedup_key, min(runbooks_attempt.started_at) FROM runbooks_attempt
    JOIN runbooks_steprun ON runbooks_steprun.id = runbooks_attempt.step_run_id
    JOIN runbooks_run ON runbooks_run.id = runbooks_steprun.run_id
    JOIN incidents_alert ON incidents_alert.id = runbooks_run.alert_id
    GROUP BY incidents_alert.dedup_key"""


def ingest(folder: Path, rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Settled alerts per second on each database, ours beside bare Django, alternately; one row per size."""
    found = []
    for name, pair in (("sqlite", sqlite_pair), ("postgres", postgres_pair)):
        place = folder / name
        place.mkdir(parents=True)
        try:
            with pair(place) as (bare, ours):
                found += [_compare(name, alerts, bare, ours, rounds, say) for alerts in SIZES]
        except pytest.skip.Exception as missing:
            say(f"ingest on {name} is not measured: {missing}")
    return found


@contextmanager
def sqlite_pair(folder: Path) -> Iterator[tuple[Server, Server]]:
    """One process each, as embedded."""
    with (
        shapes.bare(folder, str(folder / "bare.sqlite3"), processes=1) as bare,
        shapes.embedded(folder / "ours") as ours,
    ):
        yield bare, ours


@contextmanager
def postgres_pair(folder: Path) -> Iterator[tuple[Server, Server]]:
    """Two web processes each, in databases of their own on one server; ours with one worker and Redis."""
    with ExitStack() as stack:
        for name in ("bare", "ours", "redis"):
            (folder / name).mkdir()
        redis = stack.enter_context(servers.redis(folder / "redis"))
        one = stack.enter_context(servers.postgres(folder / "bare"))
        two = stack.enter_context(servers.postgres(folder / "ours"))
        bare = stack.enter_context(shapes.bare(folder, one, processes=2))
        yield bare, stack.enter_context(shapes.production(folder / "ours", two, redis))


def _compare(
    database: str, alerts: int, bare: Server, ours: Server, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    pairs = []
    for number in range(rounds):
        limit, own = storm_on_bare(bare, alerts), storm_on_ours(ours, alerts)
        pairs.append(
            {"bare": limit, "ours": own, "ratio": round(own["settled_per_second"] / limit["settled_per_second"], 3)}
        )
        say(f"ingest {database} ×{alerts}, round {number + 1}: {pairs[-1]['ratio']:.2f}")
    return {
        "database": database,
        "alerts": alerts,
        "bare": statistics.median(pair["bare"]["settled_per_second"] for pair in pairs),
        "ours": statistics.median(pair["ours"]["settled_per_second"] for pair in pairs),
        "ratio": statistics.median(pair["ratio"] for pair in pairs),
        # Stored and acknowledged, while the workers settle what came before on the same processors.
        "acked": statistics.median(pair["ours"]["acked_per_second"] for pair in pairs),
        "acked_ratio": round(
            statistics.median(pair["ours"]["acked_per_second"] / pair["bare"]["acked_per_second"] for pair in pairs), 3
        ),
        "ack_p99_ms": statistics.median(pair["ours"]["ack_p99_ms"] for pair in pairs),
        "lost": sum(pair["ours"]["lost"] + pair["bare"]["lost"] for pair in pairs),
        "rounds": pairs,
    }


def storm_on_bare(server: Server, alerts: int) -> dict[str, Any]:
    """What is acknowledged is settled."""
    count = "SELECT count(*) FROM bench_alert"
    before, began = server.number(count), time.perf_counter()
    sent = load.send(server.port, server.path, load.storm(SIZES[alerts], alerts), connections=CONNECTIONS)
    return _result(sent, alerts, time.perf_counter() - began, server.number(count) - before)


def storm_on_ours(server: Server, alerts: int) -> dict[str, Any]:
    """Until every delivery is worked off: one incident with all the alerts, a timeline and one run must be there."""
    before, began = counts(server), time.perf_counter()
    sent = load.send(server.port, server.path, load.storm(SIZES[alerts], alerts), connections=CONNECTIONS)
    while server.number(UNSETTLED) and time.perf_counter() - began < SETTLE_SECONDS:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    made = {name: number - before[name] for name, number in counts(server).items()}
    wrong = made["deliveries"] != sent.acked or [made["incidents"], made["told"], made["runs"]] != [1, 1, 1]
    result = _result(sent, alerts, seconds, made["alerts"])
    return result | {"made": made, "lost": max(result["lost"], int(wrong))}


def counts(server: Server) -> dict[str, int]:
    """How many rows of each kind there are."""
    return {name: server.number(sql) for name, sql in ROWS.items()}


def _result(sent: load.Sent, alerts: int, seconds: float, settled: int) -> dict[str, Any]:
    return {
        "codes": sent.codes,
        "lost": max(0, SIZES[alerts] * alerts - settled),
        "acked_per_second": round(sent.acked * alerts / sent.seconds, 1),
        "settled_per_second": round(settled / seconds, 1),
        "ack_p50_ms": round(1000 * load.percentile(sent.latencies, 0.5), 1),
        "ack_p99_ms": round(1000 * load.percentile(sent.latencies, 0.99), 1),
    }


def first_check(folder: Path) -> dict[str, Any]:
    """One webhook at a time to an idle embedded process, and one to bare Django: acknowledged, first check begun."""
    folder = folder / "single"
    folder.mkdir()
    sent: dict[str, float] = {}
    acks: dict[str, list[float]] = {"bare": [], "ours": []}
    with sqlite_pair(folder) as (bare, ours):
        links = {name: http.client.HTTPConnection("127.0.0.1", of.port, timeout=30) for name, of in _named(bare, ours)}
        # The statistics are imported in the meantime.
        time.sleep(WARMED_SECONDS)
        for number in range(WARM_UP + SINGLES):
            for name, server in _named(bare, ours):
                data, began = load.body(1, f"single-{number}", ["single"]), time.time()
                code = load.post(links[name], server.path, data)
                if code != "202":
                    raise SystemExit(f"the webhook was answered with {code}")
                if number >= WARM_UP:
                    acks[name].append(time.time() - began)
                    if server is ours:
                        sent[json.loads(data)["alerts"][0]["fingerprint"]] = began
                # Long enough for the run to end: the process is to be idle when the next one comes.
                time.sleep(PAUSE_SECONDS)
        delays = _delays(ours, sent)
    middle = load.percentile(delays, 0.5)
    return {
        "webhooks": SINGLES,
        "without_check": len(sent) - len(delays),
        "bare_ack_p50_ms": round(1000 * load.percentile(acks["bare"], 0.5), 1),
        "ack_p50_ms": round(1000 * load.percentile(acks["ours"], 0.5), 1),
        "p50_ms": round(1000 * middle, 1),
        "p99_ms": round(1000 * load.percentile(delays, 0.99), 1),
        "times_bare_ack": round(middle / load.percentile(acks["bare"], 0.5), 1),
    }


def first_check_at(folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """So many webhooks a second to the production shape, each of which opens an incident and starts a run."""
    rows = []
    with ExitStack() as stack:
        for name in ("rated-postgres", "rated-redis", "rated"):
            (folder / name).mkdir()
        try:
            redis = stack.enter_context(servers.redis(folder / "rated-redis"))
            database = stack.enter_context(servers.postgres(folder / "rated-postgres"))
        except pytest.skip.Exception as missing:
            say(f"webhooks per second are not measured: {missing}")
            return []
        ours = stack.enter_context(shapes.production(folder / "rated", database, redis))
        time.sleep(WARMED_SECONDS)
        for per_second, seconds in (RATES[0], *RATES):
            bodies = [
                load.body(1, f"rated-{len(rows)}-{per_second}-{number}", ["single"])
                for number in range(per_second * seconds)
            ]
            turns = load.send_at(ours.port, ours.path, bodies, per_second=per_second, connections=CONNECTIONS)
            keys = [json.loads(data)["alerts"][0]["fingerprint"] for data in bodies]
            delays = _delays(ours, dict(zip(keys, turns, strict=True)))
            rows.append(
                {
                    "per_second": per_second,
                    "webhooks": len(bodies),
                    "without_check": len(bodies) - len(delays),
                    "p50_ms": round(1000 * load.percentile(delays, 0.5), 1),
                    "p99_ms": round(1000 * load.percentile(delays, 0.99), 1),
                }
            )
            while ours.number(OPEN_RUNS):
                time.sleep(0.2)
            say(f"webhook to first check, {per_second:g} a second")
    # The first round pays for what is imported, prepared and planned at the first use.
    return rows[1:]


def _named(bare: Server, ours: Server) -> list[tuple[str, Server]]:
    return [("bare", bare), ("ours", ours)]


def _delays(server: Server, sent: dict[str, float]) -> list[float]:
    """Seconds from each webhook to the first attempt at a check of the run that it started."""
    end = time.perf_counter() + SETTLE_SECONDS
    begun: dict[str, float] = {}
    while len(begun) < len(sent) and time.perf_counter() < end:
        time.sleep(0.2)
        found = {str(key): _moment(at) for key, at in server.rows(FIRST_CHECKS)}
        begun = {key: found[key] for key in sent if key in found}
    return [begun[key] - at for key, at in sent.items() if key in begun]


def _moment(value: object) -> float:
    return datetime.fromisoformat(str(value)).replace(tzinfo=UTC).timestamp()


def start(folder: Path, rounds: int) -> dict[str, Any]:
    """Cold and warm starts with the demo; memory and idle processor time without it."""
    cold, warm = [], []
    for number in range(rounds):
        for times in (cold, warm):
            with shapes.embedded(folder / f"start-{number}", demo=True) as ours:
                times.append(ours.start_seconds)
    with shapes.embedded(folder / "idle") as ours:
        early = ours.rss_mib()
        time.sleep(WARMED_SECONDS)
        used, began = ours.cpu_seconds(), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        share = (ours.cpu_seconds() - used) / (time.perf_counter() - began)
        late = ours.rss_mib()
    return {
        "cold_seconds": round(statistics.median(cold), 2),
        "warm_seconds": round(statistics.median(warm), 2),
        "rss_mib": round(early),
        "rss_with_statistics_mib": round(late),
        "idle_cpu_percent": round(100 * share, 2),
    }
