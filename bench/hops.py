"""The floor of a step engine: what Celery over Redis costs before any code of ours runs. Prints a line of JSON.

Environment: BENCH_REDIS, and BENCH_POSTGRES for the durable hop. The tasks are those of the design's baseline harness.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import redis
from celery import Celery

REDIS = os.environ["BENCH_REDIS"]
POSTGRES = os.environ["BENCH_POSTGRES"]
NOOPS, HOPS = 4_000, 300
SECONDS = 120
app = Celery("hops", broker=REDIS)
app.conf.update(
    task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1, worker_hijack_root_logger=False
)
_own = threading.local()


def report(value: Any) -> None:
    """Tell the process that measures."""
    if not hasattr(_own, "redis"):
        _own.redis = redis.from_url(REDIS)
    _own.redis.rpush("told", json.dumps(value))


@app.task(name="noop")
def noop(number: int) -> None:
    """Nothing; every 200th says when."""
    if number % 200 == 0:
        report([number, time.time()])


@app.task(name="hop_db")
def hop_db(depth: int, began: float) -> None:
    """A durable step: two commits, then the next task is sent."""
    if not hasattr(_own, "link"):
        _own.link = psycopg.connect(POSTGRES, autocommit=True)
    row = _own.link.execute("INSERT INTO hop (state) VALUES ('running') RETURNING id").fetchone()
    _own.link.execute("UPDATE hop SET state = 'done', done = now() WHERE id = %s", row)
    if depth:
        hop_db.delay(depth - 1, began)
    else:
        report([depth, time.time() - began])


def told(count: int) -> list[list[float]]:
    """So many reports, in order of their numbers."""
    link = redis.from_url(REDIS)
    end = time.time() + SECONDS
    while link.llen("told") < count:
        if time.time() > end:
            raise SystemExit("the worker says nothing")
        time.sleep(0.02)
    found = [json.loads(one) for one in link.lrange("told", 0, -1)]
    link.delete("told")
    return sorted(found)


def main() -> dict[str, float]:
    """No-op tasks a second with two processes, and milliseconds for each durable hop."""
    with psycopg.connect(POSTGRES, autocommit=True) as link:
        link.execute("CREATE TABLE IF NOT EXISTS hop (id bigserial PRIMARY KEY, state text, done timestamptz)")
    for number in range(NOOPS):
        noop.delay(number)
    words = ["-P", "prefork", "-c", "2", "-l", "critical", "--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", "hops", "worker", *words]
    worker = subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        seen = told(NOOPS // 200)
        (first, began), (last, ended) = seen[0], seen[-1]
        hop_db.delay(HOPS, time.time())
        return {
            "noops_per_second": round((last - first) / (ended - began), 1),
            "hop_db_ms": round(told(1)[0][1] / HOPS * 1000, 3),
        }
    finally:
        worker.terminate()
        worker.wait(20)


if __name__ == "__main__":
    print(json.dumps(main()))
