"""The incident page with 200 events, beside a page of 200 rows by bare Django, in turn, on one connection each."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import load
import parts
import pytest
from shapes import Server

EVENTS = 200
WARM_UP, LOOKS = 10, 100
HEADERS = {"X-Forwarded-Proto": "https", "Accept-Encoding": "gzip"}


def incident(folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Milliseconds until the page is there, on each database."""
    found = []
    for name, pair in (("sqlite", parts.sqlite_pair), ("postgres", parts.postgres_pair)):
        place = folder / f"pages-{name}"
        place.mkdir()
        try:
            found.append(_look(name, pair(place)))
            say(f"incident page on {name}")
        except pytest.skip.Exception as missing:
            say(f"the incident page on {name} is not measured: {missing}")
    return found


def _look(name: str, pair: AbstractContextManager[tuple[Server, Server]]) -> dict[str, Any]:
    with pair as (bare, ours):
        load.send(bare.port, bare.path, [load.body(EVENTS, "rows")], connections=1)
        path = _fill(ours)
        browser = Browser(ours)
        other = http.client.HTTPConnection("127.0.0.1", bare.port, timeout=60)
        own, limit, size, used = [], [], 0, {ours.port: 0.0, bare.port: 0.0}
        for number in range(WARM_UP + LOOKS):
            if number == WARM_UP:
                used = {server.port: server.cpu_seconds() for server in (ours, bare)}
            began = time.perf_counter()
            status, body = browser.get(path)
            middle = time.perf_counter()
            other.request("GET", "/page")
            other.getresponse().read()
            if status != 200:
                raise SystemExit(f"the incident page answers {status}")
            size = len(body)
            if number >= WARM_UP:
                own.append(middle - began)
                limit.append(time.perf_counter() - middle)
        cpu, bare_cpu = (1000 * (server.cpu_seconds() - used[server.port]) / LOOKS for server in (ours, bare))
    middle_of_bare = load.percentile(limit, 0.5)
    return {
        "database": name,
        "events": EVENTS,
        "looks": LOOKS,
        "p50_ms": round(1000 * load.percentile(own, 0.5), 1),
        "p95_ms": round(1000 * load.percentile(own, 0.95), 1),
        # What another program on the machine does not lengthen much: the processor's time, in steps of 10 ms in all.
        "cpu_ms": round(cpu, 1),
        "bare_cpu_ms": round(bare_cpu, 1),
        "bare_p50_ms": round(1000 * middle_of_bare, 1),
        "times_bare": round(load.percentile(own, 0.5) / middle_of_bare, 1),
        "kilobytes": round(size / 1000, 1),
    }


def _fill(server: Server) -> str:
    """An incident of an alert with its run, and notes up to 200 events; its path."""
    sent = load.send(server.port, server.path, [load.body(3, "page", ["first of a storm"])], connections=1)
    assert sent.acked == 1, sent.codes
    words = ("api_token", "create", "--user", "admin", "--name", "bench", "--scopes", "*", "--json")
    token = json.loads(server.command(*words))["token"]
    headers = _as_proxied(server) | {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        link.request(method, f"/api/v1{path}", json.dumps(body) if body else None, headers)
        answer = link.getresponse()
        told = answer.read()
        assert answer.status < 300, (path, answer.status, told[:200])
        return json.loads(told)

    end = time.perf_counter() + 30
    while not (found := call("GET", "/incidents")["items"]) and time.perf_counter() < end:
        time.sleep(0.2)
    number = found[0]["number"]
    events = "SELECT count(*) FROM incidents_timelineentry"
    while (there := server.number(events)) < EVENTS:
        for index in range(there, EVENTS):
            call("POST", f"/incidents/{number}/note", {"text": f"Event {index}: accuracy is 0.{index} now."})
    return f"/incidents/{number}"


def _as_proxied(server: Server) -> dict[str, str]:
    """The headers of a browser; in production as nginx hands them on."""
    return HEADERS | {"Host": urlsplit(server.env.get("BACKSTOP_BASE_URL", f"http://127.0.0.1:{server.port}")).netloc}


class Browser:
    """One person's browser: signed in by a fresh link, one connection."""

    def __init__(self, server: Server) -> None:
        self.headers = _as_proxied(server)
        self.link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        self.cookies: dict[str, str] = {}
        path = re.findall(r"(/login/link/\S+)", server.command("login_link", "--user", "admin"))[0]
        _, page = self.get(path, plain=True)
        token = re.findall(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)[0].decode()
        form = {"Content-Type": "application/x-www-form-urlencoded", "Referer": f"https://{self.headers['Host']}/"}
        status, _ = self.get(path, "POST", urlencode({"csrfmiddlewaretoken": token}), form)
        if status != 302:
            raise SystemExit(f"signing in is answered with {status}")

    def get(
        self, path: str, method: str = "GET", body: str = "", more: dict[str, str] | None = None, *, plain: bool = False
    ) -> tuple[int, bytes]:
        """Status and body, compressed as it came unless `plain`."""
        headers = self.headers | {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if plain:
            del headers["Accept-Encoding"]
        self.link.request(method, path, body or None, headers | (more or {}))
        answer = self.link.getresponse()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer.status, answer.read()
