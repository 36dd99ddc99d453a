"""`make bench`: what we cost beside bare Django, in one run; see bench/README.md for what is measured and the floors.

    make bench                              everything, about seven minutes
    make bench ARGS="ingest --rounds 1"     a part: ingest, check, pages, start, tick, steps

Writes bench-results/<time>.json, prints a table, and exits 1 when a figure is beyond its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pages  # needs the checkout on the path
import parts
import steps
import tick

PARTS = ("ingest", "check", "pages", "start", "tick", "steps")
# Settled alerts per second, of what bare Django upserts: the least that passes. Goals and reasons: bench/README.md.
RATIOS = {
    ("sqlite", 1): 0.10,
    ("sqlite", 10): 0.15,
    ("sqlite", 100): 0.10,
    ("postgres", 1): 0.06,
    ("postgres", 10): 0.08,
    ("postgres", 100): 0.05,
}
# The incident page with 200 events, PostgreSQL only: the goal in milliseconds, and how many times bare Django's page of
# 200 rows it may cost. One of the two is enough: on a machine that others use too, only the ratio says anything.
PAGE_P95_MS, PAGE_TIMES_BARE = 60.0, 15.0
# The most that passes.
LIMITS = {
    "times_bare_ack": 20.0,
    "cold_seconds": 10.0,
    "warm_seconds": 4.0,
    "rss_mib": 150.0,
    "rss_with_statistics_mib": 260.0,
    "idle_cpu_percent": 3.0,
}


def judge(results: dict[str, Any]) -> list[str]:
    """What is beyond its floor, one sentence each."""
    faults = []
    for row in results.get("ingest", []):
        what, least = f"ingest {row['database']} ×{row['alerts']}", RATIOS[row["database"], row["alerts"]]
        if row["ratio"] < least:
            faults.append(f"{what}: {row['ratio']:.2f} of bare Django, at least {least:.2f} is expected")
        if row["lost"]:
            faults.append(f"{what}: {row['lost']} alerts or rows are missing")
    for row in results.get("pages", []):
        slow = row["p95_ms"] > PAGE_P95_MS and row["times_bare"] > PAGE_TIMES_BARE
        if slow and row["database"] == "postgres":
            faults.append(
                f"incident page: p95 {row['p95_ms']:g} ms, {row['times_bare']:g} times bare Django; "
                f"{PAGE_P95_MS:g} ms or {PAGE_TIMES_BARE:g} times are expected"
            )
    for row in results.get("steps", []):
        if row["unfinished"] or row["twice_or_never"]:
            lost = f"{row['unfinished']} runs unfinished, {row['twice_or_never']} steps twice or never"
            faults.append(f"steps, {row['database']}: {lost}")
    faults += [
        f"{row['without_check']} webhooks of {row['per_second']} a second started no check"
        for row in results.get("check_at", [])
        if row["without_check"]
    ]
    for part in ("check", "start"):
        figures = results.get(part, {})
        faults += [
            f"{name}: {figures[name]:g}, at most {most:g} is expected"
            for name, most in LIMITS.items()
            if figures.get(name, 0) > most
        ]
        if figures.get("without_check"):
            faults.append(f"{figures['without_check']} webhooks started no check")
    return faults


def table(results: dict[str, Any]) -> str:
    """The figures, for people."""
    lines = []
    if results.get("ingest"):
        lines.append(
            f"{'settled alerts/s':<18}{'a webhook':>10}{'bare':>9}{'ours':>9}{'ratio':>8}{'floor':>8}"
            f"{'acked/s':>9}{'ratio':>8}{'ack p99':>11}"
        )
    for row in results.get("ingest", []):
        floor = RATIOS[row["database"], row["alerts"]]
        figures = f"{row['bare']:>9.0f}{row['ours']:>9.0f}{row['ratio']:>8.2f}{floor:>8.2f}"
        figures += f"{row['acked']:>9.0f}{row['acked_ratio']:>8.2f}{row['ack_p99_ms']:>8.0f} ms"
        lines.append(f"{row['database']:<18}{row['alerts']:>10}{figures}")
    lines += [
        f"page, {row['database']}, {row['events']} events: p50 {row['p50_ms']:g} ms, p95 {row['p95_ms']:g} ms "
        f"(goal {PAGE_P95_MS:g}), {row['times_bare']:g} times bare Django (at most {PAGE_TIMES_BARE:g}); "
        f"{row['cpu_ms']:g} ms of the processor, bare {row['bare_cpu_ms']:g}; "
        f"{row['kilobytes']:g} KB sent"
        for row in results.get("pages", [])
    ]
    for row in results.get("steps", []):
        figures = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in row.items() if name != "database")
        lines.append(f"steps, {row['database']}: {figures}")
    for row in results.get("tick", []):
        figures = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in row.items() if name != "database")
        lines.append(f"tick, {row['database']}: {figures}")
    lines += [
        f"check, production, {row['per_second']:g} webhooks/s: p50 {row['p50_ms']:g} ms, p99 {row['p99_ms']:g} ms"
        for row in results.get("check_at", [])
    ]
    for part in ("check", "start"):
        for name, value in results.get(part, {}).items():
            most = f"  (at most {LIMITS[name]:g})" if name in LIMITS else ""
            lines.append(f"{part}: {name.replace('_', ' ')} {value:g}{most}")
    return "\n".join(lines)


def main() -> int:
    """Measure, write, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="|".join(PARTS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    began = time.perf_counter()
    results: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "rounds": options.rounds}

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - began:4.0f} s] {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        if "ingest" in options.parts:
            results["ingest"] = parts.ingest(folder, options.rounds, say)
        if "check" in options.parts:
            results["check"] = parts.first_check(folder)
            say("webhook to first check")
            results["check_at"] = parts.first_check_at(folder, say)
        if "pages" in options.parts:
            results["pages"] = pages.incident(folder, say)
        if "start" in options.parts:
            results["start"] = parts.start(folder, options.rounds)
            say("starts and memory")
        if "tick" in options.parts:
            results["tick"] = tick.measure(folder, say)
        if "steps" in options.parts:
            results["steps"] = steps.measure(folder, say)
    faults = results["faults"] = judge(results)
    target = ROOT / "bench-results" / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1))
    print(f"\n{table(results)}\n\n{target.relative_to(ROOT)}")
    for fault in faults:
        print(f"BELOW THE FLOOR: {fault}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
