"""Backstop as people run it: `manage.py up` as a process on a data folder, talked to over HTTP only."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests import servers

ROOT = Path(__file__).parents[2]
# `up`, and what a test may put in its place: the same with actions of its own (tests/journeys/crashing.py).
UP = [sys.executable, "manage.py", "up"]
START_SECONDS = 120
T = TypeVar("T")


def eventually(read: Callable[[], T], true: Callable[[T], object], *, seconds: float = 180, every: float = 0.5) -> T:
    """What `read` gives once it is as wanted; the failure shows what it gave last."""
    end = time.monotonic() + seconds
    while not true(found := read()):
        assert time.monotonic() < end, f"it did not come true within {seconds:g} s; the last look: {found}"
        time.sleep(every)
    return found


class Product:
    """One process after another on the same data folder and port, each started and ended as the test says."""

    def __init__(self, folder: Path, *, outbound: list[str], command: list[str] = UP, **settings: str) -> None:
        self.folder, self.command = folder, command
        self.port = servers.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "backstop.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BACKSTOP_", "DJANGO_"))}
        self.env = inherited | {
            "PYTHONUNBUFFERED": "1",
            "BACKSTOP_DATA_DIR": str(folder / "data"),
            "BACKSTOP_OUTBOUND_ALLOW": ",".join(outbound),
            "BACKSTOP_BASE_URL": self.url,
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._token = self._hook = ""

    # --- the process -------------------------------------------------------------------------------------------------
    def start(self, *, fault: str = "") -> float:
        """Start it and wait until it serves; gives the (monotonic) time. `fault`: where it shall die."""
        env = self.env | ({"BACKSTOP_FAULT_POINT": fault} if fault else {})
        command = [*self.command, "--no-demo", "--port", str(self.port)]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self._serves():
            assert self.process.poll() is None, f"it ended: {self.said()[-2000:]}"
            assert time.monotonic() < end, f"it does not serve: {self.said()[-2000:]}"
            time.sleep(0.1)
        return time.monotonic()

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(40)

    def ended(self, *, seconds: float = 180) -> int:
        """The exit code of a process that ends by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def close(self) -> None:
        """Leave nothing behind, whatever the test came to."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def said(self) -> str:
        """All that its processes printed."""
        return self.log.read_text()

    def _serves(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    # --- commands beside it ------------------------------------------------------------------------------------------
    def manage(self, *words: str) -> str:
        """What a command of `manage.py` prints about the same data folder."""
        made = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
        return made.stdout

    def endpoint(self, source: str = "alertmanager") -> str:
        """The address of a new alert endpoint, which `post_alert` uses from now on."""
        words = ["--source", source, "--name", f"{source} of the test", "--team", "default", "--json"]
        made: dict[str, str] = json.loads(self.manage("endpoint", "create", *words))
        self._hook = made["path"]
        return made["url"]

    def login_link(self) -> str:
        """A one-time link for the first user."""
        return self.manage("login_link").split()[-1]

    def copied(self, folder: Path) -> Product:
        """Another product on a copy of this one's data; this one must have ended."""
        made = copy.copy(self)
        shutil.copytree(self.folder / "data", folder / "data")
        made.folder, made.log, made.process = folder, folder / "backstop.log", None
        made.env = self.env | {"BACKSTOP_DATA_DIR": str(folder / "data")}
        return made

    # --- over HTTP ---------------------------------------------------------------------------------------------------
    def api(self, path: str) -> Any:
        """GET of `/api/v1/<path>` with a token of its own."""
        if not self._token:
            words = ["--user", "admin", "--name", "journey", "--scopes", "*", "--json"]
            self._token = json.loads(self.manage("api_token", "create", *words))["token"]
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = httpx2.get(f"{self.url}/api/v1/{path}", headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post_alert(self, name: str, *, kind: str, service: str) -> httpx2.Response:
        """Post what Alertmanager posts about one alert; raises httpx2.HTTPError when the answer never comes."""
        labels = {"alertname": name, "kind": kind, "service": service, "severity": "critical"}
        one = {"status": "firing", "labels": labels, "annotations": {"summary": f"{service}: {name}"}, "endsAt": ""}
        one |= {"startsAt": "2026-11-20T03:00:00Z", "generatorURL": "", "fingerprint": f"{zlib.crc32(name.encode()):x}"}
        common = {"version": "4", "groupKey": name, "status": "firing", "receiver": "r", "truncatedAlerts": 0}
        common |= {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": ""}
        return httpx2.post(f"{self.url}{self._hook}", json={**common, "alerts": [one]}, timeout=60)

    def run(self) -> dict[str, Any]:
        """The only run with its steps; empty while there is none."""
        found = self.api("runs")["items"]
        assert len(found) <= 1, found
        one: dict[str, Any] = self.api(f"runs/{found[0]['id']}") if found else {}
        return one

    def steps(self) -> dict[str, str]:
        """What every step of the run has come to: its verdict, else its state and what it waits for."""
        rows = self.run().get("steps", [])
        return {row["id"]: row["verdict"] or f"{row['state']} {row['blocked_on'] or ''}".strip() for row in rows}

    def timeline(self, number: int = 1) -> list[dict[str, Any]]:
        """Every entry of an incident's timeline."""
        entries: list[dict[str, Any]] = self.api(f"incidents/{number}/timeline?limit=200")["items"]
        return entries

    def person(self) -> Person:
        """The first user, signed in through a login link."""
        person = Person(self.url)
        person.submit(self.login_link(), "Sign in")
        return person


class Person:
    """Somebody with a browser that shows no pictures and runs no scripts: pages, cookies and their forms."""

    def __init__(self, url: str) -> None:
        self.client = httpx2.Client(base_url=url, follow_redirects=True, timeout=60)

    def page(self, path: str) -> str:
        """A page's HTML."""
        answer = self.client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def submit(self, path: str, button: str, *, at: str = "", **fields: str) -> httpx2.Response:
        """Fill in and send the form of a page that has that button (posted to `at`, if it is another address)."""
        page = self.page(path)
        assert re.search(rf"<button[^>]*>\s*{re.escape(button)}", page), f"{path} has no button {button}"
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None, f"{path} has no form"
        answer = self.client.post(at or path, data={"csrfmiddlewaretoken": token[1], **fields})
        assert answer.status_code < 400, f"{path}: {answer.status_code} {answer.text[:2000]}"
        return answer

    def connect(self, slug: str, connector: str, url: str) -> None:
        """Add a connection on its page; our Prometheus is asked as if it scraped each second."""
        config = {"url": url} | ({"scrape_seconds": 1} if connector == "prometheus" else {})
        fields = {"team": "default", "slug": slug, "connector": connector, "config": json.dumps(config)}
        self.submit("/connections/new", "Keep it", secrets="", **fields)

    def approve(self, run: str, *, typed: str) -> httpx2.Response:
        """Follow a run's page to what it asks, and press Approve."""
        asks = re.search(r'href="(/approvals/[0-9a-f-]+)"', self.page(f"/runs/{run}"))
        assert asks is not None, "the run asks nothing"
        path = asks[1]
        digest = re.search(r'name="digest"[^>]*value="([0-9a-f]+)"', self.page(path))
        assert digest is not None, f"{path} does not ask"
        return self.submit(path, "Approve", decision="approve", digest=digest[1], typed=typed, note="")
