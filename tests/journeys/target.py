"""The scraped service of a journey, running: tests/fakes/target.py as a process, and what a test tells and asks it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests import servers

PROGRAM = Path(__file__).parents[1] / "fakes/target.py"
ERROR_RATE = 'sum(rate(requests_total{code="500"}[10s])) / sum(rate(requests_total[10s]))'
SERVICE = f"""\
spec: 1
service: assistant
title: Assistant
description: Answers questions about orders.
tier: 1
default_owner: admin
signals:
  error_rate:
    connection: metrics
    query: {ERROR_RATE}
    unit: ratio
    worse: up
versions:
  - {{version: v2, state: serving}}
  - {{version: v1, state: kept}}
rollback: {{connection: flags, flag: model}}
"""


class Target:
    """Its address, and what can be changed and read."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    def stop(self) -> None:
        """Let the service end."""
        self._process.terminate()
        self._process.wait(30)

    def control(self, **wanted: Any) -> None:
        """Change traffic or error rates from now on."""
        httpx2.post(f"{self.url}/control", json=wanted, timeout=60).raise_for_status()

    def counts(self) -> dict[str, Any]:
        """What has happened to it so far."""
        found: dict[str, Any] = httpx2.get(f"{self.url}/counts", timeout=60).json()
        return found


@contextmanager
def running(folder: Path) -> Iterator[Target]:
    """The process, until the block ends."""
    port = servers.free_port()
    command = [sys.executable, str(PROGRAM), str(port)]
    with servers.running(command, ready=lambda: servers.answers(port), log=folder / "target.log") as process:
        yield Target(process, port)
